"""The tables of a report: what stands in each cell, and how it is set."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from invreg.text import MISSING, count, duration, metric_title, number, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.metric import Metric
    from invreg.reporting.content import ReportContent

#: Rows of a table that are shown; the whole tables lie in the run folder.
ROWS = 40
#: Tables of more bytes are not in the page once more as CSV: a link leads to the file.
LONGEST_CSV = 30_000

_WORDS = {"val": "validation", "std": "std.", "lr": "learning rate"}
#: Columns whose texts are names of quantities.
_NAMES_OF_COLUMNS = ("metric", "quantity")
#: A number with more digits than anybody reads, as text.
_LONG_NUMBER = re.compile(r"-?\d*\.\d{7,}(e[-+]?\d+)?")


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, how it is set, the number by which it is sorted, the rows and columns it spans."""

    text: str
    is_number: bool = False
    is_best: bool = False
    note: str = ""
    value: float | None = None
    rows: int = 1
    columns: int = 1


@dataclass(frozen=True)
class Table:
    """A table ready to be set; the first cell of each row names the row.

    Attributes:
        columns: the headings, each with whether its column holds numbers.
        rows: the cells.
        omitted: number of rows that are not shown.
        source: the address of the whole table as CSV; empty if there is none.
        file: the name under which it is saved.
    """

    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[TableCell]]
    omitted: int = 0
    source: str = ""
    file: str = ""


def results_table(content: ReportContent) -> Table:
    """The summary: metrics as mean ± standard deviation with the best mean marked, weights and times."""
    summary, metrics, many = content.summary, content.metrics, len(content.images.test) > 1
    columns = [("Method", False)]
    columns += [(with_unit(metric_title(name), f"({m.unit})" if m.unit else ""), True) for name, m in metrics.items()]
    columns += [("Weights", True), ("Training", True), ("Time per image", True)]
    best = {name: _best(summary[name], metric) for name, metric in metrics.items()}
    written = {name: aligned(summary[name], metric.unit) for name, metric in metrics.items()}
    rows = []
    for position, row in enumerate(summary.to_dict("records")):
        cells = [TableCell(str(row["method"]))]
        for name, style in written.items():
            cells.append(replace(number_cell(row, name, style, many), is_best=position in best[name]))
        cells += [weights_cell(row), time_cell(row, "training"), time_cell(row, "reconstruction")]
        rows.append(cells)
    return Table(columns, rows, source=csv_source(summary, "summary.csv"), file="summary.csv")


def number_cell(row: Mapping[str, Any], name: str, write: Callable[[float], str], many: bool = True) -> TableCell:
    """A metric of a row of a summary, with its spread if that is one of many images."""
    value, spread = float(row[name]), float(row.get(f"{name}_std", math.nan))
    note = f"± {write(spread)}" if math.isfinite(spread) and many else ""
    return TableCell(write(value), True, note=note, value=_finite(value))


def weights_cell(row: Mapping[str, Any]) -> TableCell:
    """The number of weights of a row of a summary."""
    weights = int(row["parameters"])
    return TableCell(count(weights) if weights else MISSING, True, value=weights or None)


def time_cell(row: Mapping[str, Any], what: str) -> TableCell:
    """The time that training or a reconstruction took, of a row of a summary."""
    seconds = float(row[f"{what}_seconds"])
    return TableCell(_time(seconds), True, value=_finite(seconds))


def to_table(
    frame: pd.DataFrame, rows: int = ROWS, metrics: Collection[str] = (), address: str = "", name: str = "table"
) -> Table:
    """Any table; of a long one the first rows.

    Args:
        frame: the table.
        rows: how many are shown.
        metrics: names that are written as metrics are.
        address: where it lies as CSV, from the report; empty if it lies nowhere.
        name: its name.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numeric = [is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in frame.dtypes]
    columns = [
        (column_title(str(key), metrics), is_number) for key, is_number in zip(frame.columns, numeric, strict=True)
    ]
    named = [str(key) in _NAMES_OF_COLUMNS for key in frame.columns]
    shown = [
        [
            TableCell(
                column_title(value, metrics) if is_name and isinstance(value, str) else plain(value),
                is_number,
                value=_finite(value) if is_number else None,
            )
            for value, is_number, is_name in zip(row, numeric, named, strict=True)
        ]
        for row in frame.head(rows).itertuples(index=False, name=None)
    ]
    source = csv_source(frame, address) if address else ""
    return Table(columns, shown, max(len(frame) - rows, 0), source, f"{name}.csv")


def csv_source(frame: pd.DataFrame, address: str) -> str:
    """The address of a table as CSV: the table itself, or the file where it lies if it is long."""
    content = frame.to_csv(index=False).encode()
    if len(content) > LONGEST_CSV:
        return address
    return f"data:text/csv;base64,{base64.b64encode(content).decode()}"


def column_title(name: str, metrics: Collection[str] = ()) -> str:
    """The name of a column as people write it: `val_psnr` becomes "validation PSNR", `training_seconds` "training (s)".

    Args:
        name: as the table has it.
        metrics: the names of metrics among its words.
    """
    if name in metrics:
        return metric_title(name)
    for metric in sorted(metrics, key=len, reverse=True):
        before, found, after = name.partition(metric)
        if found and (not before or before.endswith("_")) and (not after or after.startswith("_")):
            return f"{_in_words(before)}{metric_title(metric)}{_in_words(after)}"
    return f"{_in_words(name.removesuffix('_seconds'))} (s)" if name.endswith("_seconds") else _in_words(name)


def _in_words(name: str) -> str:
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def plain(value: Any, digits: int = 4) -> str:
    """A value as people read it: numbers with so many significant digits, a dash for what is missing."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        return plain(float(value), digits) if _LONG_NUMBER.fullmatch(value) else value
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


def aligned(values: pd.Series, unit: str) -> Callable[[float], str]:
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
