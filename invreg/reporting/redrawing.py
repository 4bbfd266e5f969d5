"""Figures and reports made anew from what is saved; nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.errors import InvregError
from invreg.reporting.report import write_report
from invreg.reporting.study_report import write_study_report
from invreg.specs.plan import make_plan
from invreg.storage.run_folder import ResultFolder, RunFolder
from invreg.storage.study_folder import StudyFolder, tidy_table

if TYPE_CHECKING:
    from invreg.components.analyzer import Analyzer
    from invreg.components.study_analyzer import StudyAnalyzer
    from invreg.plugins.registry import Registry


def redraw_run(path: Path, registry: Registry) -> Path:
    """The figures and the report of a run.

    Returns:
        The report.

    Raises:
        StoreError: if the folder holds no run, or an unfinished one.
        InvregError: if figures could not be drawn; all others are, and the report says why.
    """
    folder = RunFolder.existing(path)
    with folder.locked():
        folder.drop_broken_seal("report")
        plan = make_plan(folder.spec, registry)
        folder.check_finished()
        problems = _redraw_figures(folder, plan.analyses)
        report = write_report(folder, plan)
    _fail_with(problems, path)
    return report


def redraw_study(path: Path, registry: Registry) -> Path:
    """The figures and the report of a study, and those of its finished cells.

    Returns:
        The report.

    Raises:
        StoreError: if the study is not finished.
        InvregError: if something could not be drawn; all else is.
    """
    folder = StudyFolder(path)
    with folder.locked():
        folder.drop_broken_seal("report")
        record = folder.record
        folder.check_finished()
        cells = folder.cells(record, registry)
        problems = []
        for cell in cells:
            if cell.failure is None:
                try:
                    redraw_run(cell.folder, registry)
                except InvregError as error:
                    problems.append(str(error))
        problems += _redraw_figures(folder, record.analyzers(registry))
        report = write_study_report(folder, record, cells, tidy_table(cells, list(record.axes)), registry)
    _fail_with(problems, path)
    return report


def _redraw_figures(folder: ResultFolder, analyzers: Mapping[str, Analyzer | StudyAnalyzer]) -> list[str]:
    """Draws the figures of all findings; returns what could not be drawn, and why."""
    failed = {key: folder.analysis(key).redraw(analyzer) for key, analyzer in analyzers.items()}
    return [f"{key}: {failure}" for key, failure in failed.items() if failure is not None]


def _fail_with(problems: list[str], path: Path) -> None:
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InvregError(f"not everything could be drawn again{lines}", where=str(path), hint="the rest is done")
