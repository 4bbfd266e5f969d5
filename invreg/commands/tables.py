"""Tables of results, for people: rounded, aligned, and within the width of the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invreg.commands.layout import width
from invreg.text import MISSING, count, duration, metric_title, plural

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are printed; the files hold all.
_MOST_ROWS = 40

#: Significant digits of the largest number in a column, which decide on the decimals of all.
_DIGITS = 4

_TITLES = {
    "method": "Method",
    "parameters": "Weights",
    "training_seconds": "Training",
    "reconstruction_seconds": "Per image",
}


def print_table(frame: pd.DataFrame, names: Sequence[str] = (), *, titled: bool = True) -> None:
    """Prints a table. One that is too wide goes on below, with its first columns repeated.

    Args:
        frame: the table.
        names: columns that name a row; the first one if none are given.
        titled: whether the names of columns are given as people write them; labels of methods are left alone.
    """
    names = list(names) or list(frame.columns[:1])
    head = frame.head(_MOST_ROWS)
    columns = {str(name): _column(str(name), head[name].tolist(), titled) for name in head.columns}
    for block in _blocks(columns, [str(name) for name in names], width()):
        _print(block)
    if len(frame) > _MOST_ROWS:
        print(f"... and {plural(len(frame) - _MOST_ROWS, 'further row')}")


def print_study(table: pd.DataFrame) -> None:
    """Prints the first metric of a study: a row for each cell, a column for each method.

    Args:
        table: of a `StudyResult`.
    """
    import pandas as pd

    columns = list(table.columns)
    paths, metrics = columns[1 : columns.index("method")], columns[columns.index("method") + 1 :]
    if not len(table) or not metrics:
        print("no cell is finished")
        return
    short = dict(zip(paths, _short(paths), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    for one in table.to_dict("records"):
        row = rows.setdefault(one["cell"], {short[path]: _given(one[path]) for path in paths})
        row[str(one["method"])] = float(one[metrics[0]])
    print(f"{metric_title(metrics[0])}, the mean over the test images, of {plural(len(rows), 'cell')}:")
    print_table(pd.DataFrame(list(rows.values())), list(short.values()), titled=False)


def _short(paths: Sequence[str]) -> list[str]:
    """The last words of dotted paths, as many as tell them apart."""
    parts = [path.split(".") for path in paths]
    for length in range(1, max(map(len, parts), default=1)):
        names = [".".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _given(value: Any) -> str:
    """A varied value as a spec has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_json(content: Any) -> None:
    """Prints plain data, and tables as lists of their rows, as JSON; what is not finite is null."""
    print(json.dumps(_plain(content), indent=2))


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return _plain(value.to_dict("records"))
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _title(name: str, is_numeric: bool) -> str:
    if not name.isidentifier():
        return name
    return _TITLES.get(name) or (metric_title(name) if is_numeric else name.replace("_", " ").capitalize())


def _column(name: str, values: list[Any], titled: bool) -> tuple[str, list[str], bool]:
    """The heading, the cells and whether they are numbers."""
    is_numeric = all(isinstance(value, Real) and not isinstance(value, bool) for value in values if _is_there(value))
    title = _title(name, is_numeric) if titled else name
    if not is_numeric:
        return title, [str(value) if _is_there(value) else MISSING for value in values], False
    known = [float(value) for value in values if _is_there(value)]
    if name.endswith("seconds"):
        return title, [duration(float(value)) if _is_there(value) else MISSING for value in values], True
    if all(isinstance(value, Integral) or value == int(value) for value in known):
        return title, [count(int(value)) if _is_there(value) else MISSING for value in values], True
    return title, [_rounded(value, known) for value in values], True


def _is_there(value: Any) -> bool:
    try:
        return value is not None and not bool(value != value) and not (isinstance(value, Real) and math.isinf(value))
    except TypeError:  # what pandas has for nothing
        return False


def _rounded(value: Any, known: list[float]) -> str:
    if not _is_there(value):
        return MISSING if not isinstance(value, float) or math.isnan(value) else str(value)
    largest = max(map(abs, known))
    digits = _DIGITS - 1 - math.floor(math.log10(largest)) if largest > 0 else 0
    if digits > 7:
        return f"{float(value):.3g}"
    return f"{float(value):.{max(0, digits)}f}"


_Column = tuple[str, list[str], bool]


def _blocks(columns: dict[str, _Column], names: list[str], room: int | None) -> list[dict[str, _Column]]:
    """The columns that stand side by side, each block with those that name a row."""
    wide = {name: max(len(title), *map(len, [*cells, ""])) + 2 for name, (title, cells, _) in columns.items()}
    others = [name for name in columns if name not in names]
    first = sum(wide[name] for name in names)
    blocks: list[list[str]] = [[]]
    for name in others:
        taken = first + sum(wide[one] for one in blocks[-1]) + wide[name]
        if room is not None and blocks[-1] and taken - 2 > room:
            blocks.append([])
        blocks[-1].append(name)
    return [{name: columns[name] for name in [*names, *block]} for block in blocks]


def _print(columns: dict[str, _Column]) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, _, is_number in columns.values():
        table.add_column(Text(title), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in zip(*(cells for _, cells, _ in columns.values()), strict=True):
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=width() or 1_000)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
