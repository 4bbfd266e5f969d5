"""Horizontal strips: one row per method, one point per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg_analyses.shared.style import WARNING, MethodStyle, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def name_rows(axes: Axes, labels: list[str], missing: list[int]) -> None:
    """Labels at the left, the first method at the top; below the label what could not be shown."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.45, -0.55)
    for row, number_missing in enumerate(missing):
        if number_missing:
            axes.annotate(
                f"{number_missing} not finite",
                (1, row - 0.33),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=8,
                color=WARNING,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )


def draw_box(axes: Axes, row: int, values: NDArray[np.float64], style: MethodStyle) -> None:
    """A box from quartile to quartile with the median; thin lines reach to the last points within 1.5 box lengths."""
    from matplotlib.patches import Rectangle

    finite = values[np.isfinite(values)]
    if len(finite) > 2:  # quartiles of one or two values say nothing that the points do not say
        low, median, high = np.quantile(finite, [0.25, 0.5, 0.75])
        reach = 1.5 * (high - low)
        ends = finite[finite >= low - reach].min(), finite[finite <= high + reach].max()
        for end, edge in zip(ends, (low, high), strict=True):
            axes.plot([end, edge], [row, row], color=style.color, linewidth=1)
        axes.add_patch(Rectangle((low, row - 0.25), high - low, 0.5, facecolor=style.color, alpha=0.16, linewidth=0))
        axes.plot([median, median], [row - 0.25, row + 0.25], color=style.color, linewidth=1.8)
    draw_points(axes, row, values, style)


def draw_points(axes: Axes, row: int, values: NDArray[np.float64], style: MethodStyle) -> None:
    """The images as points; each image keeps its height within the row for all methods."""
    golden = (np.arange(len(values)) * 0.6180339887) % 1
    spread = 0.34 * (golden - 0.5) if len(values) > 1 else np.zeros(1)
    size = 16 if len(values) <= 40 else 8
    axes.scatter(values, row + spread, s=size, color=style.color, alpha=0.75, linewidths=0, zorder=3)
