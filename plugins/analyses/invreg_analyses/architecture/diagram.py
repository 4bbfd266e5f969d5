"""Boxes, arrows and texts of diagrams, on a sheet that is measured in inches from its upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from invreg_analyses.shared.style import INK, MUTED, RULE, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: From one line of text to the next, times the size of the letters.
_LEADING = 1.36
_POINTS = 72.0
#: Letters are moved to whole pixels, which makes texts a little wider than their outlines.
_HINTING = 1.03
_OPERATORS = frozenset("+−=×≤≲∘→←")
#: Inside a box, between its edge and its text.
PAD = 0.08

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
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
        return self.size * _LEADING / _POINTS

    @property
    def widest_word(self) -> float:
        """In inches: narrower, the line has to lose letters."""
        return max((replace(self, text=word).width for word in _phrases(self.text)), default=0.0)


def wrapped(lines: Sequence[Line], width: float) -> list[Line]:
    """The lines, broken to be no wider than `width` inches: between words, formulas only where they are too long.

    Words that are too long lose their middle.
    """
    found: list[Line] = []
    width += 1e-6  # boxes are made as wide as their texts
    for line in lines:
        current = ""
        for phrase in _phrases(line.text):
            words = [phrase] if replace(line, text=phrase).width <= width else phrase.split(" ")
            for word in words:
                longer = f"{current} {word}" if current else word
                if current and replace(line, text=longer).width > width:
                    found.append(fitted(replace(line, text=current), width))
                    longer = word
                current = longer
        if current:
            found.append(fitted(replace(line, text=current), width))
    return found


def fitted(line: Line, width: float) -> Line:
    """The line, without its middle if it is wider than `width` inches."""
    length = len(line.text)
    while line.width > width and length > 2:
        length = max(2, min(length - 1, int(length * width / line.width)))
        line = replace(line, text=shortened(line.text, length))
    return line


def height_of(lines: Sequence[Line]) -> float:
    """Of lines below each other, in inches."""
    return sum(line.height for line in lines)


class Sheet:
    """A figure to draw on; x to the right and y downwards, in inches.

    Args:
        figure: empty.
    """

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        width, height = figure.get_size_inches()
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)

    def box(
        self, x: float, y: float, width: float, height: float, *, face: str = "white", edge: str = MUTED, **style: Any
    ) -> None:
        """A rectangle with slightly round corners; (x, y) is its upper left one."""
        from matplotlib.patches import FancyBboxPatch

        shape = f"round,pad=0,rounding_size={min(0.05, width / 4, height / 4)}"
        style = {"linewidth": 0.9, "zorder": 2, **style}
        patch = FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=face, edgecolor=edge, **style)
        self.axes.add_patch(patch)

    def lines(self, x: float, y: float, lines: Sequence[Line], align: str = "center") -> None:
        """Texts below each other, from y on; `align` says what x is: "left", "center" or "right"."""
        for line in lines:
            self.axes.text(
                x,
                y + line.height / 2,
                line.text,
                fontsize=line.size,
                color=line.color,
                fontweight=line.weight,
                ha=align,
                va="center_baseline",
                zorder=5,
            )
            y += line.height

    def arrow(self, points: Sequence[Point], color: str = INK, *, dashed: bool = False) -> None:
        """A line through the points, with an arrow head at the last one."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        style: dict[str, Any] = {"color": color, "linewidth": 1.2, "zorder": 3, "mutation_scale": 1.0}
        head = "-|>,head_length=3.4,head_width=1.7"
        if dashed:  # for the line only: the outline of a head has to be whole
            (x, y), (right, _) = points[-2:]
            self.axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-", linestyle=(0, (4, 2)), **style))
            points = [(x + 0.999 * (right - x), y), (right, y)]
        self.axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle=head, joinstyle="round", **style))

    def circle(self, x: float, y: float, radius: float, *, face: str = "white", edge: str = INK) -> None:
        """A filled circle."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, facecolor=face, edgecolor=edge, linewidth=1.0, zorder=4))

    def sign(self, x: float, y: float, sign: str, color: str = INK) -> None:
        """A circle with a plus or a minus in it, drawn as lines: letters are never quite in the middle."""
        radius, arm = 0.095, 0.05
        self.circle(x, y, radius, edge=color)
        self.axes.plot([x - arm, x + arm], [y, y], color=color, linewidth=1.2, zorder=5)
        if sign == "+":
            self.axes.plot([x, x], [y - arm, y + arm], color=color, linewidth=1.2, zorder=5)

    def badge(self, right: float, middle: float, text: str, color: str) -> None:
        """A short text in white on a colour; its right edge and its middle are given."""
        line = Line(text, 8.5, "white" if _luminance(color) < 0.3 else INK, "bold")
        width, height = line.width + 0.13, line.height + 0.03
        self.box(right - width, middle - height / 2, width, height, face=color, edge=color, zorder=4)
        self.lines(right - width / 2, middle - line.height / 2, [line])

    def rays(self, upper: tuple[Point, Point], lower: tuple[Point, Point]) -> None:
        """A pale area from one edge to another: what is below shows what is above in detail."""
        from matplotlib.patches import Polygon

        (a, b), (c, d) = upper, lower
        self.axes.add_patch(Polygon([a, b, d, c], facecolor=RULE, edgecolor="none", alpha=0.35, zorder=0))


def legible(color: str) -> str:
    """The colour, darkened where small letters in it would be hard to read on white."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = to_rgb(color)
    # The contrast with white, (1 + 0.05) / (luminance + 0.05), is to be 4.5 at least.
    darker = 1.0
    while _luminance(to_hex((darker * red, darker * green, darker * blue))) > 0.18:
        darker -= 0.05
    return to_hex((darker * red, darker * green, darker * blue))


def _luminance(color: str) -> float:
    """From 0 (black) to 1 (white)."""
    from matplotlib.colors import to_rgb

    return sum(share * part**2.2 for share, part in zip((0.2126, 0.7152, 0.0722), to_rgb(color), strict=True))


def tint(color: str, share: float = 0.1) -> str:
    """The colour, thinned with white."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


@cache
def _width(text: str, size: float, weight: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text:
        return 0.0
    font = FontProperties(family="sans-serif", size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)  # type: ignore[arg-type]
    return _HINTING * float(width) / _POINTS


def _phrases(text: str) -> list[str]:
    """The words of a text; what an operator connects stays together, and so do numbers and what they count."""
    found: list[str] = []
    keeps_on = False
    for word in text.split():
        connects = word in _OPERATORS and bool(found) and not found[-1].endswith(",")
        if found and (keeps_on or connects):
            found[-1] += f" {word}"
        else:
            found.append(word)
        keeps_on = word in _OPERATORS or word.isdecimal()
    return found
