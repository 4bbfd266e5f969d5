"""Figures of several panels: a grid without gaps, one legend for all, and logarithmic axes with plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invreg_analyses.shared.style import INK, WIDTH, drawing, dress, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def panels(
    count: int,
    description: str,
    *,
    columns: int = 3,
    width: float = 0.55 * WIDTH,
    height: float = 2.9,
    margin: float = 0.0,
    sharex: bool = False,
    sharey: bool = False,
    grid: Literal["x", "y", "both"] | None = "y",
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with `count` panels, row by row, drawn in the style of the house within the context.

    Args:
        count: the number of panels, 1 or more; places of the last row that are left over stay empty.
        description: what the figure shows (caption and alternative text).
        columns: panels in a row, at most.
        width: of one panel in inches; a figure is not wider than `WIDTH`.
        height: of one row in inches.
        margin: of the figure, in inches, on top of its rows.
        sharex: whether all panels have the same horizontal axis.
        sharey: whether all panels have the same vertical axis.
        grid: the axes along which there are thin lines.

    Yields:
        The figure and its panels, see `dress`.

    Example:
        ```python
        with panels(len(names), "Values by name", columns=2) as (figure, grid):
            for axes, name in zip(grid, names, strict=True):
                axes.plot(x, values[name], label=name)
            shared_legend(figure)
        ```
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    with drawing():
        figure = new_figure(min(WIDTH, columns * width), margin + rows * height, description)
        every = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
        for axes in every[count:]:
            axes.remove()
        for axes in every[:count]:
            dress(axes, grid=grid)
        yield figure, every[:count]


def label_rows(grid: list[Axes], label: str) -> None:
    """The label of the vertical axis, at the first panel of each row."""
    for axes in grid:
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
            axes.set_ylabel(label)


def shared_legend(figure: Figure, columns: int = 6) -> None:
    """One legend below all panels; what has the same label in several panels is listed once.

    Args:
        figure: with labelled artists.
        columns: of the legend, at most.
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        ncols = min(len(handles), columns)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=ncols)


def heading(figure: Figure, text: str, color: str = INK) -> None:
    """A title above all panels."""
    figure.suptitle(shortened(text, 60), x=0.01, ha="left", fontsize=10.5, color=color)


def log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Makes an axis logarithmic, with ticks at round numbers as people write them: 0.02, 5, 10⁻⁴.

    It looks at the limits, so it is called after drawing. Without positive values the axis stays linear.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if not math.isfinite(axes.dataLim.minposx if which == "x" else axes.dataLim.minposy):
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(map(float, axis.get_view_interval()))
    decades = math.log10(high / low)
    if decades < 1:  # with powers of ten there would be at most one tick
        ticks = np.asarray(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high))
        axis.set_ticks(ticks[(ticks >= low) & (ticks <= high)])
    else:
        steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
        axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_locator(NullLocator())


def _tick(value: float) -> str:
    if value <= 0 or not np.isfinite(value):
        return ""
    exponent = math.floor(math.log10(value) + 1e-9)
    if -4 < exponent < 4:
        return f"{value:g}"
    mantissa, power = f"{value / 10**exponent:.3g}", f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"
