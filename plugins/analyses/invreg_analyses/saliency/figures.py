"""Figures of saliency maps that several analyses share: pixels in the colours of their clusters, and mean maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invreg.text import number
from invreg_analyses.shared.canny_edges import STRONG, WEAK
from invreg_analyses.shared.pictures import DIVERGING, show_image
from invreg_analyses.shared.style import INK, MUTED, WIDTH, drawing, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: One meaning in all figures: green is where edges are most frequent, orange comes next (smooth areas, if two).
CLUSTER_COLORS = ("#009e73", "#e69f00", "#0072b2", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#882255")
CLUSTER_NAMES = ("green", "orange", "blue", "pink", "light blue", "red", "violet", "purple")
#: As many clusters can be told apart by their colours.
MOST_CLUSTERS = len(CLUSTER_COLORS)

_EDGE_GREYS = {WEAK: 0.72, STRONG: 0.0}


@dataclass(frozen=True)
class ClusterColumn:
    """The clusters of one map.

    Attributes:
        title: the map.
        labels: `[P]`, see `by_edges`.
    """

    title: str
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class KernelColumn:
    """Mean saliency maps of one map.

    Attributes:
        title: the map.
        kernels: `[rows, w, w]`; NaN for one that is missing.
        lines: what stands below each.
    """

    title: str
    kernels: NDArray[np.float32]
    lines: Sequence[str]


def draw_clusters(
    truth: NDArray[np.float32],
    edges: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    columns: Sequence[ClusterColumn],
    description: str,
) -> Figure:
    """One column per map: above the pixels on the image, below on its edges."""
    height, width = edges.shape
    cell = min(WIDTH / max(len(columns), 3), 3.0)
    with drawing():
        figure = new_figure(cell * len(columns), 2 * cell * height / width + 0.45, description)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        grid = figure.subplots(2, len(columns), squeeze=False)
        paper = np.ones((1, height, width), dtype=np.float32)
        for kind, grey in _EDGE_GREYS.items():
            paper[0][edges == kind] = grey
        # A dot covers two thirds of a pixel: the edges stay visible between them.
        size = (0.62 * 72 * cell / width) ** 2
        for position, column in enumerate(columns):
            for axes, background in zip(grid[:, position], (truth, paper), strict=True):
                show_image(axes, background)
                colors = [CLUSTER_COLORS[label] for label in column.labels]
                axes.scatter(pixels[:, 1], pixels[:, 0], s=size, c=colors, linewidths=0, marker="s")
                axes.set_xlim(-0.5, width - 0.5)
                axes.set_ylim(height - 0.5, -0.5)
            grid[0, position].set_title(shortened(column.title, 30), loc="center", fontsize=9.5, pad=5)
    return figure


def draw_kernels(columns: Sequence[KernelColumn], rows: Sequence[tuple[str, str]], description: str) -> Figure:
    """One column per map, one row per cluster (name and colour), all in the same colours.

    Colours follow the signed square root of the values: a centre of 2 and neighbours of 0.05 are both seen.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm

    limit = kernel_limit([column.kernels for column in columns])
    norm = FuncNorm((_signed_root, _signed_square), vmin=-limit, vmax=limit)
    cell = min(WIDTH / max(len(columns) + 0.4, 4), 1.9)
    lines = max(line.count("\n") + 1 for column in columns for line in column.lines)
    with drawing():
        tall = len(rows) * (cell + 0.17 * lines + 0.16) + 0.95
        figure = new_figure(max(cell * len(columns) + 0.5, 4.0), tall, description)
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for position, column in enumerate(columns):
            for row, (kernel, line) in enumerate(zip(column.kernels, column.lines, strict=True)):
                _show_kernel(grid[row, position], kernel, line, rows[row][1], norm)
            grid[0, position].set_title(shortened(column.title, 24), loc="center", fontsize=9.5, pad=5)
        for axes, (name, color) in zip(grid[:, 0], rows, strict=True):
            axes.set_ylabel(name, color=color, fontweight="bold", fontsize=9)
        bar = figure.colorbar(
            ScalarMappable(norm, DIVERGING),
            ax=list(grid.flat),
            orientation="horizontal",
            fraction=0.12 / tall,  # as thick in tall figures as in others
            aspect=(cell * len(columns)) / 0.12,
            pad=0.0,
        )
        bar.set_ticks([sign * limit * share for share in (0.25, 1.0) for sign in (-1, 1)] + [0.0])
        bar.ax.xaxis.set_major_formatter(lambda value, _: "0" if abs(value) < 1e-12 else number(value))
        bar.ax.tick_params(labelsize=8, length=0)
        bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def kernel_limit(kernels: Sequence[NDArray[np.float32]]) -> float:
    """The largest absolute value, two digits; for a scale with two signs."""
    largest = max((float(np.abs(k[np.isfinite(k)]).max(initial=0.0)) for k in kernels), default=0.0)
    return max(float(f"{1.005 * largest:.1e}"), 1e-6)


def _show_kernel(axes: Axes, kernel: NDArray[np.float32], line: str, color: str, norm: object) -> None:
    from matplotlib.colors import Normalize

    axes.set_xticks([])
    axes.set_yticks([])
    if np.isfinite(kernel).all() and isinstance(norm, Normalize):
        axes.imshow(kernel, cmap=DIVERGING, norm=norm, interpolation="none")
    else:
        axes.set_xlim(-0.5, kernel.shape[1] - 0.5)
        axes.set_ylim(kernel.shape[0] - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, "no such\ncluster", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=1.6)
    axes.set_xlabel(line, fontsize=8, labelpad=3, color=INK)


def _signed_root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sign(values) * np.sqrt(np.abs(values))
    return found


def _signed_square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sign(values) * np.square(values)
    return found
