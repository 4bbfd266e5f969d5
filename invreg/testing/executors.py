"""Checks of executors, on the jobs of a small study."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from invreg.components.executor import Executor
from invreg.plugins.registry import Registry
from invreg.storage.study_folder import StudyFolder
from invreg.studies.execution import Execution, JobPlan
from invreg.studies.jobs import is_finished
from invreg.studies.plan import plan_study
from invreg.testing.checks import Check, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks
from invreg.testing.numbers import demand_equal

#: Two cells that share a method; nothing is trained.
_STUDY: dict[str, Any] = {
    "title": "check of an executor",
    "data": {"name": "phantoms", "image_size": 16, "train": 1, "val": 1, "test": 1},
    "operator": "identity",
    "noise": {"name": "gaussian", "std": 0.1},
    "methods": {"observation": "observation", "tv": {"reconstructor": {"name": "tv", "weight": 0.01}}},
    "metrics": ["psnr"],
    "matrix": {"methods.tv.reconstructor.weight": [0.01, 0.02]},
}


def check_executor(executor: Executor | type[Executor], folder: str | Path | None = None) -> None:
    """Checks that an executor brings jobs to their end, in the order of their needs, and says so.

    It is given the three jobs of a small study, which take some seconds each.

    Args:
        executor: an instance, or a class that can be built without arguments.
        folder: where the study is made, if all machines of the executor see only some folders; a temporary one if None.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Executor = instance_of(executor, Executor)  # type: ignore[type-abstract]
    with tempfile.TemporaryDirectory(dir=folder, prefix="invreg-check-", ignore_cleanup_errors=True) as place:
        run_checks(title_of(executor), _checks(_Tried(tested, Path(place))))


class _Tried:
    """What an executor does with a study; it is called once, by the first check that asks."""

    def __init__(self, executor: Executor, folder: Path) -> None:
        self.executor, self._folder = executor, folder
        self.heard: list[tuple[str, str]] = []

    @cached_property
    def jobs(self) -> JobPlan:
        plan = plan_study(_STUDY, Registry.installed(), to_look_at=True)
        study = StudyFolder.create(self._folder, plan.title, plan.digest)
        study.begin(plan.content)
        jobs = JobPlan(plan, study)
        jobs.write_specs()
        self.executor.check()
        self.executor.execute(jobs.jobs(Execution(device="cpu")), self)
        return jobs

    def started(self, name: str) -> None:
        self.heard.append(("started", name))

    def ended(self, name: str, why: str | None = None) -> bool:
        self.heard.append(("ended", name))
        return False

    def is_finished(self, name: str) -> bool:
        return is_finished(self._study, name)

    @property
    def _study(self) -> StudyFolder:
        return StudyFolder(next(self._folder.iterdir()))

    @property
    def names(self) -> list[str]:
        return sorted([*self.jobs.cells, *self.jobs.shared])


def _checks(tried: _Tried) -> Iterator[Check]:
    yield "finished", lambda: _finished(tried)
    yield "ended", lambda: _ended(tried)
    yield "needs", lambda: _needs(tried)
    yield from constructor_checks(tried.executor)


def _finished(tried: _Tried) -> None:
    done = [name for name in tried.names if tried.is_finished(name)]
    fix = "return from `execute` when all jobs have ended; the logs in `job.log` say what a process did"
    demand_equal(done, tried.names, "jobs that are finished when `execute` returns", fix)


def _ended(tried: _Tried) -> None:
    ended = sorted({name for what, name in tried.heard if what == "ended"})
    demand_equal(ended, tried.names, "jobs of which `watch.ended` was told", "call it for every job, once for each end")


def _needs(tried: _Tried) -> None:
    shared = set(tried.jobs.shared)
    ends = [index for index, (what, name) in enumerate(tried.heard) if what == "ended" and name in shared]
    early = [name for what, name in tried.heard[: max(ends, default=0)] if name not in shared]
    fix = "start a job when those in `job.needs` have ended, and call `watch.ended` as soon as one has"
    demand_equal(early, [], "cells that were begun before the shared work that they need had ended", fix)
