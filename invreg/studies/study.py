"""Studies: many runs from one spec, with the same work done once.

A study folder holds one run folder per cell, one table over all, and what the study analyses found. It is resumed cell
by cell. A cell that fails is reported with its cause and does not stop the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.analyzer import Findings
from invreg.components.events import Events
from invreg.components.study_analyzer import CompletedStudy
from invreg.computing.processes import processes
from invreg.errors import InvregError, SpecError
from invreg.plugins.tracking import open_trackers
from invreg.reporting.study_report import write_study_report
from invreg.running.inputs import RunInputs, not_for_volumes
from invreg.running.shared_work import SharedWork
from invreg.running.single import RunOptions, check_plan, run_plan
from invreg.specs.matrix import in_words
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import JOBS, RunFolder
from invreg.storage.run_images import LastImages
from invreg.storage.study_cell import StudyCell
from invreg.storage.study_folder import StudyFolder, StudyRecord, tidy_table
from invreg.studies.execution import Execution, JobPlan, check_executor, execute
from invreg.studies.progress import StudyProgress
from invreg.studies.status import Record

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from invreg.components.executor import Executor
    from invreg.studies.plan import PlannedCell, StudyPlan

#: Images, measurements and networks that are kept from the check of all cells until each is run, in bytes.
_KEPT = 2**30


def run_study(
    plan: StudyPlan,
    options: RunOptions,
    execution: Execution | None = None,
    after_cell: Callable[[Path], None] | None = None,
) -> StudyResult:
    """Runs all cells of a study that are not finished, then its analyses.

    Args:
        plan: of the study.
        options: where its folder is made, and how this process computes.
        execution: how an executor carries out the cells, if the plan has one.
        after_cell: is called with the folder of every cell that is finished; what it raises stops the study.

    Raises:
        InvregError: if the images or methods of any cell do not fit, or the executor cannot be used; nothing has been
            computed.
    """
    with open_trackers(plan.registry, options.tracked):
        pass  # a tracker that cannot be made is refused before anything else
    together, executor = processes(), plan.executor
    if executor is not None and together.count > 1:
        raise SpecError(
            f"an executor for {together.count} processes, which carry out each cell together",
            where="executor",
            expected="one or the other",
            hint="the same command without torchrun or accelerate launch, or without the executor",
        )
    checking = SharedWork()
    all_inputs = _check_cells(plan, options.device, checking) if executor is None else []
    if executor is not None:
        check_executor(plan, executor)
    path = together.from_main(lambda: StudyFolder.create(options.output, plan.title, plan.digest).path)
    folder = StudyFolder(path)
    bars = StudyProgress(len(plan.cells)) if options.progress else None
    with folder.locked() if together.is_main else nullcontext(), closing(bars) if bars else nullcontext():
        together.from_main(lambda: folder.begin(plan.content))
        if executor is None:
            shared = SharedWork(folder.shared_folder, checking)
            cells = _run_cells(plan, all_inputs, folder, options, shared, bars, after_cell)
        else:
            cells = _have_cells_run(plan, executor, folder, execution or Execution(), after_cell)
        table, findings = together.from_main(lambda: _conclude(plan, folder, cells, bars))
    return StudyResult(folder.path, table, cells, findings)


def _conclude(
    plan: StudyPlan, folder: StudyFolder, cells: list[StudyCell], bars: StudyProgress | None
) -> tuple[pd.DataFrame, dict[str, Findings]]:
    """The table of a study whose cells have been run, its analyses and its report."""
    table = tidy_table(cells, list(plan.axes))
    folder.write_study_table(table)
    events = Events(plan.registry.manager, [bars] if bars else [])
    findings = _analyse(plan, folder, cells, table, events)
    record = StudyRecord.of(plan.title, plan.axes, cells, plan.specs)
    write_study_report(folder, record, cells, table, plan.registry)
    folder.finish(record)
    return table, findings


def _check_cells(plan: StudyPlan, device: torch.device, shared: SharedWork) -> list[RunInputs | None]:
    """Reads the images and sets every method up, for each cell, before the first one starts.

    Returns:
        The inputs of each cell; None for those for which there is no room until they are run.
    """
    all_inputs: list[RunInputs | None] = []
    room, kept = _KEPT, set()
    for cell in plan.cells:
        try:
            inputs = check_plan(cell.plan, device, shared)
        except InvregError as error:
            raise error.at(f"cell {in_words(cell.values)}") from None
        for refusal in _refusals(plan, [inputs.image_shape]).values():
            raise refusal
        images = id(inputs.images.test)
        size = inputs.own_bytes + (0 if images in kept else inputs.image_bytes)
        if size > room:
            all_inputs.append(None)
            continue
        room -= size
        kept.add(images)
        all_inputs.append(inputs)
    return all_inputs


def _refusals(plan: StudyPlan, image_shapes: Iterable[Sequence[int]]) -> dict[str, SpecError]:
    """The study analyses that do not take images of these shapes, by their keys."""
    volumes = next((shape for shape in image_shapes if len(shape) != 3), None)
    if volumes is None:
        return {}
    return {
        key: not_for_volumes(plan.registry, "study_analyzer", spec.name, volumes, f"study_analyses.{index}")
        for index, (spec, (key, analyzer)) in enumerate(zip(plan.specs, plan.analyses.items(), strict=True))
        if not analyzer.takes_volumes
    }


def _have_cells_run(
    plan: StudyPlan,
    executor: Executor,
    folder: StudyFolder,
    execution: Execution,
    after_cell: Callable[[Path], None] | None,
) -> list[StudyCell]:
    jobs = JobPlan(plan, folder)
    execute(jobs, executor, execution, after_cell)
    last, cells = LastImages(), []
    for name, cell in zip(jobs.names, plan.cells, strict=True):
        run = RunFolder(folder.cells_folder / name)
        cells.append(StudyCell(cell.values, cell.plan.spec, run.path, run.failure, plan.registry, last=last))
    if not any(cell.failure for cell in cells):
        shutil.rmtree(folder.jobs_folder, ignore_errors=True)
    return cells


def _run_cells(
    plan: StudyPlan,
    all_inputs: list[RunInputs | None],
    study: StudyFolder,
    options: RunOptions,
    shared: SharedWork,
    bars: StudyProgress | None,
    after_cell: Callable[[Path], None] | None,
) -> list[StudyCell]:
    inside, last = replace(options, output=study.cells_folder, progress=False), LastImages()
    if bars is not None:
        bars.begin(plan.title, study.path)
    cells = []
    for index, cell in enumerate(plan.cells):
        inputs, all_inputs[index] = all_inputs[index], None  # let go with its cell
        if bars is not None:
            bars.cell(index + 1, cell)
        cells.append(_run_cell(cell, inputs, inside, shared, last, bars))
        if after_cell is not None and cells[-1].failure is None:
            after_cell(cells[-1].folder)
    if bars is not None:
        bars.end()
    return cells


def _run_cell(
    cell: PlannedCell,
    inputs: RunInputs | None,
    options: RunOptions,
    shared: SharedWork,
    last: LastImages,
    bars: StudyProgress | None,
) -> StudyCell:
    plan, together = cell.plan, processes()

    def begin() -> Path:
        folder = RunFolder.create(options.output, plan.spec.title, plan.digest)
        folder.write_spec(plan.spec)
        return folder.path

    folder = RunFolder(together.from_main(begin))
    records = [Record(folder.path.parents[1] / JOBS / f"{folder.path.name}.json")] if together.is_main else []
    listeners = [*records, *([bars] if bars else [])]
    failure = None
    try:
        with open_trackers(plan.registry, options.tracked) as trackers, ExitStack() as kept:
            for record in records:
                kept.enter_context(record)
            inputs = inputs or check_plan(plan, options.device, shared)
            run_plan(plan, inputs, options, shared, trackers, listeners=listeners)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 (one cell that fails must not stop the others)
        together.failed_alike(error)
        failure = together.from_main(partial(folder.write_failure, error))
        if bars is not None:
            bars.say(f"failed: {failure}".partition("\n")[0])
    else:
        together.from_main(folder.clear_failure)
    return StudyCell(cell.values, plan.spec, folder.path, failure, plan.registry, last=last)


def _analyse(
    plan: StudyPlan, folder: StudyFolder, cells: Sequence[StudyCell], table: pd.DataFrame, events: Events
) -> dict[str, Findings]:
    """The study analyses; they are made anew each time, because cells may have joined since."""
    finished = [cell for cell in cells if cell.failure is None]
    completed = CompletedStudy(plan.title, plan.axes, table, finished, events)
    refusals = _refusals(plan, [cell.identity.image_shape for cell in finished])
    for key, refusal in refusals.items():  # cells that an executor ran were not looked at before
        folder.analysis(key).write_failure(refusal)
    made = {
        key: folder.analysis(key).make(analyzer, completed, plan.registry, anew=True)
        for key, analyzer in plan.analyses.items()
        if key not in refusals
    }
    return {key: findings for key, findings in made.items() if findings is not None}
