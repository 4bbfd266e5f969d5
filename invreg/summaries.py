"""How objects show themselves: a few lines of text, and a table in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from numbers import Integral, Real
from typing import Any

from invreg.text import count, number, plural

#: Lines that a representation takes at most, about.
MOST_LINES = 20

_ROWS, _CELL, _TITLE, _CALL = 12, 100, 300, 1000


@dataclass(frozen=True)
class Summary:
    """What is to be said of an object.

    Attributes:
        title: what it is.
        columns: headings; none for a list of names and values.
        rows: values, or text; of more than a dozen the first are shown.
        notes: sentences below.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Plain text, with aligned columns."""
        cells = [[str(name) for name in self.columns]] if self.columns else []
        cells += [[cell(value) for value in row] for row in self.rows[:_ROWS]]
        widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
        lines = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        return "\n".join([_cut(self.title, _TITLE), *lines, *(f"  {note}" for note in self._notes)])

    def html(self) -> str:
        """The same as a table; everything is escaped."""
        head = "".join(f"<th>{escape(str(name))}</th>" for name in self.columns)
        rows = [f"<tr>{head}</tr>"] if head else []
        for row in self.rows[:_ROWS]:
            first, *others = (escape(cell(value)) for value in row)
            rows.append(f'<tr><th style="text-align: left">{first}</th>{"".join(f"<td>{o}</td>" for o in others)}</tr>')
        table = f"<table>{''.join(rows)}</table>" if rows else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in self._notes)
        return f"<div><b>{escape(_cut(self.title, _TITLE))}</b>{table}{notes}</div>"

    @property
    def _notes(self) -> list[str]:
        left_out = len(self.rows) - _ROWS
        more = [f"... and {plural(left_out, 'more row')}"] if left_out > 0 else []
        return [*more, *(_cut(note, _TITLE) for note in self.notes[:4])]


class Summarized:
    """Base of classes that show themselves by a summary, in the terminal and in notebooks."""

    def _summary(self) -> Summary:
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self._summary())

    def _repr_html_(self) -> str:
        return self._summary().html()


def of_table(title: str, table: Any, columns: Iterable[str] | None = None, notes: Sequence[str] = ()) -> Summary:
    """The summary of a table of pandas.

    Args:
        title: what it is about.
        table: a `pandas.DataFrame`.
        columns: those that are shown, where they exist; the first eight if None.
        notes: sentences below.
    """
    names = [name for name in columns or table.columns if name in table.columns][:8]
    rows = [tuple(row) for row in table[names].head(_ROWS + 1).itertuples(index=False, name=None)]
    rows += [()] * (len(table) - len(rows))
    return Summary(title, names, rows, notes)


def cell(value: Any) -> str:
    """A value in a few characters: three digits of a number, the shape of an array, the beginning of a text."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, Integral):
        return count(int(value))
    if isinstance(value, Real):
        return number(float(value))
    return _cut(value if isinstance(value, str) else brief(value), _CELL)


def brief(value: Any) -> str:
    """The representation of a value in one line; of arrays and tensors the shape, of large objects the class."""
    name = type(value).__name__
    if (shape := getattr(value, "shape", None)) is not None and hasattr(value, "dtype"):
        return f"{name}{list(shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {brief(one)}" for key, one in list(value.items())[:8]) + _more(value, 8) + "}"
    if isinstance(value, list | tuple):
        return f"{'[' if isinstance(value, list) else '('}{', '.join(map(brief, value[:8]))}{_more(value, 8)}" + (
            "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
        )
    if (arguments := getattr(value, "__dict__", {}).get("_built_with")) is not None:
        return call(name, arguments)
    text = repr(value)
    return f"{name}(...)" if "\n" in text or len(text) > 200 else text


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """A constructor call in one line, as in `GaussianBlur(std=2.0)`."""
    return _cut(f"{name}({', '.join(f'{key}={brief(value)}' for key, value in arguments.items())})", _CALL)


def _more(values: Any, shown: int) -> str:
    return ", ..." if len(values) > shown else ""


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
