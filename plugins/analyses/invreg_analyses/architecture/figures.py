"""The figure of a network: its name, what it is as a whole, and its diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invreg import Architecture
from invreg.text import count
from invreg_analyses.architecture.chain_diagram import ChainDiagram
from invreg_analyses.architecture.diagram import Line, Sheet, height_of, wrapped
from invreg_analyses.architecture.scale_diagram import ScaleDiagram
from invreg_analyses.architecture.scale_rows import find_sides
from invreg_analyses.shared.style import INK, MUTED, WIDTH, drawing, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN = 0.06


def draw_architecture(label: str, architecture: Architecture, parameters: int, color: str) -> Figure:
    """A network with the number of its parameters; networks with several scales as a U, others as a chain.

    Args:
        label: of the method.
        architecture: what to draw.
        parameters: of the whole network.
        color: of the method in all figures.
    """
    with drawing():
        sides, width = find_sides(architecture), WIDTH - 2 * _MARGIN
        diagram = (
            ChainDiagram(architecture, width, color)
            if sides is None
            else ScaleDiagram(architecture, sides, width, color)
        )
        head = _head(architecture, parameters)
        top = _MARGIN + 0.24 + height_of(head) + 0.12
        figure = new_figure(WIDTH, top + diagram.height + _MARGIN, _description(label, architecture))
        sheet = Sheet(figure)
        sheet.lines(_MARGIN, _MARGIN, [Line(shortened(label, 60), 11, color, "bold")], "left")
        total = Line(f"{count(parameters)} parameters", 10, INK, "bold")
        sheet.lines(WIDTH - _MARGIN, _MARGIN, [total], "right")
        sheet.lines(_MARGIN, _MARGIN + 0.24, head, "left")
        diagram.draw(sheet, _MARGIN, top)
    return figure


def _head(architecture: Architecture, parameters: int) -> list[Line]:
    lines = [Line(architecture.formula, 9), Line(architecture.constraint, 9)]
    elsewhere = parameters - architecture.parameters
    if elsewhere:
        lines.append(Line(f"{count(elsewhere)} of the parameters are in no stage of this drawing", 8.5, MUTED))
    return wrapped([line for line in lines if line.text], WIDTH - 2 * _MARGIN)


def _description(label: str, architecture: Architecture) -> str:
    text = f"Architecture of {label}: stages with the shapes (channels × height × width) between them"
    if any(stage.repeats > 1 for stage in architecture.stages):
        text += ", repeated stages drawn once"
    if architecture.inverse:
        text += f"; to the right {architecture.forward}, to the left {architecture.inverse}"
    if any(stage.constraint for stage in architecture.stages):
        text += "; bounds are those that hold whatever is learned"
    return text
