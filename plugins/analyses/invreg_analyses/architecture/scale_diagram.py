"""Networks that go through several scales, as a U: down on the left, up on the right, skips in between."""

from __future__ import annotations

from invreg import Architecture, Skip
from invreg.components.architecture import Shape
from invreg.text import count
from invreg_analyses.architecture.chain_diagram import parameters_in_words
from invreg_analyses.architecture.diagram import PAD, Line, Sheet, height_of, tint, wrapped
from invreg_analyses.architecture.scale_rows import Sides
from invreg_analyses.architecture.tables import written
from invreg_analyses.shared.style import INK, MUTED

_COLUMN = 3.25  # width of the two sides
_BETWEEN = 0.36  # rows, with the shapes
_END = 0.24  # height of what enters and leaves
_AIR = 0.12


class ScaleDiagram:
    """Boxes in two columns, one row for each pair of stages that a skip connects, the coarsest scale below.

    Args:
        architecture: of the network.
        sides: its stages side by side.
        width: in inches.
        color: of the method.
    """

    def __init__(self, architecture: Architecture, sides: Sides, width: float, color: str) -> None:
        self.architecture, self.sides, self.width, self.color = architecture, sides, width, color
        self.stages = architecture.stages
        self.below_width = min(_COLUMN, (width - 2.4 - 0.9 * (len(sides.below) - 1)) / len(sides.below))
        self.skips = {skip.target: skip for skip in architecture.skips}
        self.heights = [max(self._item_height(left), self._item_height(right)) for left, right in sides.rows]
        self.below_height = max(self._box_height(index, self.below_width) for index in sides.below)

    @property
    def height(self) -> float:
        """In inches."""
        return sum(self.heights) + _BETWEEN * len(self.heights) + self.below_height + 0.02

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Draws it with its upper left corner at (x, y)."""
        # Top and bottom of what has been drawn, by number.
        spans: dict[int, tuple[float, float]] = {}
        for (left, right), height in zip(self.sides.rows, self.heights, strict=True):
            for index, edge in ((left, x), (right, x + self.width - _COLUMN)):
                if index is not None:
                    spans[index] = self._draw_item(sheet, index, edge, y, height)
            if right is not None and right < len(self.stages) and self.stages[right].name in self.skips:
                self._draw_skip(sheet, self.skips[self.stages[right].name], x, y + height / 2, left == -1)
            y += height + _BETWEEN
        self._draw_columns(sheet, x, spans)
        self._draw_below(sheet, x, y, spans)

    def _draw_columns(self, sheet: Sheet, x: float, spans: dict[int, tuple[float, float]]) -> None:
        """The way down on the left, and up on the right."""
        first, last = self.sides.below[0], self.sides.below[-1]
        left, right = x + _COLUMN / 2, x + self.width - _COLUMN / 2
        for index in range(-1, first - 1):
            start, end = spans[index][1], spans[index + 1][0]
            self._draw_wire(sheet, left, start, end, self.stages[index + 1].shape_in)
        for index in range(last + 1, len(self.stages)):
            self._draw_wire(sheet, right, spans[index][0], spans[index + 1][1], self.stages[index].shape_out)

    def _draw_below(self, sheet: Sheet, x: float, y: float, spans: dict[int, tuple[float, float]]) -> None:
        """The coarsest scale, and how it is reached and left."""
        below = self.sides.below
        gap = 0.9
        place = x + (self.width - self.below_width * len(below) - gap * (len(below) - 1)) / 2
        level = y + self.below_height / 2
        first, last = below[0], below[-1]
        left, right = x + _COLUMN / 2, x + self.width - _COLUMN / 2
        sheet.arrow([(left, spans[first - 1][1]), (left, level), (place, level)], self.color)
        self._write_shape(sheet, (left + place) / 2, level, self.stages[first].shape_in)
        for index in below:
            self._draw_box(sheet, index, place, y, self.below_width, self.below_height)
            place += self.below_width
            if index != last:
                sheet.arrow([(place, level), (place + gap, level)], self.color)
                self._write_shape(sheet, place + gap / 2, level, self.stages[index].shape_out)
                place += gap
        sheet.arrow([(place, level), (right, level), (right, spans[last + 1][1])], self.color)
        self._write_shape(sheet, (place + right) / 2, level, self.stages[last].shape_out)

    def _draw_item(self, sheet: Sheet, index: int, x: float, y: float, height: float) -> tuple[float, float]:
        """A stage, or what enters or leaves; returns its top and bottom."""
        if 0 <= index < len(self.stages):
            own = self._box_height(index, _COLUMN)
            top = y + (height - own) / 2
            self._draw_box(sheet, index, x, top, _COLUMN, own)
            return top, top + own
        text = self.architecture.left if index < 0 else self.architecture.right
        top = y + height - _END
        sheet.lines(x + _COLUMN / 2, top, [Line(text, 11, INK, "bold")])
        return top, top + _END

    def _draw_box(self, sheet: Sheet, index: int, x: float, y: float, width: float, height: float) -> None:
        stage = self.stages[index]
        face, edge = (tint(self.color), self.color) if stage.parameters else ("white", MUTED)
        sheet.box(x, y, width, height, face=face, edge=edge)
        head, inside = self._text(index, width)
        sheet.lines(x + PAD, y + PAD - 0.01, head, "left")
        size = Line(parameters_in_words(stage), 7.5, MUTED)
        sheet.lines(x + width - PAD, y + PAD, [size], "right")
        sheet.lines(x + PAD, y + PAD + height_of(head) + 0.02, inside, "left")

    def _draw_skip(self, sheet: Sheet, skip: Skip, x: float, y: float, is_from_end: bool) -> None:
        start, end = x + _COLUMN, x + self.width - _COLUMN
        if is_from_end:  # what enters is a letter, not a box
            start = x + _COLUMN / 2 + 0.15
        width = self.width - 2 * _COLUMN - 2 * _AIR
        done = [Line(skip.operation, 8)] if skip.operation != "identity" else []
        above = wrapped([*done, Line(skip.joins, 8, INK, "bold")], width)
        parameters = f"{count(skip.parameters)} parameters" if skip.parameters else ""
        under = [Line(text, 7.5, MUTED) for text in (written(skip.shape), parameters) if text]
        sheet.arrow([(start, y), (end, y)], self.color, dashed=True)
        middle = x + self.width / 2
        sheet.lines(middle, y - height_of(above) - 0.05, above)
        sheet.lines(middle, y + 0.05, under)

    def _draw_wire(self, sheet: Sheet, x: float, start: float, end: float, shape: Shape) -> None:
        sheet.arrow([(x, start), (x, end)], self.color)
        line = Line(written(shape), 7.5, MUTED)
        sheet.lines(x + 0.08, (start + end - line.height) / 2, [line], "left")

    def _write_shape(self, sheet: Sheet, x: float, y: float, shape: Shape) -> None:
        line = Line(written(shape), 7.5, MUTED)
        sheet.lines(x, y - line.height - 0.04, [line])

    def _item_height(self, index: int | None) -> float:
        if index is None:
            return 0.0
        return self._box_height(index, _COLUMN) if 0 <= index < len(self.stages) else _END

    def _box_height(self, index: int, width: float) -> float:
        head, inside = self._text(index, width)
        return height_of([*head, *inside]) + 2 * PAD + 0.02

    def _text(self, index: int, width: float) -> tuple[list[Line], list[Line]]:
        """The name of a stage, and what it is made of."""
        stage = self.stages[index]
        many = f" × {stage.repeats}" if stage.repeats > 1 else ""
        room = width - 2 * PAD - Line(parameters_in_words(stage), 7.5).width - _AIR
        head = wrapped([Line(stage.name + many, 8.5, INK, "bold")], room)
        texts = [layer.operation for layer in stage.layers] or [stage.operation]
        inside = [Line(text, 8) for text in texts] + [Line(text, 8, INK, "bold") for text in [stage.constraint] if text]
        return head, wrapped(inside, width - 2 * PAD)
