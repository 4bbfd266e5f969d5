"""The HTML report of a study, from what its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invreg.report import report_environment, with_sources
from invreg.report_content import AnalysisContent

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from invreg.store import RunFolder


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


def write_study_report(folder: RunFolder, content: StudyContent) -> Path:
    """Writes `report.html` into a study folder."""
    folder.write_text("report.html", render_study(content))
    return folder.path / "report.html"


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
            warned=[cell for cell in content.cells if cell.warnings],
            figures=with_sources(content.analyses),
        )
    )
