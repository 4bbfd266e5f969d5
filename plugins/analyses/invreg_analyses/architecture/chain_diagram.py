"""Networks as a chain of boxes, in one row or several; what stages are made of is drawn below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from invreg import Architecture, Skip, Stage
from invreg.text import count
from invreg_analyses.architecture.diagram import Line, Point, Sheet, legible, tint
from invreg_analyses.architecture.diagram_rows import Place, arranged, box_height, draw_shape, draw_text, wires
from invreg_analyses.architecture.inset_diagram import Inset, has_inset
from invreg_analyses.architecture.tables import written
from invreg_analyses.shared.style import INK, MUTED

_BETWEEN = 0.44  # rows
_CARD = 0.045  # from one card of a stack to the next
_BADGE = 0.24  # room above the boxes
_SKIP = 0.3  # from one skip to the next
_TAP = 0.04  # behind what enters, where a skip begins
_APART = 0.05  # the two directions, from their middle
_RAYS = 0.3  # between the chain and what is drawn below
#: Stages at the beginning and at the end of networks that have more than can be drawn.
_FIRST, _LAST = 24, 8


class _Box(NamedTuple):
    """Where a stage has been drawn."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


class ChainDiagram:
    """Boxes from left to right.

    Args:
        architecture: of the network.
        width: in inches.
        color: of the way of the reconstruction; the other way is grey.
    """

    def __init__(self, architecture: Architecture, width: float, color: str) -> None:
        self.architecture, self.width, self.color = architecture, width, color
        self.is_two_way = bool(architecture.inverse)
        self.colors = (MUTED, color) if self.is_two_way else (color, MUTED)
        self.stages = _abridged(architecture.stages)
        self.shapes = [self.stages[0].shape_in, *(stage.shape_out for stage in self.stages)]
        self.names = [Line(text, 11, INK, "bold") for text in (architecture.left, architecture.right)]
        self.end = max(name.width for name in self.names) + 0.08
        # Skips are arcs over a row. Where there are several rows, the boxes that they reach name them.
        self.arcs = [skip for skip in architecture.skips if _is_among(self.stages, skip)]
        self._arrange()
        if len(self.rows.places) > 1:
            self.arcs = []
            self._arrange()
        self.heights = [box_height(self.boxes, row) for row in self.rows.places]
        self.insets = [Inset(stage, width, self.colors, self.is_two_way) for stage in self.stages if has_inset(stage)]

    def _arrange(self) -> None:
        named = [skip for skip in self.architecture.skips if skip not in self.arcs]
        self.boxes = [self._lines(stage, named) for stage in self.stages]
        cards = [_CARD * (_cards(stage) - 1) for stage in self.stages]
        self.rows = arranged(self.boxes, self.shapes, self.width - 2 * self.end, cards)

    @property
    def height(self) -> float:
        """In inches."""
        return self._above + self._chain_height + sum(inset.height + _RAYS for inset in self.insets) + 0.02

    @property
    def _chain_height(self) -> float:
        return sum(self.heights) + _BETWEEN * (len(self.heights) - 1)

    @property
    def _above(self) -> float:
        """Room for the names of the directions, for skips, and for what stands above repeated stages."""
        return (0.3 if self.is_two_way else 0.0) + _SKIP * len(self.arcs) + _BADGE

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Draws it with its upper left corner at (x, y)."""
        if self.is_two_way:
            self._name_directions(sheet, x, y)
        top = y + self._above
        tops = [top + sum(self.heights[:row]) + _BETWEEN * row for row in range(len(self.heights))]
        self._draw_wires(sheet, x, tops)
        boxes: dict[str, _Box] = {}
        for row, row_top, height in zip(self.rows.places, tops, self.heights, strict=True):
            for place in row:
                box = _Box(x + self.end + place.x, row_top, place.width, height)
                self._draw_box(sheet, place, box)
                boxes[self.stages[place.index].name] = box
        places = {stage.name: number for number, stage in enumerate(self.stages, 1)}
        shortest_first = sorted(self.arcs, key=lambda skip: places[skip.target] - places.get(skip.source, 0))
        for number, skip in enumerate(shortest_first):
            before = (x + self.end + _TAP, tops[0] + self.heights[0] / 2)
            self._draw_arc(sheet, skip, boxes.get(skip.source, before), boxes[skip.target], number)
        self._draw_insets(sheet, x, top + self._chain_height, boxes)

    def _name_directions(self, sheet: Sheet, x: float, y: float) -> None:
        for text, color, is_forward in (
            (self.architecture.forward, self.colors[0], True),
            (self.architecture.inverse, self.colors[1], False),
        ):
            line = Line(text, 9, legible(color), "bold")
            tips = [(x, y + line.height / 2), (x + 0.34, y + line.height / 2)]
            sheet.arrow(tips if is_forward else tips[::-1], color)
            sheet.lines(x + 0.42, y, [line], "left")
            x += 0.42 + line.width + 0.4

    def _draw_wires(self, sheet: Sheet, x: float, tops: Sequence[float]) -> None:
        left, right = x + self.end, x + self.width - self.end
        levels = [top + height / 2 for top, height in zip(tops, self.heights, strict=True)]
        breaks = [top + height + _BETWEEN / 2 for top, height in zip(tops, self.heights, strict=True)]
        apart = _APART if self.is_two_way else 0.0
        for wire, shape in zip(wires(self.rows, levels, breaks, (0, right - left)), self.shapes, strict=True):
            sheet.arrow(_moved(wire.points, left, -apart), self.colors[0])
            if self.is_two_way:
                sheet.arrow(_moved(wire.points, left, apart)[::-1], self.colors[1])
            draw_shape(sheet, (left + wire.label[0], wire.label[1] - apart), self.rows.lines(shape))
        before, after = self.names
        sheet.lines(left - 0.06, levels[0] - before.height / 2, [before], "right")
        sheet.lines(right + 0.06, levels[-1] - after.height / 2, [after], "left")

    def _draw_box(self, sheet: Sheet, place: Place, box: _Box) -> None:
        stage = self.stages[place.index]
        face, edge = (tint(self.color), self.color) if stage.parameters else ("white", MUTED)
        for card in reversed(range(_cards(stage))):
            shift = _CARD * card
            sheet.box(box.left + shift, box.top - shift, box.width, box.height, face=face, edge=edge)
        draw_text(sheet, Place(place.index, box.left, box.width), box.top, box.height, self.boxes[place.index])
        if stage.repeats > 1:
            sheet.badge(box.right + place.beside + 0.05, box.top - place.beside, f"× {stage.repeats}", edge)

    def _draw_arc(self, sheet: Sheet, skip: Skip, source: _Box | Point, target: _Box, number: int) -> None:
        """A skip past boxes: from one of them, or from the point at which the network begins."""
        level = target.top - _BADGE - _SKIP * number
        if isinstance(source, _Box):
            start = source.left + 0.6 * source.width, source.top
        else:
            start = source
            sheet.circle(*start, 0.03, face=self.color, edge=self.color)
        # Longer ones end further to the right, so that they do not cross shorter ones.
        end = target.left + target.width * (0.25 + 0.25 * number / max(len(self.arcs) - 1, 1))
        sheet.arrow([start, (start[0], level), (end, level), (end, target.top)], self.color)
        line = Line(_skip_in_words(skip), 8, MUTED)
        sheet.lines((start[0] + end) / 2, level - line.height - 0.02, [line])

    def _draw_insets(self, sheet: Sheet, x: float, y: float, boxes: dict[str, _Box]) -> None:
        for number, inset in enumerate(self.insets):
            y += _RAYS
            box = boxes[inset.stage.name]
            if number == 0 and box.bottom + _RAYS >= y - 1e-6:  # nothing is in between
                lower = (x, y), (x + self.width, y)
                sheet.rays(((box.left, box.bottom), (box.right, box.bottom)), lower)
            inset.draw(sheet, x, y)
            y += inset.height

    def _lines(self, stage: Stage, named: Sequence[Skip]) -> list[Line]:
        """The text of a box: its name, what it does each way, its parameters, what holds for it."""
        lines = [Line(stage.name, 8.5, INK, "bold")]
        if self.is_two_way:
            ways = (("→", stage.operation, self.colors[0]), ("←", stage.inverse, self.colors[1]))
            lines += [Line(f"{arrow} {text}", 8, legible(color)) for arrow, text, color in ways if text]
        elif stage.operation != stage.name:
            lines.append(Line(stage.operation, 8))
        lines += [
            Line(f"joined by {skip.source or self.architecture.left}: {_skip_in_words(skip)}", 8, MUTED)
            for skip in named
            if skip.target == stage.name
        ]
        lines += [Line(text, 7.5, MUTED) for text in [parameters_in_words(stage)] if text]
        return lines + [Line(text, 8, INK, "bold") for text in [stage.constraint] if text]


def parameters_in_words(stage: Stage) -> str:
    """The number of parameters of a stage; empty if it has none."""
    if not stage.parameters:
        return ""
    many = f"{stage.repeats} × " if stage.repeats > 1 else ""
    return f"{many}{count(stage.parameters)} parameter" + ("s" if stage.total != 1 else "")


def _cards(stage: Stage) -> int:
    """The cards in the stack that stands for a stage."""
    return min(stage.repeats, 3)


def _skip_in_words(skip: Skip) -> str:
    parts = [skip.operation if skip.operation != "identity" else "", skip.joins, written(skip.shape)]
    parts += [f"{count(skip.parameters)} parameters"] if skip.parameters else []
    return ", ".join(part for part in parts if part)


def _moved(points: Sequence[Point], x: float, apart: float) -> list[Point]:
    """A wire on the sheet, `apart` below its middle where it goes to the right; such wires never cross."""
    if len(points) == 2:
        return [(x + across, down + apart) for across, down in points]
    # To the right, down, back to the left, down, to the right: its own right-hand side stays where it is.
    asides = [(0, 1), (-1, 1), (-1, -1), (-1, -1), (-1, 1), (0, 1)]
    return [
        (x + across + apart * right, down + apart * below)
        for (across, down), (right, below) in zip(points, asides, strict=True)
    ]


def _is_among(stages: Sequence[Stage], skip: Skip) -> bool:
    names = {"", *(stage.name for stage in stages)}
    return skip.source in names and skip.target in names


def _abridged(stages: Sequence[Stage]) -> list[Stage]:
    """The stages; of very many, those in the middle are one."""
    if len(stages) <= _FIRST + _LAST + 1:
        return list(stages)
    middle = stages[_FIRST:-_LAST]
    total = sum(stage.total for stage in middle)
    left_out = Stage(
        f"{len(middle)} more stages", "see the table of stages", middle[0].shape_in, middle[-1].shape_out, total
    )
    return [*stages[:_FIRST], left_out, *stages[-_LAST:]]
