"""Executors: where the cells of a study are computed."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from invreg.schema.component import Component
from invreg.schema.kinds import base_of


@dataclass(frozen=True)
class Job:
    """A part of a study that a process of its own carries out. Nothing in it is live: it can be sent anywhere.

    A job locks the folder of its cell. One that finds another process there waits for it. SIGTERM ends it where it can
    be taken up: the same job, started again, goes on from the checkpoint.

    Attributes:
        study: the study folder, absolute; it holds the spec of every job.
        name: of the folder of a cell, or of work that cells share.
        needs: names of the jobs of shared work that have to end before this one starts.
        device: where to compute: `auto`, `cpu`, `cuda`, ...
        track: names of experiment trackers that follow the cell.
        processes: how many of this machine carry it out together, one GPU each.
    """

    study: Path
    name: str
    needs: tuple[str, ...] = ()
    device: str = "auto"
    track: tuple[str, ...] = ()
    processes: int = 1

    @property
    def command(self) -> list[str]:
        """The command line that carries the job out, with this Python.

        Its exit status is 0 if the job is finished, 1 or 2 if it failed, and 143 after SIGTERM. With `--attended`
        added, the process ends as after SIGTERM when its standard input is closed: so it does not outlive its parent.
        """
        tracked = [part for name in self.track for part in ("--track", name)]
        python = [sys.executable, "-m"]
        if self.processes > 1:
            python += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(self.processes), "-m"]
        return [*python, "invreg", "job", str(self.study), self.name, "--device", self.device, *tracked]

    @property
    def log(self) -> Path:
        """The file for what the process of the job prints."""
        return self.study / "jobs" / f"{self.name}.log"

    def run(self) -> bool:
        """Carries the job out in this process. What it did stands in its folder.

        Returns:
            Whether it is finished; if not, its failure lies in its folder.

        Raises:
            StoreError: if the study is not where the job says; nothing could be written.
        """
        import invreg

        return invreg.run_job(self.study, self.name, self.device, self.track)


class Watch(Protocol):
    """Whom an executor tells what becomes of its jobs. Its methods may be called from any thread."""

    def started(self, name: str) -> None:
        """A process has begun with the job, as far as the engine knows."""

    def ended(self, name: str, why: str | None = None) -> bool:
        """The process of the job has ended.

        Args:
            name: of the job.
            why: how it ended, if not by itself, as in "killed by signal 9", or what it said if it could not even
                begin; it is shown where the folder of the job does not say more.

        Returns:
            Whether to start the job again: it is not finished, and may be tried once more. An executor that does not
            gets the job again in its next call.
        """

    def is_finished(self, name: str) -> bool:
        """Whether the folder of a job says that all of it is done."""


@base_of("executor")
class Executor(Component, ABC):
    """Where the jobs of a study are computed: processes of this machine, a queue, a cluster.

    It decides where, when, and how many at a time; never what: a study has the same results everywhere. The study
    runner does everything else: it plans the jobs, reads from their folders which are finished, tries failed ones
    again, shows progress, and makes tables, analyses and the report.
    """

    def check(self) -> None:
        """Looks whether the engine can be used, before anything is written. By default, nothing is looked at.

        Raises:
            ExecutorError: if it cannot: a missing package, an address nobody answers at, a partition that is not there.
        """

    @abstractmethod
    def execute(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Brings every job to its end, a job after the end of those that it needs; returns when all have ended.

        Whether a job is finished or failed is read in its folder, never from an exit status. A job whose needs ended
        without being finished may be left out: it gets its turn when they are. After an exception, a KeyboardInterrupt
        too, none of its processes may be left without anyone who waits for it, unless the engine keeps them and this
        executor finds them again.

        Args:
            jobs: what to do, shared work first; those that are finished are not among them.
            watch: is told when a job starts and ends.

        Raises:
            ExecutorError: if the engine cannot be used.
        """
