"""The tables of a report: what stands in each cell, and how it is set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from invreg.text import MISSING, count, duration, metric_title, number, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.metric import Metric
    from invreg.reporting.content import ReportContent

#: Rows of a table that are shown; the whole tables lie in the run folder.
ROWS = 40


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, how it is set, and the number behind it, by which the table is sorted."""

    text: str
    is_number: bool = False
    is_best: bool = False
    note: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table ready to be set; the first cell of each row names the row.

    Attributes:
        columns: the headings, each with whether its column holds numbers.
        rows: the cells.
        omitted: number of rows that are not shown.
    """

    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[TableCell]]
    omitted: int = 0


def results_table(content: ReportContent) -> Table:
    """The summary: metrics as mean ± standard deviation with the best mean marked, weights and times."""
    summary, metrics, many = content.summary, content.metrics, len(content.images.test) > 1
    columns = [("Method", False)]
    columns += [(with_unit(metric_title(name), f"({m.unit})" if m.unit else ""), True) for name, m in metrics.items()]
    columns += [("Weights", True), ("Training", True), ("Time per image", True)]
    best = {name: _best(summary[name], metric) for name, metric in metrics.items()}
    written = {name: _aligned(summary[name], metric.unit) for name, metric in metrics.items()}
    rows = []
    for position, row in enumerate(summary.to_dict("records")):
        cells = [TableCell(str(row["method"]))]
        for name, style in written.items():
            value, spread = float(row[name]), float(row.get(f"{name}_std", math.nan))
            note = f"± {style(spread)}" if math.isfinite(spread) and many else ""
            cells.append(TableCell(style(value), True, position in best[name], note, _finite(value)))
        weights = int(row["parameters"])
        cells.append(TableCell(count(weights) if weights else MISSING, True, value=weights or None))
        times = [float(row[f"{name}_seconds"]) for name in ("training", "reconstruction")]
        cells += [TableCell(_time(seconds), True, value=_finite(seconds)) for seconds in times]
        rows.append(cells)
    return Table(columns, rows)


def to_table(frame: pd.DataFrame, rows: int = ROWS) -> Table:
    """Any table; of a long one the first rows."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numeric = [is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in frame.dtypes]
    columns = [(str(name), is_number) for name, is_number in zip(frame.columns, numeric, strict=True)]
    shown = [
        [
            TableCell(plain(value), is_number, value=_finite(value) if is_number else None)
            for value, is_number in zip(row, numeric, strict=True)
        ]
        for row in frame.head(rows).itertuples(index=False, name=None)
    ]
    return Table(columns, shown, max(len(frame) - rows, 0))


def plain(value: Any, digits: int = 4) -> str:
    """A value as people read it: numbers with so many significant digits, a dash for what is missing."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        return value
    if type(value).__name__ in ("bool", "bool_"):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return str(int(value)).replace("-", "−")
    if isinstance(value, Real):
        real = float(value)
        if math.isnan(real):
            return MISSING
        return ("∞" if real > 0 else "−∞") if math.isinf(real) else f"{real:.{digits}g}".replace("-", "−")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(item, digits)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item, digits) for item in value) + "]"
    return str(value)


def _finite(value: Any) -> float | None:
    """A number that is one, for sorting."""
    return float(value) if value is not None and math.isfinite(value) else None


def _time(seconds: float) -> str:
    """A time in a table of results: below a millisecond it says more of the machine than of the method."""
    return "< 1 ms" if 0 < seconds < 1e-3 else duration(seconds)


def _aligned(values: pd.Series, unit: str) -> Callable[[float], str]:
    """How to write the numbers of a column: all with the same decimals, unless some need a power of ten."""
    texts = [number(float(value), unit) for value in values if math.isfinite(value)]
    if not texts or any("e" in text for text in texts):
        return lambda value: number(value, unit)
    decimals = max(len(text.partition(".")[2]) for text in texts)

    def write(value: float) -> str:
        return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else number(value, unit)

    return write


def _best(values: pd.Series, metric: Metric) -> set[int]:
    """Positions of the best values, as far as they can be told apart in the table; none for a single method."""
    finite = {i: float(value) for i, value in enumerate(values) if math.isfinite(value)}
    if len(values) < 2 or not finite:
        return set()
    best = max(finite.values()) if metric.higher_is_better else min(finite.values())
    return {i for i, value in finite.items() if number(value, metric.unit) == number(best, metric.unit)}
