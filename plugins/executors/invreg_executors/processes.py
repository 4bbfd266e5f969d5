"""A job as a process of its own, which does not outlive the one that waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from invreg import Job

#: The characters of the end of its output by which a process that left no trace in its folder is described.
_SAID = 600


def start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a job. It ends as after SIGTERM when its standard input is closed, which the system does if we die.

    Args:
        job: what to do.
        environment: variables that are set in addition.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 (this very Python)
            [*job.command, "--attended"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C at the terminal is for the one who waits, who then ends its jobs
        )


def why(job: Job, process: subprocess.Popen[bytes]) -> str | None:
    """How a process has ended, in words; None if it is finished."""
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
