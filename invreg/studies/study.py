"""Studies: many runs from one spec, with the same work done once.

A study folder holds one run folder per cell, one table over all, and what the study analyses found. It is resumed cell
by cell. A cell that fails is reported with its cause and does not stop the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.components.analyzer import Findings
from invreg.components.device import choose_device
from invreg.components.events import Events
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.errors import InvregError, SpecError
from invreg.plugins.registry import Registry, plain_form, spec_of
from invreg.reporting.study_report import write_study_report
from invreg.running.listeners import TerminalProgress
from invreg.running.setting import Setting
from invreg.running.shared_work import Shared
from invreg.running.single import check_plan, run_plan
from invreg.schema.component_spec import ComponentSpec, join_errors
from invreg.specs.matrix import expand, in_words, value_label
from invreg.specs.plan import Plan, make_plan
from invreg.specs.spec import parse_spec
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import RunFolder
from invreg.storage.run_images import LastImages
from invreg.storage.study_cell import StudyCell
from invreg.storage.study_folder import StudyFolder, StudyRecord, tidy_table
from invreg.text import unique_names

if TYPE_CHECKING:
    import pandas as pd
    import torch

#: Images and measurements that are kept from the check of all cells until each is run, in bytes.
_KEPT = 2**30


@dataclass(frozen=True)
class _PlannedCell:
    values: dict[str, Any]
    plan: Plan


@dataclass(frozen=True)
class _StudyPlan:
    title: str
    content: Mapping[str, Any]
    axes: dict[str, list[Any]]
    cells: list[_PlannedCell]
    analyses: dict[str, StudyAnalyzer]
    specs: list[ComponentSpec]

    @property
    def digest(self) -> str:
        content = [cell.plan.digest for cell in self.cells]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def plan_study(content: Mapping[str, Any], registry: Registry) -> _StudyPlan:
    """All cells of a study with everything checked that can be checked without data.

    Raises:
        SpecError: with the problems of all cells, each said once.
    """
    # As a file would give it: components as their specs, and numbers of Python.
    content = json.loads(json.dumps({key: plain_form(value, key, registry) for key, value in content.items()}))
    base = {key: value for key, value in content.items() if key not in ("matrix", "study_analyses")}
    title = str(base.get("title", "Study"))
    expanded = expand(base, _mapping(content["matrix"]))
    paths = list(dict.fromkeys(path for cell in expanded for path in cell.values))
    raw = {path: _distinct([cell.values[path] for cell in expanded if path in cell.values]) for path in paths}
    cells: list[_PlannedCell] = []
    problems: dict[str, SpecError] = {}
    for cell in expanded:
        values = {path: value_label(cell.values[path], raw[path]) for path in paths if path in cell.values}
        try:
            spec = parse_spec({**cell.content, "title": f"{title}: {in_words(values)}"})
            cells.append(_PlannedCell(values, make_plan(spec, registry)))
        except SpecError as error:
            problems.setdefault(str(error), SpecError(str(error), where=f"cell {in_words(values)}"))
    analyses, specs = _study_analyses(content.get("study_analyses") or [], registry, problems)
    if problems:
        raise join_errors(list(problems.values()))
    axes = {path: _distinct([cell.values[path] for cell in cells if path in cell.values]) for path in paths}
    return _StudyPlan(title, content, axes, cells, analyses, specs)


def run_study(
    content: Mapping[str, Any],
    output: Path,
    device: str,
    progress: bool,
    registry: Registry,
    tracked: Sequence[str] = (),
) -> StudyResult:
    """Runs all cells of a study that are not finished, then its analyses.

    Args:
        content: the spec with its `matrix` and `study_analyses`.
        output: the folder in which the study folder is made.
        device: where to compute.
        progress: whether progress is shown on the terminal.
        registry: where components come from.
        tracked: names of the trackers of each cell.

    Raises:
        SpecError: if any cell is wrong; nothing has been computed.
    """
    plan = plan_study(content, registry)
    where, checking = choose_device(device), Shared()
    settings = _check_cells(plan, where, checking)
    folder = StudyFolder.create(output, plan.title, plan.digest)
    with folder.locked():
        folder.write_spec(plan.content)
        shared, last = Shared(folder.shared_folder, checking), LastImages()
        # Each setting is let go with its cell.
        cells = [
            _run_cell(cell, settings.pop(0), folder, where, progress, shared, tracked, last) for cell in plan.cells
        ]
        table = tidy_table(cells, list(plan.axes))
        folder.write_study_table(table)
        events = Events(registry.manager, [TerminalProgress()] if progress else [])
        findings = _analyse(plan, folder, cells, table, events)
        record = StudyRecord.of(plan.title, plan.axes, cells, plan.specs)
        write_study_report(folder, record, cells, table, registry)
        folder.write_record(record)
    return StudyResult(folder.path, table, cells, findings)


def _check_cells(plan: _StudyPlan, device: torch.device, shared: Shared) -> list[Setting | None]:
    """Reads the images and sets every method up, for each cell, before the first one starts.

    Returns:
        The settings of the cells; None for those for which there is no room until they are run.
    """
    settings: list[Setting | None] = []
    room, kept = _KEPT, set()
    for cell in plan.cells:
        try:
            setting = check_plan(cell.plan, device, shared)
        except InvregError as error:
            raise error.at(f"cell {in_words(cell.values)}") from None
        images = id(setting.images.test)
        size = setting.measurement_bytes + (0 if images in kept else setting.image_bytes)
        if size > room:
            settings.append(None)
            continue
        room -= size
        kept.add(images)
        settings.append(setting)
    return settings


def _run_cell(
    cell: _PlannedCell,
    setting: Setting | None,
    study: StudyFolder,
    device: torch.device,
    progress: bool,
    shared: Shared,
    tracked: Sequence[str],
    last: LastImages,
) -> StudyCell:
    output, plan = study.cells_folder, cell.plan
    folder = RunFolder.create(output, plan.spec.title, plan.digest)
    folder.write_spec(plan.spec)
    failure = None
    try:
        run_plan(plan, setting or check_plan(plan, device, shared), output, device, progress, shared, tracked)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 (one cell that fails must not stop the others)
        failure = folder.write_failure(error)
    else:
        folder.clear_failure()
    return StudyCell(cell.values, plan.spec, folder.path, failure, plan.registry, last=last)


def _analyse(
    plan: _StudyPlan, folder: StudyFolder, cells: list[StudyCell], table: pd.DataFrame, events: Events
) -> dict[str, Findings]:
    """The study analyses; they are made anew each time, because cells may have joined since."""
    finished = [cell for cell in cells if cell.failure is None]
    completed = CompletedStudy(plan.title, plan.axes, table, finished, events)
    registry = plan.cells[0].plan.registry
    made = {
        key: folder.analysis(key).make(analyzer, completed, registry, anew=True)
        for key, analyzer in plan.analyses.items()
    }
    return {key: findings for key, findings in made.items() if findings is not None}


def _study_analyses(
    given: Any, registry: Registry, problems: dict[str, SpecError]
) -> tuple[dict[str, StudyAnalyzer], list[ComponentSpec]]:
    if not isinstance(given, list):
        raise SpecError(f"{given!r}", where="study_analyses", expected="a list of study analyzers")
    built, specs = [], []
    for index, spec in enumerate(given):
        try:
            built.append(registry.build("study_analyzer", spec, f"study_analyses.{index}"))
            specs.append(ComponentSpec.model_validate(spec_of(built[-1], registry)))
        except SpecError as error:
            problems[str(error)] = error
    return dict(zip(unique_names([spec.name for spec in specs]), built, strict=True)), specs


def _mapping(matrix: Any) -> Mapping[str, Any]:
    if not isinstance(matrix, Mapping) or not matrix:
        raise SpecError(f"{matrix!r}", where="matrix", expected="a mapping of dotted paths to lists of values")
    return matrix


def _distinct(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
