"""Boxes, arrows and measured texts on a figure whose coordinates are inches from its upper left corner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from invreg_analyses.shared.style import INK, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inside a box, between its edge and its text.
PAD = 0.08
#: Letters are moved to whole pixels, which makes texts a little wider than their outlines.
_HINTING = 1.03
#: Where lines may be broken: not at operators, and not between numbers and their nouns.
_BREAKS = re.compile(r"(?<=,) | (?![\d+−=×≤≲∘→←])(?<![\d+−=×≤≲∘→←↑↓] )")

Point = tuple[float, float]


class Line(NamedTuple):
    """A line of text; `size` in points."""

    text: str
    size: float = 8.0
    color: str = INK
    weight: str = "normal"

    @property
    def width(self) -> float:
        """In inches."""
        return _width(self.text, self.size, self.weight)

    @property
    def height(self) -> float:
        """In inches, with the space to the next line."""
        return self.size * 1.36 / 72


def wrapped(lines: Iterable[Line], width: float) -> list[Line]:
    """The lines, broken to be at most `width` inches wide; words that are too long lose their middle."""
    found: list[Line] = []
    for line in lines:
        phrases = _BREAKS.split(line.text)
        words = [word for one in phrases for word in ([one] if _fits(line, one, width) else one.split())]
        texts = words[:1]
        for word in words[1:]:
            if _fits(line, f"{texts[-1]} {word}", width):
                texts[-1] += f" {word}"
            else:
                texts.append(word)
        found += [_fitted(line._replace(text=text), width) for text in texts if text]
    return found


def height_of(lines: Sequence[Line]) -> float:
    """Of lines below each other, in inches."""
    return sum(line.height for line in lines)


class Sheet:
    """An empty figure to draw on; x to the right and y downwards, in inches."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        width, height = figure.get_size_inches()
        self.axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def box(self, x: float, y: float, width: float, height: float, face: str, edge: str, zorder: int = 2) -> None:
        """A rectangle with round corners; (x, y) is its upper left one."""
        from matplotlib.patches import FancyBboxPatch

        style: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "linewidth": 0.9, "zorder": zorder}
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", **style))

    def lines(self, x: float, y: float, lines: Sequence[Line], align: str = "left", **style: Any) -> None:
        """Texts below each other, from y on; `align` says what x is: "left", "center" or "right"."""
        for line in lines:
            font: dict[str, Any] = {"fontsize": line.size, "color": line.color, "fontweight": line.weight}
            middle = y + line.height / 2
            self.axes.text(x, middle, line.text, ha=align, va="center_baseline", zorder=5, **font, **style)
            y += line.height

    def arrow(self, points: Sequence[Point], color: str) -> None:
        """A line through the points, with an arrow head at the last one."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        style: dict[str, Any] = {"color": color, "linewidth": 1.2, "joinstyle": "round", "zorder": 3}
        head = "-|>,head_length=3.4,head_width=1.7"
        self.axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle=head, mutation_scale=1.0, **style))

    def circle(self, x: float, y: float, radius: float, face: str, edge: str, sign: str = "") -> None:
        """A circle, with a plus or a minus in it that is drawn as lines: letters are never quite in the middle."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, facecolor=face, edgecolor=edge, zorder=4))
        arm = 0.5 * radius
        if sign:
            self.axes.plot([x - arm, x + arm], [y, y], color=edge, linewidth=1.2, zorder=5)
        if sign == "+":
            self.axes.plot([x, x], [y - arm, y + arm], color=edge, linewidth=1.2, zorder=5)

    def rays(self, corners: Sequence[Point], color: str) -> None:
        """A pale area: what lies at one of its ends shows what lies at the other in detail."""
        from matplotlib.patches import Polygon

        self.axes.add_patch(Polygon(corners, facecolor=color, edgecolor="none", alpha=0.35, zorder=0))


def tint(color: str, share: float = 0.1) -> str:
    """The colour, thinned with white."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


def luminance(color: str) -> float:
    """From 0 (black) to 1 (white)."""
    from matplotlib.colors import to_rgb

    return sum(share * part**2.2 for share, part in zip((0.2126, 0.7152, 0.0722), to_rgb(color), strict=True))


def legible(color: str) -> str:
    """The colour, darkened until small letters have a contrast of 4.5 with white: 1.05 / (luminance + 0.05)."""
    from matplotlib.colors import to_hex, to_rgb

    while luminance(color) > 0.18:
        red, green, blue = (0.95 * part for part in to_rgb(color))
        color = to_hex((red, green, blue))
    return color


def _fits(line: Line, text: str, width: float) -> bool:
    return line._replace(text=text).width <= width + 1e-6  # boxes are made as wide as their texts


def _fitted(line: Line, width: float) -> Line:
    """The line, without its middle if it is too wide."""
    length = len(line.text)
    while not _fits(line, line.text, width) and length > 2:
        length = max(2, min(length - 1, int(length * width / line.width)))
        line = line._replace(text=shortened(line.text, length))
    return line


@cache
def _width(text: str, size: float, weight: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text:
        return 0.0
    font = FontProperties(family="sans-serif", size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)  # type: ignore[arg-type]
    return _HINTING * float(width) / 72
