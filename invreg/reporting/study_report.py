"""The HTML report of a study, from what its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from invreg.plugins.describe import first_sentence
from invreg.reporting.collection import collect_analysis
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


@dataclass(frozen=True)
class CellContent:
    """A cell: its name in words, the place of its own report, and what went wrong."""

    name: str
    report: str
    failure: str = ""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class StudyContent:
    """Everything that the report of a study shows.

    Attributes:
        title: the study's title.
        cells: all cells, in order.
        table: one row per finished cell and method.
        analyses: the study analyses, in the order of the spec.
        spec_yaml: the spec of the study.
        command: the command that repeats the study.
    """

    title: str
    cells: Sequence[CellContent]
    table: pd.DataFrame
    analyses: Sequence[AnalysisContent]
    spec_yaml: str
    command: str


def collect_study(
    folder: StudyFolder, record: StudyRecord, cells: Sequence[StudyCell], table: pd.DataFrame, registry: Registry
) -> StudyContent:
    """Reads everything that the report of a study shows; nothing is computed.

    Args:
        folder: the study folder.
        record: the study.
        cells: its cells.
        table: one row per finished cell and method.
        registry: knows the study analyses.

    Raises:
        StoreError: if a file is missing.
    """
    described = zip(record.analysis_keys, record.analyses, strict=True)
    return StudyContent(
        title=record.title,
        cells=[
            CellContent(
                name=in_words(cell.values),
                report=quote(str(RunFolder(cell.folder).report.relative_to(folder.path).as_posix())),
                failure=cell.failure or "",
                warnings=[] if cell.failure else cell.warnings,
            )
            for cell in cells
        ],
        table=table,
        analyses=[
            collect_analysis(folder.analysis(key), first_sentence(registry.entry("study_analyzer", spec.name).cls))
            for key, spec in described
        ],
        spec_yaml=folder.spec_yaml,
        command=f"invreg run study.yaml --output {shlex.quote(str(folder.path.parent))}",
    )


def write_study_report(
    folder: StudyFolder, record: StudyRecord, cells: Sequence[StudyCell], table: pd.DataFrame, registry: Registry
) -> Path:
    """Writes the report into a study folder, from what lies there.

    Raises:
        StoreError: if a file is missing, or the report cannot be written.
    """
    return folder.write_report(render_study(collect_study(folder, record, cells, table, registry)))


def _by_text(cells: Sequence[CellContent]) -> dict[str, list[str]]:
    """Each warning once, with the cells that gave it: what cells share warns in all of them."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for text in dict.fromkeys(cell.warnings):
            found.setdefault(text, []).append(cell.name)
    return found


def render_study(content: StudyContent) -> str:
    """The report of a study as one HTML document: no scripts, no network; everything that is shown is escaped."""
    failed = [cell for cell in content.cells if cell.failure]
    done = len(content.cells) - len(failed)
    headline = f"{done} of {len(content.cells)} cells are finished" if failed else f"All {done} cells are finished"
    return (
        report_environment()
        .get_template("study.html")
        .render(
            content=content,
            headline=f"{headline}.",
            failed=failed,
            warnings=_by_text(content.cells),
            figures=with_sources(content.analyses),
        )
    )
