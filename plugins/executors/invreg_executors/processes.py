"""A job as a process of its own, which does not outlive the one that waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from invreg import Job, Watch

#: Seconds that jobs have to save their checkpoints when the study is interrupted.
GRACE = 60.0

#: The characters of the end of its output by which a process that left no trace in its folder is described.
_SAID = 600


def ready(waiting: list[Job], running: Iterable[Job], watch: Watch, most: int) -> list[Job]:
    """Takes the jobs that can start now out of those that wait, at most so many.

    Those whose needs have ended without being finished are taken out as well: the study gives them again.
    """
    pending = {job.name for job in [*waiting, *running]}
    taken: list[Job] = []
    for job in list(waiting):
        if len(taken) == max(0, most):
            break
        if pending.isdisjoint(job.needs):
            waiting.remove(job)
            if all(map(watch.is_finished, job.needs)):
                taken.append(job)
    return taken


def start(job: Job, environment: Mapping[str, str], folder: Path | None = None) -> subprocess.Popen[bytes]:
    """Starts a job. It ends as after SIGTERM when its standard input is closed, which the system does if we die.

    Args:
        job: what to do.
        environment: variables that are set in addition.
        folder: the working directory; that of this process if None.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 (this very Python)
            [*job.command, "--attended"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C at the terminal is for the one who waits, who then ends its jobs
        )


def end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Asks processes to end, which saves their checkpoints; those that take too long are killed."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    last = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def why(job: Job, process: subprocess.Popen[bytes]) -> str | None:
    """How a process has ended, in words; None if its job is finished."""
    code = process.returncode
    if code == 0:
        return None
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"killed by {name}{memory}"
    return f"exit status {code}: {_end_of(job)}"


def _end_of(job: Job) -> str:
    try:
        text = job.log.read_bytes()[-4 * _SAID :].decode(errors="replace").strip()
    except OSError:
        return "it said nothing"
    return text[-_SAID:] or "it said nothing"
