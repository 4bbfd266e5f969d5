"""Style of figures: one palette, one colour per method in all figures, no decoration.

Figures are made with matplotlib's objects only (`Figure()`, never pyplot), so that nothing global is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invreg.text import unique_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66717d"
RULE = "#d5dae0"
ACCENT = "#e69f00"
WARNING = "#b42318"

#: Learned methods: colours of Okabe and Ito, which people with any kind of colour vision can tell apart (without the
#: yellow, too light on white, and without green and orange, which mean clusters), then two dark ones.
LEARNED = ("#0072b2", "#d55e00", "#cc79a7", "#56b4e9", "#332288", "#882255")
#: Methods without learned weights stay in the background: greys that differ in lightness.
REFERENCE = ("#8d96a0", "#4b5560", "#b4a48c", "#756652")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: Width of a figure in inches; at most this much is shown side by side on a page.
WIDTH = 9.4

_SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,  # names of images and methods are shown as they are, dollar signs included
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class MethodStyle:
    """How one method is drawn."""

    color: str
    marker: str
    is_reference: bool


@contextmanager
def drawing() -> Iterator[None]:
    """Within this context artists are made in the house's style; matplotlib's own settings stay as they are."""
    import matplotlib.style

    with matplotlib.style.context(["default", _SETTINGS]):
        yield


def new_figure(width: float, height: float, description: str) -> Figure:
    """An empty figure in inches; `description` is its caption and alternative text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_label(_printable(description))
    return figure


def method_styles(methods: pd.DataFrame) -> dict[str, MethodStyle]:
    """Colours and markers by label: the same in every figure of a run, because they follow the order of the spec.

    Args:
        methods: all methods of the run, see `methods_table`.
    """
    styles, used = {}, {True: 0, False: 0}
    for label, weights in zip(methods["method"], methods["weights"], strict=True):
        is_reference = int(weights) == 0
        palette, number = (REFERENCE if is_reference else LEARNED), used[is_reference]
        used[is_reference] += 1
        marker = MARKERS[(number + 2 * (number // len(palette))) % len(MARKERS)]  # another one in each round of colours
        styles[str(label)] = MethodStyle(palette[number % len(palette)], marker, is_reference)
    return styles


def dress(axes: Axes, *, grid: str | None = None) -> None:
    """Quiet ticks and, along the axis `grid` ("x", "y" or "both"), thin lines behind the data."""
    axes.tick_params(length=0, labelsize=8.5, labelcolor=INK, which="both")
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, axis=grid, color=RULE, linewidth=0.7)  # type: ignore[arg-type]


def shortened(name: str, length: int = 28) -> str:
    """A long name with its middle left out; control characters and line breaks become blanks."""
    plain = _printable(name)
    if len(plain) <= length:
        return plain
    head = (length - 1) // 2
    return f"{plain[:head]}…{plain[-(length - 1 - head) :]}"


def file_names(texts: list[str]) -> list[str]:
    """Names of figures from any texts, all different."""
    return unique_names([_file_name(text) for text in texts])


def figures_of(names: Iterable[str], draw: Callable[[str], Figure]) -> dict[str, Figure]:
    """One figure for each name, such as an operator or a method."""
    every = [str(name) for name in names]
    return dict(zip(file_names(every), map(draw, every), strict=True))


def _file_name(text: str) -> str:
    return "_".join("".join(c if (c.isalnum() and c.isascii()) or c in ".-" else " " for c in text).split()) or "figure"


def _printable(text: str) -> str:
    """Control characters have no place in an SVG: blanks instead."""
    return "".join(character if character.isprintable() else " " for character in text)
