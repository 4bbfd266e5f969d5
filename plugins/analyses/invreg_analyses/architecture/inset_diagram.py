"""What a stage is made of, drawn once however often the stage is repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from invreg import Layer, Stage
from invreg.text import count
from invreg_analyses.architecture.diagram import Line, Point, Sheet, fitted, legible, tint
from invreg_analyses.architecture.diagram_rows import Place, arranged, box_height, draw_shape, draw_text, wires
from invreg_analyses.shared.style import INK, MUTED, RULE

_MARGIN = 0.12
_TITLE = 0.3
_LEAD = 0.3  # of the arrows that enter and leave
_INDENT = _MARGIN + _LEAD
_BYPASS = 0.16  # above the boxes
_BETWEEN = 0.34  # rows
_LOOP = 0.42  # height of the box that stands for all layers
_DOT, _SIGN = 0.035, 0.095
_PAPER = "#f8f9fb"

Inner = Callable[[Sequence[Point]], list[Point]]


def has_inset(stage: Stage) -> bool:
    """Whether there is more to be said about a stage than its box says."""
    if len(stage.layers) == 1 and stage.repeats == 1 and not stage.residual:
        return stage.layers[0].operation != stage.operation
    return bool(stage.layers)


class Inset:
    """The layers of a stage in a panel, and the way back through them if there is one.

    Args:
        stage: with layers.
        width: in inches.
        colors: of the directions: forward, inverse.
        has_inverse: whether the network has two directions.
    """

    def __init__(self, stage: Stage, width: float, colors: tuple[str, str], has_inverse: bool) -> None:
        self.stage, self.width = stage, width
        self.colors, self.is_mirrored = colors, stage.iterated == "forward"
        self.explicit_color, self.iterated_color = reversed(colors) if self.is_mirrored else colors
        self.has_inverse = has_inverse
        self.boxes = [_lines(layer) for layer in stage.layers]
        self.shapes = [stage.layers[0].shape_in, *(layer.shape_out for layer in stage.layers)]
        self.rows = arranged(self.boxes, self.shapes, self._right)
        self.heights = [box_height(self.boxes, row) for row in self.rows.places]

    @property
    def height(self) -> float:
        """In inches."""
        rows = sum(self.heights) + _BETWEEN * (len(self.heights) - 1)
        return _TITLE + self._above + rows + (self._above + _LOOP if self.stage.iterated else 0) + _MARGIN

    @property
    def _right(self) -> float:
        """Of the rows, which begin at 0."""
        return self.width - 2 * _INDENT

    @property
    def _above(self) -> float:
        """Room for the formula, and for the way past the layers."""
        return 0.26 + (_BYPASS if self.stage.residual else 0.0)

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Draws it with its upper left corner at (x, y)."""
        sheet.box(x, y, self.width, self.height, face=_PAPER, edge=RULE, zorder=1)
        many = f": one of {self.stage.repeats}" if self.stage.repeats > 1 else ""
        title = Line(f"{self.stage.name}{many}", 8.5, INK, "bold")
        sheet.lines(x + _MARGIN, y + 0.07, [fitted(title, self.width - 2 * _MARGIN)], "left")
        y += _TITLE
        self._name_direction(sheet, x, y, "inverse" if self.is_mirrored else "forward")
        y += self._above
        self._draw_layers(sheet, x, y)
        if self.stage.iterated:
            y += sum(self.heights) + _BETWEEN * (len(self.heights) - 1)
            self._name_direction(sheet, x, y + 0.04, self.stage.iterated)
            self._draw_loop(sheet, x, y + self._above + _LOOP / 2)

    def _draw_layers(self, sheet: Sheet, x: float, y: float) -> None:
        color, inner = self.explicit_color, self._points(x)
        tops = [y + sum(self.heights[:i]) + _BETWEEN * i for i in range(len(self.heights))]
        levels = [top + height / 2 for top, height in zip(tops, self.heights, strict=True)]
        breaks = [top + height + _BETWEEN / 2 for top, height in zip(tops, self.heights, strict=True)]
        ends = (_DOT, self._right - _SIGN) if self.stage.residual else (-_LEAD, self._right + _LEAD)
        for wire, shape in zip(wires(self.rows, levels, breaks, ends), self.shapes, strict=True):
            sheet.arrow(inner(wire.points), color)
            draw_shape(sheet, inner([wire.label])[0], self.rows.lines(shape))
        for row, top, height in zip(self.rows.places, tops, self.heights, strict=True):
            for place in row:
                self._draw_box(sheet, inner, place, top, height)
        self._draw_ends(sheet, x, levels, color, self.stage.residual, is_backwards=False)

    def _draw_box(self, sheet: Sheet, inner: Inner, place: Place, y: float, height: float) -> None:
        left = min(inner([(place.x, y), (place.end, y)]))[0]
        weighted = self.stage.layers[place.index].parameters > 0
        face = tint(self.explicit_color) if weighted else "white"
        sheet.box(left, y, place.width, height, face=face, edge=self.explicit_color if weighted else MUTED)
        draw_text(sheet, Place(place.index, left, place.width), y, height, self.boxes[place.index])

    def _draw_loop(self, sheet: Sheet, x: float, y: float) -> None:
        """The way back: the same layers, whose result returns to where they begin until nothing changes."""
        color, inner = self.iterated_color, self._points(x)
        right, middle, half = self._right, self._right / 2, 1.35
        sheet.arrow(inner([(_DOT, y), (middle - half, y)]), color)
        sheet.arrow(inner([(middle + half, y), (right - _SIGN, y)]), color)
        left = min(inner([(middle - half, y), (middle + half, y)]))[0]
        sheet.box(left, y - _LOOP / 2, 2 * half, _LOOP, face=tint(color), edge=color)
        text = [Line("the layers above, again and again", 8), Line("until the result no longer changes", 8)]
        sheet.lines(x + self.width / 2, y - sum(line.height for line in text) / 2, text)
        self._draw_ends(sheet, x, [y], color, {"+": "−", "−": "+"}.get(self.stage.residual, ""), is_backwards=True)

    def _draw_ends(
        self, sheet: Sheet, x: float, levels: list[float], color: str, sign: str, *, is_backwards: bool
    ) -> None:
        """What enters and leaves, and the way past the layers."""
        if not sign:
            return
        inner, right = self._points(x), self._right
        first, last = levels[0], levels[-1]
        entering, leaving = [(-_LEAD, first), (-_DOT, first)], [(right + _SIGN, last), (right + _LEAD, last)]
        sheet.arrow(inner(entering[::-1] if is_backwards else entering), color)
        sheet.arrow(inner(leaving[::-1] if is_backwards else leaving), color)
        top = first - (_LOOP if is_backwards else self.heights[0]) / 2 - 0.6 * _BYPASS
        past = [(0.0, first - _DOT), (0.0, top), (right, top), (right, last - _SIGN)]
        sheet.arrow(inner(past[::-1] if is_backwards else past), color)
        ((start, _), (end, _)) = inner([(0, first), (right, last)])
        sheet.circle(start, first, _DOT, face=color, edge=color)
        sheet.sign(end, last, sign, color)

    def _name_direction(self, sheet: Sheet, x: float, y: float, direction: str) -> None:
        """What the stage does in this direction, at the side where it begins."""
        is_forward = direction == "forward"
        formula = self.stage.operation if is_forward else self.stage.inverse
        color = self.colors[not is_forward] if self.has_inverse else INK
        arrow = ("→  " if is_forward else "←  ") if self.has_inverse else ""
        line = Line(f"{arrow}{formula}", 8.5, legible(color), "bold")
        sheet.lines(x + _MARGIN, y, [fitted(line, self.width - 2 * _MARGIN)], "left")

    def _points(self, x: float) -> Inner:
        """From places in the rows to the sheet; mirrored where layers go from right to left."""
        left, right = x + _INDENT, x + self.width - _INDENT
        if self.is_mirrored:
            return lambda points: [(right - across, down) for across, down in points]
        return lambda points: [(left + across, down) for across, down in points]


def _lines(layer: Layer) -> list[Line]:
    lines = [Line(layer.operation, 8.5, INK, "bold")]
    if layer.parameters:
        unit = "parameter" if layer.parameters == 1 else "parameters"
        lines.append(Line(f"{count(layer.parameters)} {unit}", 7.5, MUTED))
    return lines + ([Line(layer.constraint, 8)] if layer.constraint else [])
