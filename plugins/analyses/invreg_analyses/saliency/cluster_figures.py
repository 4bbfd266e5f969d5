"""The figures of clusters of saliency maps in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.saliency.figures import (
    CLUSTER_COLORS,
    CLUSTER_NAMES,
    ClusterColumn,
    KernelColumn,
    draw_clusters,
    draw_kernels,
)
from invreg_analyses.saliency.text import clusters_seen, means_seen, percent
from invreg_analyses.shared.style import INK, MUTED, WIDTH, drawing, dress, method_styles, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

READ_PIXELS = (
    "each dot is a pixel in the colour of the cluster to which its saliency map belongs, above on the image, below on "
    "its edges (weak grey, strong black); green is the cluster that lies on edges most often"
)
READ_MEANS = (
    "the mean saliency map of each cluster, the kernel by which the map blurs there: red above zero, blue below, on a "
    "signed square-root scale; below it the share of its pixels on edges, its effective radius and its centre"
)


def draw_cluster_pixels(findings: Findings, index: int) -> Figure:
    """The pixels of image number `index` in the colours of their clusters."""
    arrays, tables = findings.arrays, findings.tables
    image = str(tables["images"]["image"].iloc[index])
    columns = [
        ClusterColumn(title_of(name), arrays["labels"][i, index].astype(np.int64))
        for i, name in enumerate(tables["maps"]["map"])
    ]
    description = f"{image}: {READ_PIXELS}. Seen here: {clusters_seen(tables['clusters'], image)}"
    return draw_clusters(arrays["truth"][index], arrays["edges"][index], arrays["pixels"], columns, description)


def draw_cluster_means(findings: Findings, index: int) -> Figure:
    """The mean maps of the clusters of image number `index`."""
    tables = findings.tables
    image = str(tables["images"]["image"].iloc[index])
    columns = [
        kernel_column(title_of(name), findings.arrays["mean_kernels"][i, index], tables["clusters"], name, image)
        for i, name in enumerate(tables["maps"]["map"])
    ]
    clusters = int(findings.scalars["clusters"])
    rows = list(zip(CLUSTER_NAMES[:clusters], CLUSTER_COLORS[:clusters], strict=True))
    description = f"{image}: {READ_MEANS}. Seen here: {means_seen(tables['clusters'], image)}"
    return draw_kernels(columns, rows, description)


def kernel_column(
    title: str, kernels: NDArray[np.float32], clusters: pd.DataFrame, name: str, image: str
) -> KernelColumn:
    """The mean maps of one map with what is said of each."""
    own = clusters[(clusters["map"] == name) & (clusters["image"] == image)].set_index("cluster")
    lines = []
    for color in CLUSTER_NAMES[: len(kernels)]:
        if color in own.index:
            row = own.loc[color]
            first = f"{percent(float(row['edge_share']))} on edges"
            lines.append(f"{first}\nradius {number(float(row['radius']))}, centre {number(float(row['value']))}")
        else:
            lines.append("\n")
    return KernelColumn(title, kernels, lines)


def draw_cluster_numbers(findings: Findings) -> Figure:
    """What speaks for each number of clusters: one row per image, one panel per statistic, one line per map."""
    tables = findings.tables
    numbers, choices, images = tables["numbers"], tables["choices"], list(tables["images"]["image"])
    chosen = int(findings.scalars["clusters"])
    styles = method_styles(tables["methods"])
    panels = (
        ("within", None, "elbow", "W(k) / W(1)"),
        ("gap", "gap_error", "gap", "gap(k)"),
        ("gap_star", "gap_star_error", "gap_star", "gap*(k) / W(1)"),
    )
    description = (
        "How many clusters there are, for each image (rows) and map (lines): the distances that k clusters leave "
        "(left), the gap statistic (middle) and the gap statistic without logarithm (right); a ring marks what each "
        f"suggests, the grey line the number that is used. Seen here: {_suggested(choices)}"
    )
    with drawing():
        figure = new_figure(WIDTH, 0.7 + 2.2 * len(images), description)
        grid = figure.subplots(len(images), 3, squeeze=False, sharex=True)
        for row, image in enumerate(images):
            for axes, (column, error, choice, title) in zip(grid[row], panels, strict=True):
                dress(axes, grid="y")
                axes.axvline(chosen, color=MUTED, linewidth=5, alpha=0.18, zorder=0)
                for name in tables["maps"]["map"]:
                    own = numbers[(numbers["map"] == name) & (numbers["image"] == image)]
                    scale = 1.0 if column == "gap" else max(float(own["within"].iloc[0]), 1e-12)
                    color = styles[name].color if name in styles else INK
                    k, values = own["clusters"].to_numpy(), own[column].to_numpy(dtype=float) / scale
                    errors = own[error].to_numpy(dtype=float) / scale if error else None
                    axes.errorbar(k, values, yerr=errors, color=color, label=title_of(name), linewidth=1.3, capsize=2)
                    best = int(choices[(choices["map"] == name) & (choices["image"] == image)][choice].iloc[0])
                    axes.plot([best], [values[best - 1]], "o", color=color, markerfacecolor="none", markersize=9)
                if row == 0:
                    axes.set_title(title)
                if row == len(images) - 1:
                    axes.set_xlabel("number of clusters k")
                    axes.set_xticks(sorted(set(numbers["clusters"])))
            grid[row, 0].set_ylabel(image, fontsize=8.5)
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 6))
    return figure


def title_of(name: str) -> str:
    """A map as it is called in figures."""
    return "operator F" if name == "F" else name


def _suggested(choices: pd.DataFrame) -> str:
    return (
        "; ".join(
            f"{row.map} on {row.image}: elbow {row.elbow}, gap {row.gap}, gap* {row.gap_star}"
            for row in choices.itertuples()
        )
        + "."
    )
