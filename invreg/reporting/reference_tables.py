"""Tables of a study's report with values from the literature beside those of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invreg.reporting.study_tables import in_short, short_names
from invreg.reporting.tables import Table, TableCell, column_title, csv_source, plain
from invreg.text import MISSING, count, duration, metric_title, number, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.metric import Metric
    from invreg.specs.references import ReferenceRow, ReferenceTable


@dataclass(frozen=True)
class ShownReference:
    """A table with what is known of its source."""

    table: Table
    caption: str
    source: str
    url: str
    note: str


def shown_reference(
    given: ReferenceTable, results: pd.DataFrame, names: Mapping[str, str], metrics: Mapping[str, Metric]
) -> ShownReference:
    """The values of a source, each beside that of the study: its span, where several cells have it.

    Args:
        given: the values.
        results: one row per cell and method of the study.
        names: what the study varies, and its short names.
        metrics: by name.
    """
    reference, cells = given.reference, results.to_dict("records")
    varied = list(dict.fromkeys(path for row in given.rows for path in row.conditions))
    names = {**short_names(varied), **names}
    # What is a parameter of a method stands beside its label.
    paths = [path for path in varied if not path.startswith("methods.")]
    quantities = list(dict.fromkeys(name for row in given.rows for name in row.quantities))
    compared = [name for name in quantities if reference.against is not None and name in metrics]
    columns = [(names[path], False) for path in paths] + [("Method", False)]
    for name in quantities:
        columns += [(f"{_title(name, metrics)}, {place}", True) for place in ("here", "source")]
    for name in compared:
        which = f"{metric_title(name)} above" if len(compared) > 1 else "above"
        columns += [(f"{which} {reference.against}, {place}", True) for place in ("here", "source")]
    body, values = [], []
    for row in given.rows:
        parameters = {path: value for path, value in row.conditions.items() if path not in paths}
        line = [TableCell(plain(row.conditions.get(path))) for path in paths]
        line.append(TableCell(row.method, note=in_short(parameters, names)))
        own = [cell for cell in cells if row.is_about(str(cell["method"]), cell)]
        for name in quantities:
            here = [float(cell[name]) for cell in own if name in cell]
            there = row.quantities.get(name)
            line += [_cell(here, name, metrics), _cell(there or (), name, metrics)]
            values.append(_record(row, name, here, there))
        for name in compared:
            line += [
                _cell(_margins(own, cells, name, str(reference.against)), name, metrics, signed=True),
                _cell(_margin_there(row, given.rows, name, str(reference.against)), name, metrics, signed=True),
            ]
        body.append(line)
    return ShownReference(
        table=Table(columns, body, source=_csv(values), file="references.csv"),
        caption=f"Here, and in {reference.source}",
        source=reference.source,
        url=reference.url or "",
        note=reference.note,
    )


def _title(name: str, metrics: Mapping[str, Metric]) -> str:
    if name in metrics:
        return with_unit(metric_title(name), f"({metrics[name].unit})" if metrics[name].unit else "")
    return {"parameters": "Weights", "training_seconds": "Training", "reconstruction_seconds": "Time per image"}.get(
        name, column_title(name)
    )


def _cell(values: Sequence[float], name: str, metrics: Mapping[str, Metric], signed: bool = False) -> TableCell:
    """The values from the smallest to the largest, or one where all are written alike."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return TableCell(MISSING, True)
    low, high = (_written(value, name, metrics, signed) for value in (min(known), max(known)))
    return TableCell(low if low == high else f"{low} to {high}", True, value=min(known))


def _written(value: float, name: str, metrics: Mapping[str, Metric], signed: bool) -> str:
    if name in metrics:
        return number(value, metrics[name].unit, signed=signed)
    return count(round(value)) if name == "parameters" else duration(value)


def _margins(
    own: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]], name: str, other: str
) -> list[float]:
    """How far a method is above another one in the same cell."""
    beside = {cell["cell"]: float(cell[name]) for cell in cells if cell["method"] == other}
    return [
        float(cell[name]) - beside[cell["cell"]] for cell in own if cell["method"] != other and cell["cell"] in beside
    ]


def _margin_there(row: ReferenceRow, rows: Sequence[ReferenceRow], name: str, other: str) -> list[float]:
    """The same in the source; none for values that it gives as a span."""
    found = [one for one in rows if one.method == other and name in one.quantities and one.shares_problem(row)]
    if row.method == other or len(found) != 1 or name not in row.quantities:
        return []
    (low, high), (their_low, their_high) = row.quantities[name], found[0].quantities[name]
    return [low - their_low] if low == high and their_low == their_high else []


def _record(row: ReferenceRow, name: str, here: Sequence[float], there: tuple[float, float] | None) -> dict[str, Any]:
    known = [value for value in here if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (None, None)
    source_low, source_high = there or (None, None)
    about = {**row.conditions, "method": row.method, "quantity": name}
    return {**about, "here_low": low, "here_high": high, "source_low": source_low, "source_high": source_high}


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    import pandas as pd

    return csv_source(pd.DataFrame(list(records)), "study.csv")
