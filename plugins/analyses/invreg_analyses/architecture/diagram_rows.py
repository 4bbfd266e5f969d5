"""How boxes with shapes between them find their places in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from invreg.components.architecture import Shape
from invreg_analyses.architecture.diagram import PAD, Line, Point, Sheet, height_of, wrapped
from invreg_analyses.architecture.tables import written
from invreg_analyses.shared.style import MUTED

_WIDEST, _NARROWEST = 2.95, 0.62
#: Beside the shape that stands above an arrow.
_AIR = 0.14
#: From the ends of a row to the way from it to the next.
_TURN = 0.17
#: Gaps become at most so much wider than they have to be.
_STRETCH = 1.5


@dataclass(frozen=True)
class Place:
    """Where a box is in its row.

    Attributes:
        index: of the box among all boxes.
        x: of its left edge.
        width: in inches.
        beside: room that belongs to it on its right.
    """

    index: int
    x: float
    width: float
    beside: float = 0.0

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def end(self) -> float:
        return self.x + self.width + self.beside


@dataclass(frozen=True)
class Rows:
    """Boxes in rows of a given width, with gaps between them in which shapes are written.

    Attributes:
        places: of the boxes, row by row.
        breaks: whether shapes are written on two lines.
    """

    places: Sequence[Sequence[Place]]
    breaks: bool

    def lines(self, shape: Shape) -> list[Line]:
        """A shape as it is written above an arrow."""
        return shape_lines(shape, self.breaks)


def shape_lines(shape: Shape, breaks: bool) -> list[Line]:
    """A shape on one line, or the channels on a line of their own."""
    if not breaks or len(shape) < 2:
        return [Line(written(shape), 7.5, MUTED)]
    return [Line(f"{shape[0]} ×", 7.5, MUTED), Line(written(shape[1:]), 7.5, MUTED)]


def arranged(
    boxes: Sequence[Sequence[Line]], shapes: Sequence[Shape], width: float, beside: Sequence[float] | None = None
) -> Rows:
    """Places for boxes with these texts: in one row if that is possible, else in as many as it takes.

    Args:
        boxes: the lines of each box, not yet broken.
        shapes: before the first box, between neighbours, and behind the last one.
        width: of a row.
        beside: room that each box needs on its right.
    """
    wishes = [_Wish(index, *_widths(lines), beside[index] if beside else 0.0) for index, lines in enumerate(boxes)]
    for breaks in (False, True):
        gap = _gap(shapes, breaks)
        if sum(wish.least + wish.beside for wish in wishes) + gap * (len(boxes) + 1) <= width:
            return Rows([_row(wishes, gap, width)], breaks)
    gap = _gap(shapes, False)
    rows: list[list[_Wish]] = [[]]
    for wish in wishes:
        taken = sum(one.wanted + one.beside + gap for one in [*rows[-1], wish]) + gap
        if rows[-1] and taken > width:
            rows.append([])
        rows[-1].append(wish)
    return Rows([_row(row, gap, width) for row in rows], False)


def box_height(boxes: Sequence[Sequence[Line]], row: Sequence[Place]) -> float:
    """Of the boxes in a row: that of the one with the most text."""
    return max(height_of(wrapped(boxes[place.index], place.width - 2 * PAD)) for place in row) + 2 * PAD


def draw_text(sheet: Sheet, place: Place, y: float, height: float, lines: Sequence[Line], x: float = 0.0) -> None:
    """The text in the middle of a box; `x` is where rows begin."""
    shown = wrapped(lines, place.width - 2 * PAD)
    sheet.lines(x + place.middle, y + (height - height_of(shown)) / 2, shown)


def draw_shape(sheet: Sheet, middle: Point, lines: Sequence[Line]) -> None:
    """A shape right above a point of an arrow."""
    sheet.lines(middle[0], middle[1] - height_of(lines) - 0.05, lines)


@dataclass(frozen=True)
class Wire:
    """A connection: its corners, and the point above which the shape is written."""

    points: Sequence[Point]
    label: Point


def wires(rows: Rows, levels: Sequence[float], breaks: Sequence[float], ends: tuple[float, float]) -> list[Wire]:
    """The connections from the left end through all boxes to the right one.

    Args:
        rows: the boxes.
        levels: y of the connections in each row.
        breaks: y of the way from each row back to the beginning of the next.
        ends: x of the left and of the right end.
    """
    left, right = ends
    found = []
    before, level = left, levels[0]
    for number, row in enumerate(rows.places):
        for place in row:
            if level == levels[number]:
                found.append(Wire([(before, level), (place.x, level)], ((before + place.x) / 2, level)))
            else:
                back, new = breaks[number - 1], levels[number]
                out, into = right - _TURN, left + _TURN
                corners = [(before, level), (out, level), (out, back), (into, back), (into, new), (place.x, new)]
                found.append(Wire(corners, ((before + out) / 2, level)))
            before, level = place.end, levels[number]
    found.append(Wire([(before, level), (right, level)], ((before + right) / 2, level)))
    return found


def _gap(shapes: Sequence[Shape], breaks: bool) -> float:
    return max(line.width for shape in shapes for line in shape_lines(shape, breaks)) + _AIR


class _Wish(NamedTuple):
    """How wide a box has to be, and wants to be, and what it needs beside it."""

    index: int
    least: float
    wanted: float
    beside: float


def _widths(lines: Sequence[Line]) -> tuple[float, float]:
    words = max((line.widest_word for line in lines), default=0.0) + 2 * PAD
    whole = max((line.width for line in lines), default=0.0) + 2 * PAD
    least = min(max(words, _NARROWEST), _WIDEST)
    return least, min(max(whole, least), _WIDEST)


def _row(wishes: Sequence[_Wish], gap: float, width: float) -> list[Place]:
    gaps = len(wishes) + 1
    free = width - gap * gaps - sum(wish.beside for wish in wishes)
    # Where there is too little room, the widest boxes give way first.
    limits = sorted({size for wish in wishes for size in (wish.least, wish.wanted)}, reverse=True)
    sizes = [wish.wanted for wish in wishes]
    for limit in limits:
        if sum(sizes) <= free:
            break
        before, sizes = sizes, [max(wish.least, min(wish.wanted, limit)) for wish in wishes]
        if sum(sizes) <= free < sum(before):
            share = (free - sum(sizes)) / (sum(before) - sum(sizes))
            sizes = [low + share * (high - low) for low, high in zip(sizes, before, strict=True)]
            break
    taken = sum(sizes) + sum(wish.beside for wish in wishes)
    gap = min(gap * _STRETCH, (width - taken) / gaps)
    x = (width - taken - gap * gaps) / 2 + gap
    places = []
    for wish, size in zip(wishes, sizes, strict=True):
        places.append(Place(wish.index, x, size, wish.beside))
        x = places[-1].end + gap
    return places
