"""Figures of stability: ratios found and bounds proven, and the worst perturbations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.panels import log_axis, panels
from invreg_analyses.shared.pictures import color_scale, show_image, show_signed, signed_limit
from invreg_analyses.shared.style import (
    INK,
    MUTED,
    WARNING,
    WIDTH,
    MethodStyle,
    drawing,
    method_styles,
    new_figure,
    shortened,
)
from invreg_analyses.stability.text import rounded_down, rounded_up

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Marker, height within the row and name of each search.
_SEARCHES = {
    "random": ("o", -0.24, "random noise"),
    "power": ("^", 0.0, "power iteration"),
    "subspace": ("s", 0.0, "search without gradients"),
    "moving": ("D", 0.24, "moving measurement"),
}
_TITLES = ("z", "worst d found, / rms(d)", "R(z)", "R(z + d) − R(z), / rms(d)")


def draw_found(findings: Findings) -> Figure:
    """One row per method on a logarithmic axis: a dot for each image and search, and a line at the proven bound."""
    from matplotlib.lines import Line2D

    summary, ratios = findings.tables["summary"], findings.tables["ratios"]
    ratios = ratios[ratios["ratio"] > 0]
    styles = method_styles(findings.tables["methods"])
    shown = [search for search in _SEARCHES if (ratios["search"] == search).any()]
    description = (
        "Ratios ‖R(z + d) − R(z)‖ / ‖d‖ found for each method, one dot per image and search: its Lipschitz constant "
        "is not smaller than the rightmost dot, and, where a line is drawn, proven not to be larger than that"
    )
    with panels(1, description, width=WIDTH, height=0.62 * len(summary), margin=1.25, grid="x") as (figure, (axes,)):
        axes.spines["left"].set_visible(False)
        for row, found in enumerate(summary.itertuples()):
            own = ratios[ratios["method"] == found.method]
            style = styles[str(found.method)]
            for search in shown:
                marker, height, _ = _SEARCHES[search]
                values = own.loc[own["search"] == search, "ratio"].to_numpy(dtype=float)
                rows = np.full(len(values), row + height)
                axes.scatter(values, rows, s=20, marker=marker, color=style.color, alpha=0.7, linewidths=0, zorder=3)
            _draw_gap(axes, row, found, style)
        ends = [*ratios["ratio"], *summary["proven"][summary["proven"] > 0]]
        low, high = math.log10(min(ends)), math.log10(max(ends))
        room = max(high - low, 0.3)
        # Room at the right for the text that stands beside the last dot or line.
        axes.set_xlim(10 ** (low - 0.06 * room), 10 ** (high + 0.28 * room))
        axes.set_yticks(range(len(summary)), [shortened(str(label)) for label in summary["method"]])
        axes.set_ylim(len(summary) - 0.45, -0.55)
        axes.set_xlabel("‖R(z + d) − R(z)‖ / ‖d‖")
        log_axis(axes, "x")
        handles = [
            Line2D([], [], linestyle="", marker=_SEARCHES[search][0], color=MUTED, markersize=5, label=name)
            for search, (_, _, name) in _SEARCHES.items()
            if search in shown
        ]
        if (summary["proven"] > 0).any():
            handles.append(Line2D([], [], color=INK, linewidth=2.4, label="proven bound"))
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def _draw_gap(axes: Axes, row: int, found: Any, style: MethodStyle) -> None:
    """The proven bound and its factor to the largest ratio found; or this ratio alone."""

    def write(x: float, text: str, color: str) -> None:
        axes.annotate(text, (x, row), xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5, color=color)

    has_found = found.found > 0
    if not found.proven > 0:
        if has_found:
            write(found.found, f"{rounded_down(found.found)} found, nothing proven", MUTED)
        return
    color = WARNING if found.violations else INK
    axes.plot([found.proven] * 2, [row - 0.36, row + 0.36], color=color, linewidth=2.4, zorder=4)
    if not has_found:
        write(found.proven, f"proven ≤ {rounded_up(found.proven)}, nothing found", INK)
        return
    axes.plot([found.found, found.proven], [row, row], color=style.color, linewidth=1, alpha=0.5, zorder=2)
    proven = f"proven ≤ {rounded_up(found.proven)}"
    if found.violations:
        write(max(found.found, found.proven), f"VIOLATED: {proven}, found {rounded_down(found.found)}", WARNING)
    elif found.found > found.proven:
        write(found.found, f"{proven}, found {rounded_down(found.found)}, no more than inexact", INK)
    else:
        between = number(found.proven / found.found)
        write(found.proven, f"{proven}\n{between} times what was found", INK)


def draw_perturbations(findings: Findings) -> Figure:
    """One row per method: the measurement, its worst perturbation, the reconstruction, and what became of it."""
    summary = findings.tables["summary"]
    summary = summary[summary["pictured"].astype(bool)]
    styles = method_styles(findings.tables["methods"])
    z, d, x, change = (
        as_images(findings.arrays[name]) for name in ("measurement", "perturbation", "reconstruction", "change")
    )
    unit = np.sqrt(np.square(d.astype(float)).mean((1, 2, 3), keepdims=True))
    signed = d / unit, change / unit
    limits = [signed_limit(values) for values in signed]
    description = (
        "The worst perturbation found for each method: the measurement z, the perturbation d, the reconstruction and "
        "how much it changes; d and the change are divided by the root mean square of d, each on one scale for all"
    )
    cell = 2.1
    heights = [cell * max(z.shape[2] / z.shape[3], x.shape[2] / x.shape[3], 0.2) + 0.1] * len(summary)
    with drawing():
        figure = new_figure(WIDTH, sum(heights) + 0.8, description)
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04, wspace=0.01, hspace=0.01)
        grid = figure.subplots(len(summary) + 1, 4, squeeze=False, height_ratios=[*heights, 0.5])
        for i, found in enumerate(summary.itertuples()):
            show_image(grid[i, 0], _visible(z[i], x.shape[1:]))
            show_image(grid[i, 2], x[i])
            drawn = [
                show_signed(grid[i, column], values[i], limit)
                for column, values, limit in zip((1, 3), signed, limits, strict=True)
            ]
            _name_row(grid[i, 0], found, styles[str(found.method)])
        for axes, title in zip(grid[0], _TITLES, strict=True):
            axes.set_title(title, loc="center", fontsize=9.5, fontweight="normal")
        for axes in grid[-1]:
            axes.set_axis_off()
        for column, values, limit in zip((1, 3), drawn, limits, strict=True):
            color_scale(grid[-1, column], values, limit, place=(0.5, 0.3))
    return figure


def _name_row(axes: Axes, found: Any, style: MethodStyle) -> None:
    search = _SEARCHES[found.search][2]
    lines = f"{rounded_down(found.found)} times ‖d‖\n{search}\n{shortened(str(found.image), 22)}"
    axes.set_ylabel(lines, rotation=0, ha="right", va="center", fontsize=8, labelpad=8, color=INK)
    axes.annotate(
        shortened(str(found.method), 20),
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-9, 24),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9.5,
        fontweight="bold",
        color=style.color,
    )


def as_images(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[B, C, H, W]` from measurements of any shape: axes before the last two are channels."""
    shape = values.shape
    height = shape[-2] if len(shape) > 2 else 1
    return values.reshape(shape[0], -1, height, shape[-1])


def _visible(z: NDArray[np.float32], image_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Measurements that are not images are shown on their own range."""
    if z.shape == image_shape:
        return z
    low, high = float(z.min()), float(z.max())
    return (z - low) / max(high - low, 1e-12)
