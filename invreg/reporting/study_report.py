"""The HTML report of a study, from what its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from invreg.reporting.content import AnalysisContent
from invreg.reporting.reference_tables import shown_reference
from invreg.reporting.report import report_environment, tables_of, with_sources
from invreg.reporting.study_tables import all_results, headline, in_short, result_table, short_names, varied
from invreg.reporting.tables import Table
from invreg.specs.references import reference_tables
from invreg.storage.run_folder import RunFolder
from invreg.text import metric_title

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from invreg.components.metric import Metric
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
    metrics = metrics_of(cells, registry)
    names = short_names(varied(cells, list(record.axes)))
    figures, tables = with_sources(analyses), tables_of(analyses, metrics)
    result = result_table(cells, table, names, metrics)
    page = (
        report_environment()
        .get_template("study.html")
        .render(
            title=record.title,
            headline=headline(cells, table, metrics),
            result=result,
            result_caption=_caption(metrics, result),
            result_figure=next((position for position, drawn in enumerate(figures) if drawn), None),
            cells=[(in_short(cell.values, names), _report_of(cell, folder), cell.failure) for cell in cells],
            warnings=_by_text(cells, names),
            all_results=all_results(table, names, metrics) if len(table) else None,
            analyses=analyses,
            headings=folder.headings,
            references={
                key: [shown_reference(one, table, names, metrics) for one in listed]
                for key, listed in reference_tables(
                    folder.references, record.analysis_keys, list(record.axes), metrics
                ).items()
            },
            figures=figures,
            tables=tables,
            spec_yaml=folder.spec_yaml,
            command=folder.command or f"invreg run study.yaml --output {shlex.quote(str(folder.path.parent))}",
            version=_version(cells),
        )
    )
    return folder.write_report(page)


def metrics_of(cells: Sequence[StudyCell], registry: Registry) -> dict[str, Metric]:
    """The metrics of all cells by name, those of the first cell first."""
    given = {spec.name: spec for cell in cells for spec in cell.spec.metrics}
    return {name: registry.build("metric", spec) for name, spec in given.items()}


def _caption(metrics: Mapping[str, Metric], result: Table | None) -> str:
    name, metric = next(iter(metrics.items()))
    compares = result is not None and any(cell.is_best for row in result.rows for cell in row)
    unit = f" in {metric.unit}" if metric.unit else ""
    best = "; in each cell of the study, the best is bold" if compares else ""
    return f"Mean {metric_title(name)}{unit} on the test images{best}."


def _version(cells: Sequence[StudyCell]) -> str:
    """The version of invreg that has made the cells."""
    found = (RunFolder(cell.folder).environment.get("invreg", "") for cell in cells if not cell.failure)
    return str(next(found, ""))


def _report_of(cell: StudyCell, folder: StudyFolder) -> str:
    """The address of a cell's report within that of the study."""
    return quote(RunFolder(cell.folder).report.relative_to(folder.path).as_posix())


def _by_text(cells: Sequence[StudyCell], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Each warning once, with the cells that gave it: what cells share warns in all of them."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for text in dict.fromkeys([] if cell.failure else cell.warnings):
            found.setdefault(text, []).append(in_short(cell.values, names))
    return found
