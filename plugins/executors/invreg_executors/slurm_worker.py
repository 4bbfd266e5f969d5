"""What runs inside Slurm: a worker takes one job of a study after the other until none is left.

Workers and the command that waits for them share a folder and nothing else, so each may come and go at any time. All
that they tell each other are JSON files; the only pickles are those by which submitit hands a worker its two strings
to Slurm. A worker reads the one that its own submission wrote under a new name; whoever follows a study, resumes it or
is given its folder reads none.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from invreg import Job, Registry, write_whole

#: What Slurm and submitit send to a worker.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: What every job needs and takes seconds to import. What else they need is learned from the first.
_IMPORTED = ("torch._dynamo", "accelerate", "pandas")

_TURN = re.compile(r"(?P<job>.+)\.(?P<number>\d+)\.(?P<what>jsonl|again)")


@dataclass(frozen=True)
class Turn:
    """One attempt of a worker at a job.

    Attributes:
        worker: the number of the worker, as in its Slurm array; empty if the file has not arrived yet.
        slurm_job: Slurm's name of the worker.
        node: where it was.
        started: when, in seconds since 1970.
        ended: likewise; None while it lasts.
        why: how it ended, if not by itself.
    """

    worker: str = ""
    slurm_job: str = ""
    node: str = ""
    started: float = 0.0
    ended: float | None = None
    why: str | None = None


@dataclass(frozen=True)
class Batch:
    """Jobs that one Slurm array works off, as a folder that its workers see.

    `batch.json` names the jobs. A worker takes a job by making the file `turns/JOB.NUMBER.jsonl`, which only one can;
    one line in it says when the turn began, and another when and how it ended. The empty file `JOB.NUMBER.again` says
    that the job may be taken once more.

    Attributes:
        folder: where it lies.
        name: of the jobs in Slurm; no other batch has it.
        jobs: what to do.
        workers: how many there are.
        most_turns: that a job is given when the time of its worker is up.
        most_jobs: that a worker takes; None for all.
    """

    folder: Path
    name: str
    jobs: tuple[Job, ...]
    workers: int
    most_turns: int
    most_jobs: int | None

    @classmethod
    def create(
        cls, parent: Path, study: str, jobs: Sequence[Job], workers: int, most_turns: int, most_jobs: int | None
    ) -> Batch:
        """Writes a batch into a new folder."""
        token = secrets.token_hex(4)  # which nobody has in the queue, whatever copy of the study folder this is
        batch = cls(parent / token, f"invreg-{study}-{token}", tuple(jobs), workers, most_turns, most_jobs)
        batch.turns_folder.mkdir(parents=True)
        batch.write()
        return batch

    @classmethod
    def read(cls, folder: Path, study: Path) -> Batch:
        """The batch in a folder; `OSError`, `ValueError`, `KeyError` or `TypeError` if there is none."""
        content = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
        jobs = [
            Job(
                study,
                str(job["name"]),
                tuple(job["needs"]),
                str(job["device"]),
                tuple(job["track"]),
                int(job.get("processes", 1)),
            )
            for job in content["jobs"]
        ]
        numbers = content["workers"], content["most_turns"], content["most_jobs"]
        return cls(folder, str(content["name"]), tuple(jobs), *numbers)

    def write(self, slurm_job: str | None = None) -> None:
        """Writes `batch.json`, with the number that Slurm gave to the array as soon as it is known."""
        jobs = [{key: value for key, value in asdict(job).items() if key != "study"} for job in self.jobs]
        numbers = {"workers": self.workers, "most_turns": self.most_turns, "most_jobs": self.most_jobs}
        content = {"name": self.name, "slurm_job": slurm_job, **numbers, "jobs": jobs}
        write_whole(self.folder / "batch.json", (json.dumps(content, indent=1) + "\n").encode())

    @property
    def calls(self) -> list[tuple[str, str]]:
        """What each worker is called with: where the batch is, and its number."""
        return [(str(self.folder), str(number)) for number in range(self.workers)]

    @property
    def turns_folder(self) -> Path:
        return self.folder / "turns"

    def latest(self) -> dict[str, tuple[int, bool]]:
        """The number of the last turn of each job that was ever taken, and whether it may be taken again."""
        found: dict[str, tuple[int, bool]] = {}
        for path in self.turns_folder.iterdir():
            if match := _TURN.fullmatch(path.name):
                turn = int(match["number"]), match["what"] == "again"
                found[match["job"]] = max(turn, found.get(match["job"], turn))
        return found

    def turn(self, job: str, number: int) -> Turn:
        """What a turn says of itself so far."""
        content: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            for line in (self.turns_folder / f"{job}.{number}.jsonl").read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # it is being written
                    content = {**json.loads(line), **content}
        return Turn(**content)

    def open_again(self, job: str, number: int) -> None:
        """Lets a job be taken once more, by any worker."""
        (self.turns_folder / f"{job}.{number}.again").touch()

    def take_up(self, worker: str) -> None:
        """Opens the jobs that this worker had begun: Slurm starts it anew, as itself, after a node failure."""
        for name, (number, again) in self.latest().items():
            if not again:
                turn = self.turn(name, number)
                if turn.worker == worker and turn.ended is None:
                    self.open_again(name, number)

    def open_turns(self) -> list[tuple[int, Job]]:
        """The jobs that a worker can take, those that were begun before first, and the numbers of their next turns."""
        latest = self.latest()
        turns = [(0, job) for job in self.jobs if job.name not in latest]
        turns += [(latest[job.name][0] + 1, job) for job in self.jobs if latest.get(job.name, (0, False))[1]]
        return sorted(turns, key=lambda turn: -turn[0])

    def take(self, worker: str, slurm_job: str) -> tuple[int, Job] | None:
        """Takes a job that nobody else has, if there is one."""
        begun = {"worker": worker, "slurm_job": slurm_job, "node": socket.gethostname(), "started": time.time()}
        for number, job in self.open_turns():
            with suppress(FileExistsError), (self.turns_folder / f"{job.name}.{number}.jsonl").open("x") as file:
                file.write(json.dumps(begun) + "\n")
                return number, job
        return None

    def end(self, job: str, number: int, why: str | None) -> None:
        """Notes that a turn has ended."""
        with (self.turns_folder / f"{job}.{number}.jsonl").open("a") as file:
            file.write(json.dumps({"ended": time.time(), "why": why}) + "\n")


class Worker:
    """One member of a Slurm array. submitit calls it there, and calls `checkpoint` when its time is up.

    Every job has a process of its own, forked from this one, in which everything is imported already: a job that dies
    takes nothing with it, and one of a few seconds does not wait for imports.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._turn: tuple[Batch, int, Job] | None = None
        self._is_asked_to_end = False

    def __call__(self, folder: str, worker: str) -> None:
        here = Path(folder)
        if not here.is_dir():  # the study was finished, and its folder tidied, before Slurm started this worker
            return
        batch = Batch.read(here, here.parents[2])
        batch.take_up(worker)
        if not batch.open_turns():
            return
        for name in _IMPORTED:
            importlib.import_module(name)
        registry = Registry.installed()
        signal.signal(signal.SIGTERM, self._end)
        done = 0
        while not self._is_asked_to_end and done != batch.most_jobs:
            # A signal that comes here waits until there is a process that can be asked to end.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            taken = batch.take(worker, _slurm_job())
            if taken is not None:
                self._turn = batch, *taken
                imported = self._start(taken[1], registry)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            if taken is None:
                return
            done += 1
            names = _received(imported)
            self._process.join()
            self._end_turn("asked to end by SIGTERM" if self._is_asked_to_end else None)
            for name in names:
                with suppress(Exception):  # of what does not like to be imported by name, the next job imports itself
                    importlib.import_module(name)

    def _start(self, job: Job, registry: Registry) -> Connection:
        """Starts the process of a job; it sends the names of what it imported."""
        context = multiprocessing.get_context("fork")
        receives, sends = context.Pipe(duplex=False)
        self._process = context.Process(target=_carry_out, args=(job, registry, sends))
        self._process.start()
        sends.close()
        return receives

    def checkpoint(self, folder: str, worker: str) -> Any:
        """The time is up: the job saves its state and can be taken again; submitit puts this worker into the queue."""
        from submitit.helpers import DelayedSubmission

        self._interrupt()
        self._end_turn("out of time")
        return DelayedSubmission(Worker(), folder, worker)

    def _end(self, number: int, frame: object) -> None:
        """SIGTERM: Slurm wants the place for another job, or somebody has cancelled or requeued this one."""
        self._is_asked_to_end = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._process is not None and self._process.exitcode is None:
            # Not SIGTERM, which Slurm may have sent to all processes at once: a second one would end it at once.
            os.kill(self._process.pid, signal.SIGINT)
            self._process.join()

    def _end_turn(self, interruption: str | None) -> None:
        """Notes how the turn ended; a job that was interrupted may be taken again, a few times."""
        if self._turn is None:
            return
        (batch, number, job), self._turn = self._turn, None
        code = 0 if self._process is None else self._process.exitcode
        if code == 0 or interruption is None:
            batch.end(job.name, number, _in_words(code, job))
        elif number + 1 >= batch.most_turns:
            batch.end(
                job.name, number, f"{interruption} after {number + 1} turns in Slurm jobs, the last in {_slurm_job()}"
            )
        else:
            batch.end(job.name, number, interruption)
            batch.open_again(job.name, number)


def _carry_out(job: Job, registry: Registry, imported: Connection) -> None:
    """In the process of a job: output goes to its log, and SIGINT, sent by the worker alone, asks it to end."""
    import invreg

    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if job.processes > 1:
        os.execv(sys.executable, job.command)  # noqa: S606 (this very Python: torchrun starts processes of its own)
    before = set(sys.modules)
    try:
        is_finished = invreg.run_job(job.study, job.name, job.device, job.track, registry)
    except KeyboardInterrupt as stop:
        print(stop, *getattr(stop, "__notes__", []), sep="; ", file=sys.stderr)
        sys.exit(130)
    imported.send_bytes(json.dumps([name for name in sys.modules if name not in before]).encode())
    sys.exit(0 if is_finished else 1)


def _received(imported: Connection) -> list[str]:
    """What the process of a job has imported, when it ends; nothing if it died."""
    with imported:
        try:
            return [str(name) for name in json.loads(imported.recv_bytes())]
        except EOFError:
            return []


def _in_words(code: int, job: Job) -> str | None:
    if code == 0:
        return None
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"{how} (Slurm job {_slurm_job()}, log {job.log})"


def _slurm_job() -> str:
    from submitit import JobEnvironment

    return str(JobEnvironment().job_id)
