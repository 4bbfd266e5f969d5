"""Finished studies: loaded from their folder, and drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.device import choose_device
from invreg.errors import InvregError
from invreg.reporting.redrawing import fail_with, redraw_figures, redraw_run
from invreg.reporting.study_report import collect_study, write_study_report
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import RunFolder
from invreg.storage.study_record import read_record
from invreg.studies.study import tidy_table

if TYPE_CHECKING:
    from invreg.plugins.registry import Registry


def load_study(folder: Path, device: str, registry: Registry) -> StudyResult:
    """The result of a finished study.

    Raises:
        StoreError: if the study is not finished, or a file is missing.
    """
    store, record = RunFolder(folder), read_record(RunFolder(folder))
    cells = record.cells_in(store, registry, str(choose_device(device)))
    # An analysis that failed has left no findings, or some that it could not draw.
    keys = [key for key in record.analysis_keys if not store.has(store.analysis(key) / "failure.txt")]
    return StudyResult(
        folder=folder,
        table=tidy_table(cells, list(record.axes)),
        cells=cells,
        findings={key: store.read_findings(key) for key in keys},
    )


def redraw_study(folder: Path, registry: Registry) -> Path:
    """The figures and the report of a study, and those of its finished cells.

    Returns:
        The report.

    Raises:
        StoreError: if the study is not finished.
        InvregError: if something could not be drawn; all else is.
    """
    store = RunFolder(folder)
    with store.locked():
        record = read_record(store)
        cells = record.cells_in(store, registry, "cpu")
        problems = []
        for cell in cells:
            if cell.failure is None:
                try:
                    redraw_run(cell.folder, registry)
                except InvregError as error:
                    problems.append(str(error))
        problems += redraw_figures(store, record.analyzers(registry))
        table = tidy_table(cells, list(record.axes))
        report = write_study_report(store, collect_study(store, record, cells, table, registry))
    fail_with(problems, folder)
    return report
