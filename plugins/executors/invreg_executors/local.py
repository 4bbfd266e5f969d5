"""Processes of this machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from invreg import Executor, Job, Watch, available_cores
from invreg_executors.processes import end, ready, start, why

#: Seconds between two looks at the processes.
_LOOK = 0.1

#: A process whose memory has not grown for so many seconds has about what it takes.
_STEADY = 5.0

#: Of the memory that is free, the part that further processes may take.
_SAFE = 0.8


@dataclass
class _Running:
    """A process at work.

    Attributes:
        job: what it does.
        process: it.
        gpu: the GPU, or GPUs, that it was given; None if none.
        peak: the most memory that it had so far, in bytes.
        grown: when that was last more than before.
    """

    job: Job
    process: subprocess.Popen[bytes]
    gpu: str | None
    peak: int = 0
    grown: float = 0.0


class Local(Executor):
    """Processes on this machine, several at a time.

    Without `jobs`, the first process starts alone. When its memory has stopped growing, as many others start as fit
    into the memory that is free, at most one for each core, and one for each GPU where there are any. A cell can be
    carried out by several processes together, with a GPU each.
    """

    def __init__(
        self,
        jobs: Annotated[
            int | None, Field(ge=1, description="processes at a time; as many as memory, cores and GPUs allow if None")
        ] = None,
        threads: Annotated[
            int | None, Field(ge=1, description="threads of each process; the cores divided by the processes if None")
        ] = None,
        processes: Annotated[
            int,
            Field(ge=1, description="processes that carry out a cell together, with a GPU each; `jobs` counts cells"),
        ] = 1,
    ) -> None:
        self.jobs, self.threads, self.processes = jobs, threads, processes

    def execute(self, jobs: Sequence[Job], watch: Watch) -> None:
        gpus = _shares(_gpus(jobs[0].device), self.processes)
        room = max(1, available_cores() // self.processes)
        most = self.jobs or min(len(gpus) or room, room, len(jobs))
        environment = {"OMP_NUM_THREADS": str(self._threads(most * self.processes))}
        waiting, running = [replace(job, processes=self.processes) for job in jobs], list[_Running]()
        try:
            while waiting or running:
                for job in ready(waiting, (one.job for one in running), watch, self._room(running, most)):
                    gpu = _least_used(gpus, running)
                    devices = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
                    running.append(_Running(job, start(job, environment | devices), gpu, grown=time.monotonic()))
                    watch.started(job.name)
                time.sleep(_LOOK)
                for one in list(running):
                    if one.process.poll() is not None:
                        running.remove(one)
                        if watch.ended(one.job.name, why(one.job, one.process)):
                            waiting.append(one.job)
        finally:
            end(one.process for one in running)

    def _threads(self, most: int) -> int:
        if self.threads is not None:
            return self.threads
        given = os.environ.get("OMP_NUM_THREADS", "")
        share = max(1, available_cores() // most)
        return min(share, int(given)) if given.isdecimal() and int(given) > 0 else share

    def _room(self, running: list[_Running], most: int) -> int:
        """How many processes may be started now."""
        room, free = most - len(running), _free_memory()
        if self.jobs is not None or free is None or room <= 0:
            return room
        if not running:
            return 1
        now = time.monotonic()
        for one in running:
            if (peak := _peak_memory(one.process.pid)) > 1.05 * one.peak:
                one.peak, one.grown = peak, now
        if any(now - one.grown < _STEADY for one in running):
            return 0
        return min(room, int(_SAFE * free / max(1, *(one.peak for one in running))))


def _gpus(device: str) -> list[str]:
    """The GPUs that processes share out, as CUDA_VISIBLE_DEVICES names them; none where the device is fixed."""
    if device not in ("auto", "cuda"):
        return []
    import torch

    count = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[:count] if visible else [str(index) for index in range(count)]


def _shares(gpus: list[str], size: int) -> list[str]:
    """So many GPUs for each cell, as CUDA_VISIBLE_DEVICES names them; all where there are fewer."""
    whole = [",".join(gpus[first : first + size]) for first in range(0, len(gpus) - size + 1, size)]
    return whole or ([",".join(gpus)] if gpus else [])


def _least_used(gpus: list[str], running: Iterable[_Running]) -> str | None:
    used = [one.gpu for one in running]
    return min(gpus, key=used.count) if gpus else None


def _free_memory() -> int | None:
    """In bytes; None where the system does not say."""
    return _kibibytes(Path("/proc/meminfo"), "MemAvailable:")


def _peak_memory(process: int) -> int:
    """In bytes, of the process and those that it has started."""
    try:
        started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        started = []
    return sum(_kibibytes(Path(f"/proc/{one}/status"), "VmHWM:") or 0 for one in [str(process), *started])


def _kibibytes(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
