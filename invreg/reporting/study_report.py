"""The HTML report of a study, from what its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from invreg.reporting.content import AnalysisContent
from invreg.reporting.report import report_environment, with_sources
from invreg.specs.matrix import in_words
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from invreg.plugins.registry import Registry
    from invreg.storage.study_cell import StudyCell
    from invreg.storage.study_folder import StudyFolder, StudyRecord


def write_study_report(
    folder: StudyFolder, record: StudyRecord, cells: Sequence[StudyCell], table: pd.DataFrame, registry: Registry
) -> Path:
    """Writes the report into a study folder, from what lies there; nothing is computed.

    Args:
        folder: the study folder.
        record: the study.
        cells: its cells.
        table: one row per finished cell and method.
        registry: knows the study analyses.

    Raises:
        StoreError: if a file is missing, or the report cannot be written.
    """
    named = zip(record.analysis_keys, record.analyses, strict=True)
    analyses = [
        AnalysisContent.of(folder.analysis(key), registry.entry("study_analyzer", spec.name).cls) for key, spec in named
    ]
    page = (
        report_environment()
        .get_template("study.html")
        .render(
            title=record.title,
            headline=_headline(cells),
            cells=[(in_words(cell.values), _report_of(cell, folder), cell.failure) for cell in cells],
            warnings=_by_text(cells),
            table=table,
            analyses=analyses,
            figures=with_sources(analyses),
            spec_yaml=folder.spec_yaml,
            command=f"invreg run study.yaml --output {shlex.quote(str(folder.path.parent))}",
        )
    )
    return folder.write_report(page)


def _headline(cells: Sequence[StudyCell]) -> str:
    done = sum(cell.failure is None for cell in cells)
    return f"All {done} cells are finished." if done == len(cells) else f"{done} of {len(cells)} cells are finished."


def _report_of(cell: StudyCell, folder: StudyFolder) -> str:
    """The address of a cell's report within that of the study."""
    return quote(RunFolder(cell.folder).report.relative_to(folder.path).as_posix())


def _by_text(cells: Sequence[StudyCell]) -> dict[str, list[str]]:
    """Each warning once, with the cells that gave it: what cells share warns in all of them."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for text in dict.fromkeys([] if cell.failure else cell.warnings):
            found.setdefault(text, []).append(in_words(cell.values))
    return found
