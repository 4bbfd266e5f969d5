"""Figures of saliency maps: pixels in the colours of their clusters, mean maps, their spread, numbers of clusters.

Those of one image or one series need the findings of it alone: see `of_image` and `draw_series`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.saliency.kernel_spread import AREAS, SPREAD
from invreg_analyses.saliency.maps import OPERATOR
from invreg_analyses.saliency.text import clusters_seen, likeness_seen, percent, radii_seen, series_seen
from invreg_analyses.shared.canny_edges import STRONG, WEAK
from invreg_analyses.shared.panels import panels, shared_legend
from invreg_analyses.shared.pictures import DIVERGING, frame, show_image, signed_limit
from invreg_analyses.shared.style import INK, MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: One meaning in all figures: green is where edges are most frequent, orange comes next (smooth areas, if two).
CLUSTER_COLORS = {
    "green": "#009e73",
    "orange": "#e69f00",
    "blue": "#0072b2",
    "pink": "#cc79a7",
    "light blue": "#56b4e9",
    "red": "#d55e00",
    "violet": "#332288",
    "purple": "#882255",
}
CLUSTER_NAMES = tuple(CLUSTER_COLORS)
#: As many clusters can be told apart by their colours.
MOST_CLUSTERS = len(CLUSTER_COLORS)

_AREA_COLORS = {"edges": CLUSTER_COLORS["green"], "smooth areas": CLUSTER_COLORS["orange"]}
_EDGE_GREYS = {WEAK: 0.72, STRONG: 0.0}
_SCALE = "red above zero, blue below, on a signed square-root scale"


def of_image(findings: Findings, index: int) -> Findings:
    """The findings of `saliency_clusters` on image number `index`, as those of a series of `saliency_by_noise`."""
    tables, arrays = findings.tables, findings.arrays
    image = str(tables["images"]["image"].iloc[index])
    own = {"truth": arrays["truth"][index], "edges": arrays["edges"][index], "pixels": arrays["pixels"]}
    own |= {name: arrays[name][:, index] for name in ("labels", "mean_kernels")}
    clusters = tables["clusters"][tables["clusters"]["image"] == image]
    return Findings({**findings.scalars, "image": image}, {"maps": tables["maps"], "clusters": clusters}, own)


def draw_cluster_pixels(findings: Findings) -> Figure:
    """One column per map: the pixels in the colours of their clusters, above on the image, below on its edges."""
    tables, arrays = findings.tables, findings.arrays
    truth, edges, pixels = (arrays[name] for name in ("truth", "edges", "pixels"))
    height, width = edges.shape
    paper = np.ones((1, height, width), dtype=np.float32)
    for kind, grey in _EDGE_GREYS.items():
        paper[0][edges == kind] = grey
    names, colors = list(tables["maps"]["map"]), np.array(list(CLUSTER_COLORS.values()))
    cell = min(WIDTH / max(len(names), 3), 3.0)
    description = (
        f"{_place(findings)}: each dot is a pixel in the colour of the cluster to which its saliency map belongs, "
        "above on the image, below on its edges (weak grey, strong black); green is the cluster that lies on edges "
        f"most often. Seen here: {clusters_seen(tables['clusters'])}"
    )
    if "agreement" in tables:
        description += f" {likeness_seen(tables['agreement'])}"
    size: dict[str, Any] = {"columns": len(names), "width": cell, "height": cell * height / width, "margin": 0.45}
    with panels(2 * len(names), description, **size, grid=None) as (figure, grid):
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        for position, axes in enumerate(grid):
            row, column = divmod(position, len(names))
            show_image(axes, paper if row else truth)
            # A dot covers two thirds of a pixel: the edges stay visible between them.
            dot = (0.62 * 72 * cell / width) ** 2
            color = colors[arrays["labels"][column]]
            axes.scatter(pixels[:, 1], pixels[:, 0], s=dot, c=color, linewidths=0, marker="s")
            axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        _title_columns(grid, names)
    return figure


def draw_cluster_means(findings: Findings) -> Figure:
    """The mean map of each cluster of each map."""
    tables, kernels = findings.tables, findings.arrays["mean_kernels"]
    clusters = {(row.map, row.cluster): row for row in tables["clusters"].itertuples()}
    rows = dict(list(CLUSTER_COLORS.items())[: kernels.shape[1]])

    def below(name: str, cluster: str) -> str:
        row: Any = clusters.get((name, cluster))
        if row is None:
            return "\n"
        return f"{percent(row.edge_share)} on edges\nradius {number(row.radius)}, centre {number(row.value)}"

    names = list(tables["maps"]["map"])
    description = (
        f"{_place(findings)}: the mean saliency map of each cluster, the kernel by which it blurs there: {_SCALE}; "
        "below it the share of its pixels on edges, its effective radius in pixels and its centre. "
        f"Seen here: {clusters_seen(tables['clusters'])}"
    )
    return draw_kernels(
        names, kernels, [[below(name, cluster) for cluster in rows] for name in names], rows, description
    )


def draw_area_means(findings: Findings, kernels: NDArray[np.float32], series: str = "") -> Figure:
    """The mean maps `[M, 2, w, w]` on edges and in smooth areas; `series` says which networks they are of."""
    tables, half = findings.tables, kernels.shape[-1] // 2
    means = tables["spread"].set_index(["map", "area", "measure"])["mean"]
    names = list(tables["maps"]["map"])
    lines = [
        [
            f"radius {number(float(means[name, area, 'radius']))}, centre {number(float(kernels[i, j, half, half]))}\n"
            f"{percent(float(means[name, area, 'negative']))} negative"
            for j, area in enumerate(AREAS)
        ]
        for i, name in enumerate(names)
    ]
    description = (
        f"{series}mean saliency maps on edges (above, green) and in smooth areas (below, orange) over "
        f"{findings.scalars['images']} test images: {_SCALE}; below each its mean effective radius, its centre and its "
        f"negative mass. Seen here: {_spread_seen(findings)}"
    )
    return draw_kernels(names, kernels, lines, _AREA_COLORS, description)


def draw_spread(findings: Findings, series: str = "") -> Figure:
    """One panel per measure, the maps side by side; the networks of a series are joined by lines."""
    spread, names = findings.tables["spread"], list(findings.tables["maps"]["map"])
    description = (
        f"{series}how far mean saliency maps spread on edges (green) and in smooth areas (orange): means over the test "
        f"images with their intervals ({findings.scalars['confidence']:.0%}, {findings.scalars['images']} images). "
        f"Seen here: {_spread_seen(findings)}"
    )
    with panels(len(SPREAD), description, columns=2, height=2.6) as (figure, grid):
        for axes, (measure, title) in zip(grid, SPREAD.items(), strict=True):
            for (label, color), area, shift in zip(_AREA_COLORS.items(), AREAS, (-0.08, 0.08), strict=True):
                own = spread[(spread["area"] == area) & (spread["measure"] == measure)].set_index("map").loc[names]
                mean, low, high = own[["mean", "low", "high"]].to_numpy(dtype=float).T
                bars = np.nan_to_num(np.abs([mean - low, high - mean]))
                places = np.arange(len(names)) + shift
                look: dict[str, Any] = {"color": color, "fmt": "o", "markersize": 5, "capsize": 3, "clip_on": False}
                axes.errorbar(places, mean, yerr=bars, label=label, **look)
                if series:
                    axes.plot(places[1:], mean[1:], color=color, linewidth=1.0, alpha=0.6)
            axes.set(title=title, xlim=(-0.5, len(names) - 0.5))
            axes.set_ylim(bottom=0)
            axes.set_xticks(range(len(names)), [shortened(_title(name), 18) for name in names], color=INK)
        shared_legend(figure)
    return figure


def draw_cluster_numbers(findings: Findings) -> Figure:
    """What suggests each number of clusters: one row per image, one panel per statistic, one line per map."""
    tables = findings.tables
    styles, images = method_styles(tables["methods"]), list(tables["images"]["image"])
    choices = tables["choices"].set_index(["map", "image"])
    suggested = "; ".join(
        f"{row.map} on {row.image}: elbow {row.elbow}, gap {row.gap}, gap* {row.gap_star}"
        for row in tables["choices"].itertuples()
    )
    description = (
        "How many clusters there are, for each image (rows) and map (lines): the distances that k clusters leave "
        "(left), the gap statistic (middle) and the gap statistic without logarithm (right); a ring marks what each "
        f"suggests, the grey line the number that is used. Seen here: {suggested}."
    )
    statistics = {
        "elbow": ("within", "W(k) / W(1)"),
        "gap": ("gap", "gap(k)"),
        "gap_star": ("gap_star", "gap*(k) / W(1)"),
    }
    size: dict[str, Any] = {"height": 2.2, "margin": 0.7, "sharex": True}
    with panels(len(statistics) * len(images), description, columns=len(statistics), **size) as (figure, grid):
        for position, axes in enumerate(grid):
            row, column = divmod(position, len(statistics))
            choice, (statistic, title) = list(statistics.items())[column]
            axes.axvline(int(findings.scalars["clusters"]), color=MUTED, linewidth=5, alpha=0.18, zorder=0)
            on_image = tables["numbers"][tables["numbers"]["image"] == images[row]]
            for name, own in on_image.groupby("map", sort=False):
                scale = 1.0 if statistic == "gap" else max(float(own["within"].iloc[0]), 1e-12)
                errors = own[f"{statistic}_error"] / scale if statistic != "within" else None
                k, values = own["clusters"].to_numpy(), own[statistic].to_numpy(dtype=float) / scale
                color = styles[name].color if name in styles else INK
                axes.errorbar(k, values, yerr=errors, color=color, label=_title(name), linewidth=1.3, capsize=2)
                best = int(choices.loc[(name, images[row]), choice])
                axes.plot([best], [values[best - 1]], "o", color=color, markerfacecolor="none", markersize=9)
            if row == 0:
                axes.set_title(title)
            if row == len(images) - 1:
                axes.set_xlabel("number of clusters k")
                axes.set_xticks(sorted(set(tables["numbers"]["clusters"])))
            if column == 0:
                axes.set_ylabel(images[row], fontsize=8.5)
        shared_legend(figure)
    return figure


def draw_kernels(
    names: Sequence[str],
    kernels: NDArray[np.float32],
    lines: Sequence[Sequence[str]],
    rows: dict[str, str],
    description: str,
) -> Figure:
    """Mean saliency maps in a grid, all in the same colours.

    Colours follow the signed square root of the values: a centre of 2 and neighbours of 0.05 are both seen.

    Args:
        names: of the maps, the columns.
        kernels: `[columns, rows, w, w]`; NaN for one that is missing.
        lines: the text below each kernel.
        rows: their names and colours.
        description: what the figure shows.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm

    limit = signed_limit(1.005 * kernels, share=1.0)
    root_and_back = (lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: np.sign(v) * np.square(v))
    norm = FuncNorm(root_and_back, vmin=-limit, vmax=limit)
    count = len(names)
    cell = min(WIDTH / max(count + 0.4, 4), 1.9)
    height = cell + 0.17 * max(line.count("\n") + 1 for own in lines for line in own) + 0.16
    size: dict[str, Any] = {"columns": count, "width": max(cell + 0.5 / count, 4.0 / count), "height": height}
    with panels(count * len(rows), description, **size, margin=0.95, grid=None) as (figure, grid):
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.03, wspace=0, hspace=0)
        for position, axes in enumerate(grid):
            row, column = divmod(position, count)
            name, color = list(rows.items())[row]
            _show_kernel(axes, kernels[column, row], norm)
            frame(axes, color, 1.6)
            axes.set_xlabel(lines[column][row], fontsize=8, labelpad=3, color=INK)
            if column == 0:
                axes.set_ylabel(name, color=color, fontweight="bold", fontsize=9)
        _title_columns(grid, names)
        bar = figure.colorbar(
            ScalarMappable(norm, DIVERGING),
            ax=grid,
            orientation="horizontal",
            fraction=0.12 / figure.get_figheight(),  # as thick in tall figures as in others
            aspect=(cell * count) / 0.12,
            pad=0.0,
        )
        bar.set_ticks([sign * limit * share for share in (0.25, 1.0) for sign in (-1, 1)] + [0.0])
        bar.ax.xaxis.set_major_formatter(lambda value, _: "0" if abs(value) < 1e-12 else number(value))
        bar.ax.tick_params(labelsize=8, length=0)
        bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _show_kernel(axes: Axes, kernel: NDArray[np.float32], norm: Normalize) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(kernel, cmap=DIVERGING, norm=norm, interpolation="none")
    if not np.isfinite(kernel).all():
        axes.text(0.5, 0.5, "no such\ncluster", transform=axes.transAxes, ha="center", va="center", color=MUTED)


def _title_columns(grid: Sequence[Axes], names: Sequence[str]) -> None:
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(shortened(_title(name), 24), loc="center", fontsize=9.5, pad=5)


def _title(name: str) -> str:
    return "operator F" if name == OPERATOR else name


def _place(findings: Findings) -> str:
    """The series, if there is one, and the image."""
    return ", ".join(filter(None, (findings.text, str(findings.scalars["image"]))))


def _spread_seen(findings: Findings) -> str:
    return series_seen(findings.tables) if "steps" in findings.tables else radii_seen(findings.tables["spread"])
