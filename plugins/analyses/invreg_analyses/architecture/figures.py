"""The figure of a network: its stages from top to bottom, with their operations, and their layers beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from invreg import Architecture, Layer, Shape, Skip, Stage
from invreg.text import count, plural
from invreg_analyses.architecture.sheet import PAD, Line, Point, Sheet, height_of, legible, luminance, tint, wrapped
from invreg_analyses.architecture.tables import written
from invreg_analyses.shared.style import INK, MUTED, RULE, WIDTH, drawing, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN = 0.06
_BOX, _WIDE_BOX = 3.0, 6.8  # width of stages with and without insets beside them
_SHRINK = 0.35  # from each scale to the next one
_GAP = 0.34  # between stages; shapes are written there
_END = 0.24  # height of what enters and leaves
_CARD = 0.045  # from one card of a stack to the next
_LANE = 0.16  # from one skip to the next
_LANES = 9  # further skips are named, not drawn
_RAYS = 0.4  # between a stage and its inset
_PAPER = "#f8f9fb"
_INDENT, _LAYER = 0.5, 2.6  # in an inset: at the left of the layers, and their width
_STEP = 0.26  # between layers
_LEAD = 0.2  # of what enters and leaves them
_DOT, _SIGN = 0.035, 0.09
#: Stages at the beginning and at the end of networks that have more than can be drawn.
_FIRST, _LAST = 16, 6


def draw_architecture(label: str, architecture: Architecture, parameters: int, color: str) -> Figure:
    """A network with the number of its parameters.

    Args:
        label: of the method.
        architecture: what to draw.
        parameters: of the whole network.
        color: of the method in all figures.
    """
    with drawing():
        chain, head = _Chain(architecture, color), _head(architecture, parameters)
        top = _MARGIN + 0.24 + height_of(head) + 0.1
        figure = new_figure(WIDTH, top + chain.height + _MARGIN, _description(label, architecture))
        sheet = Sheet(figure)
        sheet.lines(_MARGIN, _MARGIN, [Line(shortened(label, 60), 11, color, "bold")])
        sheet.lines(WIDTH - _MARGIN, _MARGIN, [Line(plural(parameters, "parameter"), 10, INK, "bold")], "right")
        sheet.lines(_MARGIN, _MARGIN + 0.24, head)
        chain.draw(sheet, top)
    return figure


def _head(architecture: Architecture, parameters: int) -> list[Line]:
    elsewhere = parameters - architecture.parameters
    lines = [Line(architecture.formula, 9), Line(architecture.constraint, 9)]
    if elsewhere:
        lines.append(Line(f"{count(elsewhere)} of the parameters are in no stage of this drawing", 8.5, MUTED))
    return wrapped(lines, WIDTH - 2 * _MARGIN)


def _description(label: str, architecture: Architecture) -> str:
    text = f"Architecture of {label}: stages with the shapes (channels × height × width) between them"
    if any(stage.repeats > 1 for stage in architecture.stages):
        text += ", repeated stages drawn once"
    if architecture.inverse:
        text += f"; downwards {architecture.forward}, upwards {architecture.inverse}"
    if any(stage.constraint for stage in architecture.stages):
        text += "; bounds hold for all weights that can be learned"
    return text


class _Box(NamedTuple):
    """A stage as it is drawn.

    Attributes:
        stage: the stage.
        width: of its box, in inches.
        name: the first lines in its box, beside the number of parameters.
        texts: further lines: operation, constraint, skips that arrive.
        caption: over its layers, where these are drawn beside it.
        layers: the lines in the boxes of its layers; empty if `texts` names them.
    """

    stage: Stage
    width: float
    name: Sequence[Line]
    texts: Sequence[Line]
    caption: Sequence[Line]
    layers: Sequence[Sequence[Line]]

    @property
    def height(self) -> float:
        return height_of([*self.name, *self.texts]) + 2 * PAD

    @property
    def inset_height(self) -> float:
        layers = sum(height_of(lines) + 2 * PAD + _STEP for lines in self.layers)
        return height_of(self.caption) + PAD + layers + _STEP + (2 * _LEAD if self.stage.residual else 0.0)


class _Chain:
    """Stages below each other, the coarser the narrower; skips are arcs on their left, insets stand on their right."""

    def __init__(self, architecture: Architecture, color: str) -> None:
        self.architecture, self.color = architecture, color
        self.colors = (MUTED, color) if architecture.inverse else (color, MUTED)
        self.apart = 0.05 if architecture.inverse else 0.0  # the two directions, from their middle
        stages = _abridged(architecture.stages)
        has_insets = any(_has_inset(stage) for stage in stages)
        self.arcs = _arcs(stages, architecture.skips)
        lanes = _LANE * (1 + max((lane for _, lane in self.arcs), default=-1))
        width, levels = _BOX if has_insets else _WIDE_BOX, _levels(stages)
        self.left = _MARGIN + lanes if has_insets else (WIDTH - width + lanes) / 2
        self.right, self.middle = self.left + width, self.left + width / 2
        shrink = min(_SHRINK, 0.4 * width / max(1, *levels))
        self.boxes = [self._box(stage, width - shrink * level) for stage, level in zip(stages, levels, strict=True)]
        self._place()

    def _place(self) -> None:
        """Finds the upper ends of boxes and insets, and the height of all."""
        y, inset_end = (0.3 if self.architecture.inverse else 0.0) + _END + _GAP, 0.0
        self.tops, self.insets = [], []
        for box in self.boxes:
            self.tops.append(y)
            # Beside its stage, but for insets above it; the first one needs the height of the chain's beginning.
            self.insets.append(max(inset_end, y + (box.height - box.inset_height) / 2, _END + 0.1))
            if box.layers:
                inset_end = self.insets[-1] + box.inset_height + _STEP
            y += box.height + _GAP
        self.bottom = y
        self.height = max(y + _END, inset_end - _STEP)

    def draw(self, sheet: Sheet, y: float) -> None:
        """Draws it from y on."""
        if self.architecture.inverse:
            self._name_directions(sheet, y)
        above = y + self.tops[0] - _GAP
        self._name_end(sheet, above - _END, self.architecture.left)
        places = {"": (self.middle - 0.1, above - _END / 2)}
        for box, top, inset in zip(self.boxes, self.tops, self.insets, strict=True):
            self._draw_wire(sheet, above, y + top, box.stage.shape_in)
            if box.layers:
                self._draw_inset(sheet, box, y + top, y + inset)
            self._draw_stage(sheet, box, y + top)
            above = y + top + box.height
            places[box.stage.name] = self.middle - box.width / 2, y + top + box.height / 2
        self._draw_wire(sheet, above, y + self.bottom, self.boxes[-1].stage.shape_out)
        self._name_end(sheet, y + self.bottom, self.architecture.right)
        for skip, lane in self.arcs:
            (source, start), (target, end) = places[skip.source], places[skip.target]
            across = self.left - _LANE * (lane + 1)
            start, end = start + 0.06, end - 0.06  # a skip that arrives and one that leaves do not touch
            sheet.arrow([(source, start), (across, start), (across, end), (target, end)], self.color)

    def _box(self, stage: Stage, width: float) -> _Box:
        room = width - 2 * PAD
        name = wrapped([Line(stage.name, 8.5, INK, "bold")], room - _parameters(stage).width - PAD)
        texts = self._operations(stage)
        texts += [Line(stage.constraint, weight="bold")] if stage.constraint else []
        texts += [
            Line(f"joined by {skip.source or self.architecture.left}: {_in_words(skip)}", color=MUTED)
            for skip in self.architecture.skips
            if skip.target == stage.name
        ]
        layers = [wrapped([Line(layer.operation, weight="bold")], _LAYER - 2 * PAD) for layer in stage.layers]
        caption = wrapped(self._caption(stage), WIDTH - _MARGIN - self.right - _RAYS - 2 * PAD)
        return _Box(stage, width, name, wrapped(texts, room), caption, layers if _has_inset(stage) else [])

    def _caption(self, stage: Stage) -> list[Line]:
        lines = [Line(f"one of {stage.repeats}", 8.5, INK, "bold")] if stage.repeats > 1 else []
        if stage.iterated:
            arrow, color = ("↑", self.colors[1]) if stage.iterated == "inverse" else ("↓", self.colors[0])
            text = f"{arrow}  the layers again and again until the result no longer changes"
            lines.append(Line(text, color=legible(color)))
        return lines

    def _operations(self, stage: Stage) -> list[Line]:
        """The operation of a stage, in each direction."""
        if self.architecture.inverse:
            forward, inverse = (legible(color) for color in self.colors)
            lines = [("↓", stage.operation, forward), ("↑", stage.inverse, inverse)]
            return [Line(f"{arrow}  {text}", color=color) for arrow, text, color in lines if text]
        if stage.layers and not _has_inset(stage):
            return [Line("; ".join(", ".join(filter(None, (one.operation, one.constraint))) for one in stage.layers))]
        return [Line(stage.operation)] if stage.operation != stage.name else []

    def _name_directions(self, sheet: Sheet, y: float) -> None:
        x, ways = _MARGIN, (self.architecture.forward, self.architecture.inverse)
        for arrow, way, color in zip("↓↑", ways, self.colors, strict=True):
            line = Line(f"{arrow}  {way}", 9, legible(color), "bold")
            sheet.lines(x, y, [line])
            x += line.width + 0.4

    def _name_end(self, sheet: Sheet, y: float, name: str) -> None:
        sheet.lines(self.middle, y + 0.02, [Line(name, 11, INK, "bold")], "center")

    def _draw_wire(self, sheet: Sheet, top: float, bottom: float, shape: Shape) -> None:
        sheet.arrow([(self.middle - self.apart, top), (self.middle - self.apart, bottom)], self.colors[0])
        if self.architecture.inverse:
            sheet.arrow([(self.middle + self.apart, bottom), (self.middle + self.apart, top)], self.colors[1])
        _write_shape(sheet, self.middle + self.apart, (top + bottom) / 2, shape)

    def _draw_stage(self, sheet: Sheet, box: _Box, top: float) -> None:
        left, repeats = self.middle - box.width / 2, box.stage.repeats
        face, edge = (tint(self.color), self.color) if box.stage.parameters else ("white", MUTED)
        for card in reversed(range(min(repeats, 3))):
            sheet.box(left + _CARD * card, top - _CARD * card, box.width, box.height, face, edge)
        sheet.lines(left + PAD, top + PAD, [*box.name, *box.texts])
        sheet.lines(left + box.width - PAD, top + PAD, [_parameters(box.stage)], "right")
        if repeats > 1:
            badge = Line(f"× {repeats}", 8.5, "white" if luminance(edge) < 0.3 else INK, "bold")
            frame = {"boxstyle": "round,pad=0.25", "facecolor": edge, "edgecolor": edge}
            sheet.lines(left + box.width, top - 2 * _CARD - badge.height / 2, [badge], "right", bbox=frame)

    def _draw_inset(self, sheet: Sheet, box: _Box, stage_top: float, top: float) -> None:
        """The layers of a stage, from top to bottom, in the direction in which it is explicit."""
        x, bottom, stage = self.right + _RAYS, top + box.inset_height, box.stage
        rays = [(self.right, stage_top), (x, top), (x, bottom), (self.right, stage_top + box.height)]
        sheet.rays(rays, RULE)
        sheet.box(x, top, WIDTH - _MARGIN - x, box.inset_height, _PAPER, RULE, zorder=1)
        sheet.lines(x + PAD, top + PAD, box.caption)
        top += PAD + height_of(box.caption)
        middle, lead = x + _INDENT + _LAYER / 2, _LEAD if stage.residual else 0.0
        is_upwards = stage.iterated == "forward"
        color, step = self.colors[is_upwards], -1 if is_upwards else 1
        ends = [top + lead]  # of the wires between the layers
        for layer, lines in list(zip(stage.layers, box.layers, strict=True))[::step]:
            _draw_layer(sheet, layer, lines, (middle, ends[-1] + _STEP), color)
            ends += [ends[-1] + _STEP, ends[-1] + _STEP + height_of(lines) + 2 * PAD]
        ends.append(bottom - lead)
        shapes = [stage.layers[0].shape_in, *(layer.shape_out for layer in stage.layers)][::step]
        for above, below, shape in zip(ends[::2], ends[1::2], shapes, strict=True):
            sheet.arrow([(middle, above), (middle, below)][::step], color)
            _write_shape(sheet, middle, (above + below) / 2, shape)
        if stage.residual:
            _draw_residual(sheet, middle, [top, ends[0], ends[-1], bottom][::step], color, stage.residual)


def _draw_layer(sheet: Sheet, layer: Layer, lines: Sequence[Line], top: Point, color: str) -> None:
    """A layer, and beside it the number of its parameters and its constraint; `top` is its upper middle."""
    x, y = top
    height = height_of(lines) + 2 * PAD
    face, edge = (tint(color), color) if layer.parameters else ("white", MUTED)
    sheet.box(x - _LAYER / 2, y, _LAYER, height, face, edge)
    sheet.lines(x, y + PAD, lines, "center")
    right = x + _LAYER / 2 + 0.12
    lines = [_parameters(layer), Line(layer.constraint, weight="bold")]
    beside = wrapped(lines, WIDTH - _MARGIN - PAD - right)
    sheet.lines(right, y + (height - height_of(beside)) / 2, beside)


def _draw_residual(sheet: Sheet, x: float, levels: Sequence[float], color: str, sign: str) -> None:
    """The wires in and out, and the one past the layers; the levels are in the order in which they are passed."""
    start, first, last, end = levels
    past = x - _LAYER / 2 - 0.2
    sheet.arrow([(x, start), (x, first)], color)
    sheet.arrow([(x, last), (x, end)], color)
    sheet.arrow([(x, first), (past, first), (past, last), (x - _SIGN, last)], color)
    sheet.circle(x, first, _DOT, color, color)
    sheet.circle(x, last, _SIGN, "white", color, sign)


def _write_shape(sheet: Sheet, x: float, y: float, shape: Shape) -> None:
    """A shape beside the middle of a wire."""
    line = Line(written(shape), 7.5, MUTED)
    sheet.lines(x + 0.1, y - line.height / 2, [line])


def _parameters(part: Stage | Layer) -> Line:
    """The number of parameters; empty if there are none."""
    many = f"{part.repeats} × " if isinstance(part, Stage) and part.repeats > 1 else ""
    return Line(many + plural(part.parameters, "parameter") if part.parameters else "", 7.5, MUTED)


def _has_inset(stage: Stage) -> bool:
    """Whether the layers of a stage are drawn, not only named."""
    return bool(stage.layers) and (stage.repeats > 1 or bool(stage.residual))


def _arcs(stages: Sequence[Stage], skips: Sequence[Skip]) -> list[tuple[Skip, int]]:
    """The skips that can be drawn, short ones first, each in the first lane in which it has room."""
    places = {"": 0} | {stage.name: place for place, stage in enumerate(stages, 1)}
    ends = [(places[one.source], places[one.target], one) for one in skips if {one.source, one.target} <= set(places)]
    found: list[tuple[Skip, int]] = []
    taken: list[list[tuple[int, int]]] = [[] for _ in range(_LANES)]
    for start, end, skip in sorted(ends, key=lambda one: one[1] - one[0]):
        for lane, others in enumerate(taken):
            if all(end <= other_start or other_end <= start for other_start, other_end in others):
                others.append((start, end))
                found.append((skip, lane))
                break
    return found


def _in_words(skip: Skip) -> str:
    parts = [skip.operation if skip.operation != "identity" else "", skip.joins, written(skip.shape)]
    parts.append(plural(skip.parameters, "parameter") if skip.parameters else "")
    return ", ".join(part for part in parts if part)


def _levels(stages: Sequence[Stage]) -> list[int]:
    """How often the image has been halved, for each stage; zeros where something is not an image."""
    shapes = [stage.shape_out for stage in stages]
    if any(len(shape) != 3 or 0 in shape for shape in shapes):
        return [0] * len(shapes)
    pixels = [shape[1] * shape[2] for shape in shapes]
    return [round(math.log2(max(pixels) / one) / 2) for one in pixels]


def _abridged(stages: Sequence[Stage]) -> list[Stage]:
    """The stages; of very many, those in the middle are one."""
    if len(stages) <= _FIRST + _LAST + 1:
        return list(stages)
    middle = stages[_FIRST:-_LAST]
    total, shapes = sum(stage.total for stage in middle), (middle[0].shape_in, middle[-1].shape_out)
    left_out = Stage(f"{len(middle)} more stages", "see the table of stages", *shapes, total)
    return [*stages[:_FIRST], left_out, *stages[-_LAST:]]
