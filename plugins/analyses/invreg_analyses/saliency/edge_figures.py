"""The figures of saliency maps on edges and in smooth areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.saliency.cluster_figures import title_of
from invreg_analyses.saliency.figures import CLUSTER_COLORS, KernelColumn, draw_kernels
from invreg_analyses.saliency.kernel_spread import SPREAD
from invreg_analyses.saliency.text import percent, radii_seen
from invreg_analyses.shared.style import INK, WIDTH, drawing, dress, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Edges are green, smooth areas orange, as clusters are that follow them.
AREA_ROWS = (("edges", CLUSTER_COLORS[0]), ("smooth areas", CLUSTER_COLORS[1]))
READ_AREAS = (
    "mean saliency maps on edges (above, green) and in smooth areas (below, orange) over the test images: red above "
    "zero, blue below, on a signed square-root scale; below each its mean effective radius, centre and negative mass"
)
READ_SPREAD = (
    "how far mean saliency maps spread on edges (green) and in smooth areas (orange): means over the test images with "
    "their intervals"
)
_TITLES = {
    "radius": "effective radius, pixels",
    "reach": "reach (with |k|), pixels",
    "center": "weight of the centre",
    "negative": "negative mass",
}


def draw_edge_means(findings: Findings) -> Figure:
    """Mean maps of the operator and the networks of a run."""
    spread = findings.tables["spread"]
    names = list(findings.tables["maps"]["map"])
    kernels = findings.arrays["mean_kernels"]
    columns = [area_column(title_of(name), kernels[i], spread, name) for i, name in enumerate(names)]
    images = findings.scalars["images"]
    return draw_kernels(columns, AREA_ROWS, f"{READ_AREAS} ({images} images). Seen here: {radii_seen(spread)}")


def draw_spread(findings: Findings) -> Figure:
    """The spread of the maps of a run with intervals."""
    spread, names = findings.tables["spread"], list(findings.tables["maps"]["map"])
    confidence = f"{findings.scalars['confidence']:.0%}"
    description = f"{READ_SPREAD} ({confidence}, {findings.scalars['images']} images). Seen here: {radii_seen(spread)}"
    return spread_figure(spread, [(name, title_of(name)) for name in names], description)


def area_column(title: str, kernels: NDArray[np.float32], spread: pd.DataFrame, name: str) -> KernelColumn:
    """The mean maps of one map, with the means of what was measured on each image."""
    means = spread[spread["map"] == name].set_index(["area", "measure"])["mean"]
    half = kernels.shape[-1] // 2
    lines = [
        f"radius {number(float(means[area, 'radius']))}, centre {number(float(kernels[i, half, half]))}\n"
        f"{percent(float(means[area, 'negative']))} negative"
        for i, area in enumerate(("edges", "smooth"))
    ]
    return KernelColumn(title, kernels, lines)


def spread_figure(
    spread: pd.DataFrame, maps: Sequence[tuple[str, str]], description: str, *, in_order: bool = False
) -> Figure:
    """One panel per measure, the maps side by side.

    Args:
        spread: map, area, measure, mean, low, high.
        maps: names in the table, and what they are called.
        description: of the figure.
        in_order: whether the maps after the first, the operator, are steps of a series, to be joined by lines.
    """
    with drawing():
        figure = new_figure(WIDTH, 5.2, description)
        for axes, measure in zip(figure.subplots(2, 2).flat, SPREAD, strict=True):
            dress(axes, grid="y")
            for (area, color), key, shift in zip(AREA_ROWS, ("edges", "smooth"), (-0.08, 0.08), strict=True):
                own = spread[(spread["area"] == key) & (spread["measure"] == measure)].set_index("map")
                rows = own.loc[[name for name, _ in maps]]
                mean = rows["mean"].to_numpy(dtype=float)
                bars = np.abs(np.stack([mean - rows["low"], rows["high"] - mean]).astype(float))
                places = np.arange(len(maps)) + shift
                axes.errorbar(
                    places,
                    mean,
                    yerr=np.nan_to_num(bars),
                    color=color,
                    fmt="o",
                    markersize=5,
                    capsize=3,
                    label=area,
                    clip_on=False,
                )
                if in_order:
                    axes.plot(places[1:], mean[1:], color=color, linewidth=1.0, alpha=0.6)
            axes.set_title(_TITLES[measure])
            axes.set_ylim(bottom=0)
            axes.set_xlim(-0.5, len(maps) - 0.5)
            axes.set_xticks(range(len(maps)), [shortened(title, 18) for _, title in maps], color=INK)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure
