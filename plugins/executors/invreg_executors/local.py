"""Processes of this machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from invreg import Executor, Job, Watch
from invreg_executors.processes import start, why

#: Seconds that jobs have to save their checkpoints when the study is interrupted.
_GRACE = 60.0


class Local(Executor):
    """Processes on this machine, several at a time."""

    def __init__(
        self,
        jobs: Annotated[
            int | None, Field(ge=1, description="processes at a time; as many as cores allow if None")
        ] = None,
        threads: Annotated[
            int | None, Field(ge=1, description="threads of each process; the cores, divided by `jobs`, if None")
        ] = None,
    ) -> None:
        self.jobs, self.threads = jobs, threads

    def execute(self, jobs: Sequence[Job], watch: Watch) -> None:
        most = self.jobs or _cores()
        environment = {"OMP_NUM_THREADS": str(self.threads or max(1, _cores() // most))}
        waiting, running = list(jobs), dict[str, tuple[Job, subprocess.Popen[bytes]]]()
        try:
            while waiting or running:
                for job in list(waiting):
                    open_needs = {other.name for other in waiting} | set(running)
                    if len(running) < most and not open_needs.intersection(job.needs):
                        waiting.remove(job)
                        if all(map(watch.is_finished, job.needs)):
                            running[job.name] = job, start(job, environment)
                            watch.started(job.name)
                time.sleep(0.1)
                for name, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        if watch.ended(name, why(job, process)):
                            waiting.append(job)
        finally:
            _end(running)


def _end(running: dict[str, tuple[Job, subprocess.Popen[bytes]]]) -> None:
    """Asks processes to end, which saves their checkpoints."""
    for _, process in running.values():
        process.terminate()
    end = time.monotonic() + _GRACE
    for _, process in running.values():
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
