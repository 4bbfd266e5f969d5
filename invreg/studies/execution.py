"""A study whose cells an executor computes: its jobs, what became of them, and which are tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from invreg.components.executor import Job
from invreg.components.foreign import blamed
from invreg.errors import ExecutorError, InvregError, SpecError, nothing_computed
from invreg.files import usable_path
from invreg.plugins.registry import Registry
from invreg.running.progress import TerminalProgress
from invreg.specs.matrix import in_words
from invreg.specs.plan import Plan, check_sizes, make_plan
from invreg.specs.spec import Spec, parse_spec
from invreg.storage.run_folder import RunFolder, folder_name
from invreg.storage.study_folder import StudyFolder
from invreg.studies.jobs import is_finished, job_folder, shared_job_name, shared_spec
from invreg.studies.plan import StudyPlan, plan_study, study_content
from invreg.studies.status import left
from invreg.text import duration, plural

if TYPE_CHECKING:
    from invreg.components.executor import Executor


@dataclass(frozen=True)
class Execution:
    """How jobs are carried out.

    Attributes:
        device: where each job computes.
        retries: how often a job that died or failed is started again.
        track: names of experiment trackers that follow the cells.
        progress: whether progress is shown on the terminal.
    """

    device: str = "auto"
    retries: int = 2
    track: tuple[str, ...] = ()
    progress: bool = False


@dataclass(frozen=True)
class SharedMethod:
    """A method that several cells have in common.

    Attributes:
        label: its name in the spec.
        plan: of one of the cells.
        cells: names of the folders of all of them.
    """

    label: str
    plan: Plan
    cells: list[str] = field(default_factory=list)

    @property
    def spec(self) -> Spec:
        """Of the run that makes it."""
        return shared_spec(self.plan.spec, self.label)


class JobPlan:
    """What is to be done for a study: its cells and what they share, and which of it is done.

    Args:
        plan: of the study.
        folder: where the study is, or will be.
    """

    def __init__(self, plan: StudyPlan, folder: StudyFolder) -> None:
        self.plan, self.folder = plan, folder
        self.cells: dict[str, Plan] = {}
        self.names: list[str] = []
        known: dict[str, SharedMethod] = {}
        for cell in plan.cells:
            name = folder_name(cell.plan.spec.title, cell.plan.digest)
            self.names.append(name)
            if name in self.cells:  # two combinations of values that mean the same
                continue
            self.cells[name] = cell.plan
            for label in cell.plan.methods:
                found = known.setdefault(shared_job_name(cell.plan, label), SharedMethod(label, cell.plan))
                found.cells.append(name)
        self.shared = {job: method for job, method in known.items() if len(method.cells) > 1}

    @cached_property
    def open_cells(self) -> list[str]:
        """Names of the cells that are not finished under their specs of today."""
        return [name for name, plan in self.cells.items() if not self._is_up_to_date(name, plan)]

    @cached_property
    def open_shared(self) -> list[str]:
        """Jobs of shared work that cells wait for."""
        wanted = set(self.open_cells)
        return [
            job
            for job, method in self.shared.items()
            if wanted.intersection(method.cells) and not is_finished(self.folder, job)
        ]

    def jobs(self, execution: Execution) -> list[Job]:
        """All that is left to do; shared work comes first."""
        path = self.folder.path.absolute()
        needs: dict[str, list[str]] = {}
        for job in self.open_shared:
            for name in self.shared[job].cells:
                needs.setdefault(name, []).append(job)
        made = [Job(path, name, device=execution.device) for name in self.open_shared]
        for name in self.open_cells:
            made.append(Job(path, name, tuple(needs.get(name, ())), execution.device, execution.track))
        return made

    def write_specs(self) -> None:
        """Writes the spec of every job into its folder, before the first one starts."""
        specs = {name: self.cells[name].spec for name in self.open_cells}
        specs |= {job: self.shared[job].spec for job in self.open_shared}
        for name, spec in specs.items():
            folder = job_folder(self.folder, name)
            if not folder.holds(spec):
                folder.write_spec(spec)

    def as_data(self) -> dict[str, Any]:
        """The plan for programs: its cells and shared methods, and whether each is finished."""
        to_do, open_shared = set(self.open_cells), set(self.open_shared)
        values = {name: cell.values for name, cell in zip(self.names, self.plan.cells, strict=True)}
        return {
            "title": self.plan.title,
            "folder": str(self.folder.path),
            "cells": [{"name": n, "values": values[n], "finished": n not in to_do} for n in values],
            "shared": [
                {"name": job, "method": method.label, "cells": method.cells, "finished": job not in open_shared}
                for job, method in self.shared.items()
            ],
            "executor": None if self.plan.executor is None else repr(self.plan.executor),
        }

    def __str__(self) -> str:
        """The plan as `--dry-run` prints it."""
        done = len(self.cells) - len(self.open_cells)
        jobs = len(self.open_cells) + len(self.open_shared)
        executor = "this process, one after the other" if self.plan.executor is None else repr(self.plan.executor)
        lines = [f"{self.plan.title}: {plural(len(self.cells), 'cell')} in {self.folder.path}"]
        values = {name: cell.values for name, cell in zip(self.names, self.plan.cells, strict=True)}
        to_do = set(self.open_cells)
        lines += [f"  cell    {'open    ' if n in to_do else 'finished'}  {n}  {in_words(values[n])}" for n in values]
        open_shared = set(self.open_shared)
        for job, method in self.shared.items():
            state = "open    " if job in open_shared else "finished"
            lines.append(f"  shared  {state}  {job}  {method.label}, by {plural(len(method.cells), 'cell')}")
        parts = f"{plural(len(self.open_cells), 'cell')}, {plural(len(self.open_shared), 'shared method')}"
        lines.append(f"{plural(jobs, 'job')} to do ({parts}), {plural(done, 'cell')} finished; computed by {executor}")
        return "\n".join(lines)

    def _is_up_to_date(self, name: str, plan: Plan) -> bool:
        folder = job_folder(self.folder, name)
        return folder.path.is_dir() and is_finished(self.folder, name) and folder.holds(plan.spec)


@dataclass(frozen=True)
class RunToDo:
    """What is to be done for a single run.

    Attributes:
        title: of the run.
        folder: where it is, or will be.
        methods: labels.
        is_finished: whether it is done.
    """

    title: str
    folder: Path
    methods: list[str]
    is_finished: bool

    def as_data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "title": self.title,
            "folder": str(self.folder),
            "methods": self.methods,
            "finished": self.is_finished,
        }

    def __str__(self) -> str:
        state = "finished" if self.is_finished else "open"
        return f"{self.title}: one run, {state}, in {self.folder}\n  methods: {', '.join(self.methods)}"


def dry_run(
    spec: Spec | Mapping[str, Any] | str | Path, output: Path, overrides: Iterable[str] = (), executor: Any = None
) -> JobPlan | RunToDo:
    """What `invreg run` would do: the cells of a study, what they share, and the jobs. Nothing is read or written.

    Raises:
        SpecError: if the spec is wrong.
    """
    registry, folder = Registry.installed(), usable_path(output, "output")
    content = study_content(spec, overrides, executor)
    if "matrix" in content:
        plan = plan_study(content, registry, to_look_at=True)
        return JobPlan(plan, StudyFolder(folder / folder_name(plan.title, plan.digest)))
    run = make_plan(parse_spec(content), registry)
    check_sizes(run)
    path = folder / folder_name(run.spec.title, run.digest)
    return RunToDo(run.spec.title, path, list(run.methods), RunFolder(path).is_finished)


def check_executor(plan: StudyPlan, executor: Executor) -> None:
    """Refuses a study that its executor cannot compute, before anything is written.

    Raises:
        ExecutorError: if the engine cannot be used.
        SpecError: if a method is larger than the memory of this machine, or a plugin is known to this process only.
    """
    if unknown := [plugin.name for plugin in plan.registry.plugins if not plugin.version]:
        raise SpecError(
            f"processes of its own do not know {', '.join(unknown)}",
            where="registry",
            expected="plugins that are installed, when an executor computes",
            hint="install them, or leave the executor out",
        )
    for cell in plan.cells:
        try:
            check_sizes(cell.plan)
        except SpecError as error:
            raise error.at(f"cell {in_words(cell.values)}") from None
    try:
        with blamed(executor, "executor", ExecutorError):
            executor.check()
    except InvregError as error:
        nothing_computed(error)
        raise


def execute(
    jobs: JobPlan, executor: Executor, execution: Execution, after_cell: Callable[[Path], None] | None = None
) -> None:
    """Has an executor bring all jobs to their end. What failed in the end has its failure in the folder of its cell.

    Args:
        jobs: what is to be done.
        executor: who does it.
        execution: how.
        after_cell: is called with the folder of every cell that is finished; what it raises ends the jobs.

    Raises:
        ExecutorError: if the engine cannot be used.
    """
    jobs.write_specs()
    watch = _Watch(jobs, execution, after_cell)
    watch.look_at_finished()
    with watch:
        while watch.to_do and watch.goes_on:
            with blamed(executor, "executor", ExecutorError):
                executor.execute(watch.to_do, watch)
            watch.raise_refusal()
    watch.write_failures()


class _Watch:
    """Hears what becomes of the jobs of a study, decides what is tried again, and shows it on the terminal."""

    def __init__(self, jobs: JobPlan, execution: Execution, after_cell: Callable[[Path], None] | None) -> None:
        self._jobs, self._study, self._retries = jobs, jobs.folder, execution.retries
        self._after_cell = after_cell
        self._refusal: InvregError | None = None
        self._all = {job.name: job for job in jobs.jobs(execution)}
        self._ends: dict[str, list[str]] = {name: [] for name in self._all}
        self._done = set(jobs.cells) - set(self._all)
        self._given_up: dict[str, str] = {}
        self._running: set[str] = set()
        self._heard, self._heard_before = 0, -1
        self._lock = threading.RLock()
        self._terminal = TerminalProgress() if execution.progress else None
        self._console = Console(stderr=True, highlight=False, quiet=not execution.progress)
        self._begun = time.monotonic()

    def __enter__(self) -> None:
        self._say(f"{self._jobs.plan.title}: {plural(len(self._all), 'job')}, writing to {self._study.path}")
        if self._terminal is not None:
            self._terminal.open()
        self._show()

    def __exit__(self, *error: object) -> None:
        if self._terminal is not None:
            self._terminal.close()

    # -- what the executor says

    def started(self, name: str) -> None:
        with self._lock:
            self._running.add(name)
            self._show()

    def ended(self, name: str, why: str | None = None) -> bool:
        with self._lock:
            self._heard += 1
            self._running.discard(name)
            again = not self.is_finished(name) and self._may_try_again(name, why)
            self._show()
            if self.is_finished(name):
                self._look_at(name)
            return again

    def look_at_finished(self) -> None:
        """Calls for the cells that were finished before."""
        for name in sorted(self._done):
            self._look_at(name)

    def raise_refusal(self) -> None:
        """Raises what was raised after a cell, where the executor has not let it through."""
        if self._refusal is not None:
            raise self._refusal

    def _look_at(self, name: str) -> None:
        if self._after_cell is None or name not in self._jobs.cells:
            return
        try:
            self._after_cell(job_folder(self._study, name).path)
        except InvregError as error:
            self._refusal = error
            raise

    def is_finished(self, name: str) -> bool:
        if name not in self._done and is_finished(self._study, name):
            self._done.add(name)
        return name in self._done

    def _may_try_again(self, name: str, why: str | None) -> bool:
        folder = job_folder(self._study, name)
        failure = folder.failure
        if failure is None and not all(map(self.is_finished, self._all[name].needs)):
            return False  # it could not begin; it comes after what it needs
        what = failure or why or "ended without a word"
        self._ends[name].append(what)
        # The same spec and the same images will be refused again.
        is_final = failure is not None and folder.failure_status == 2
        if is_final or len(self._ends[name]) > self._retries:
            self._given_up[name] = what
            self._say(f"failed: {name}: {what}")
            return False
        self._say(f"tried again: {name}: {what}")
        return True

    # -- what is left

    @property
    def to_do(self) -> list[Job]:
        """Jobs that are not finished and may be tried; not those whose needs were given up."""
        return [
            job
            for name, job in self._all.items()
            if not self.is_finished(name) and name not in self._given_up and not self._lost_needs(job)
        ]

    @property
    def goes_on(self) -> bool:
        """Whether anything was heard since this was last asked: who does nothing is not asked for ever."""
        before, self._heard_before = self._heard_before, self._heard
        return before != self._heard

    def _lost_needs(self, job: Job) -> dict[str, str]:
        return {need: self._given_up[need] for need in job.needs if need in self._given_up}

    def write_failures(self) -> None:
        """Every cell that is not finished says why in its folder."""
        for name, job in self._all.items():
            folder = job_folder(self._study, name)
            if name not in self._jobs.cells or self.is_finished(name):
                continue
            if lost := self._lost_needs(job):
                need, what = next(iter(lost.items()))
                label = self._jobs.shared[need].label
                folder.write_failure(InvregError(f"shared work failed: {what}", where=f"methods.{label}"))
            elif folder.failure is None:
                ends = self._ends[name]
                times = f" ({len(ends)} times)" if len(ends) > 1 else ""
                what = ends[-1] if ends else "the executor returned without it"
                hint = f"see {job.log}; the same command goes on where it stopped"
                folder.write_failure(ExecutorError(f"{what}{times}", hint=hint))

    # -- what is shown

    def _show(self) -> None:
        if self._terminal is None:
            return
        cells = self._jobs.cells
        done, failed = len(self._done.intersection(cells)), len(self._given_up)
        before = len(cells) - sum(name in cells for name in self._all)
        seconds = left(time.monotonic() - self._begun, done - before, len(cells) - done)
        values = {"running": len(self._running), "failed": failed}
        if seconds is not None and done < len(cells):
            values["left"] = duration(seconds)  # type: ignore[assignment]
        self._terminal.invreg_progress("cells", "finished", done, len(cells), values)

    def _say(self, text: str) -> None:
        self._console.print(text.splitlines()[0], markup=False, soft_wrap=True)
