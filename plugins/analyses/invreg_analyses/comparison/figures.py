"""The figure of a comparison of methods: for each metric, the methods beside each other at each noise level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from invreg import Findings
from invreg.text import metric_title
from invreg_analyses.shared.style import (
    INK,
    WARNING,
    WIDTH,
    MethodStyle,
    drawing,
    dress,
    method_styles,
    new_figure,
    shortened,
)
from invreg_analyses.shared.sufficiency import TOO_BRIEF

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_PER_ROW = 2
#: Share of the distance between two noise levels that the methods take up.
_SPREAD = 0.72
_LEGEND_COLUMNS = 7
#: Of trainings that were too brief: a triangle that stands on the point (matplotlib's CARETUPBASE).
_MARK: dict[str, Any] = {"linestyle": "none", "marker": 10, "markersize": 6, "color": WARNING}


def draw_comparison(findings: Findings, operator: str) -> Figure:
    """One panel per metric: means with intervals, one group of points for each noise level."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    present = set(means["method"])
    styles = {label: style for label, style in method_styles(tables["methods"]).items() if label in present}
    noises = [noise for noise in tables["noises"]["noise"] if noise in set(means["noise"])]
    metrics = tables["metrics"]
    columns = min(len(metrics), _PANELS_PER_ROW)
    rows = math.ceil(len(metrics) / columns)
    titles = ", ".join(metric_title(name) for name in metrics["metric"])
    description = (
        f"{titles} under {operator} by method and noise level: means over the test images with "
        f"{findings.scalars['confidence']:.0%} intervals"
    )
    brief = _trained_too_briefly(findings, operator)
    if brief:
        description += f"; triangles mark what was {TOO_BRIEF}"
    with drawing():
        figure = new_figure(WIDTH, 0.7 + 2.9 * rows, description)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        for axes, metric in zip(grid.flat, metrics.itertuples(), strict=False):
            chosen = means[means["metric"] == metric.metric]
            for position, (label, style) in enumerate(styles.items()):
                of_method = chosen[chosen["method"] == label].set_index("noise")
                shift = _SPREAD * ((position + 0.5) / len(styles) - 0.5)
                _draw_method(axes, of_method, noises, shift, label, style)
                for noise in noises if metric.Index == 0 else []:
                    if (noise, label) in brief:
                        _mark(axes, noises.index(noise) + shift, of_method.loc[noise])
            _name_groups(axes, noises, str(findings.scalars["noise"]))
            unit = f", {metric.unit}" if metric.unit else ""
            axes.set_title(f"{metric_title(metric.metric)}{unit} ({_better(metric)})")
        if brief:
            grid.flat[0].plot([], [], label=TOO_BRIEF, **_MARK)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), _LEGEND_COLUMNS))
        figure.suptitle(shortened(operator, 60), x=0.01, ha="left", fontsize=10.5, color=INK)
    return figure


def _trained_too_briefly(findings: Findings, operator: str) -> set[tuple[str, str]]:
    """Noise levels and methods; findings of earlier versions do not know."""
    table = findings.tables.get("training")
    if table is None:
        return set()
    table = table[(table["operator"] == operator) & (table["verdict"] == TOO_BRIEF)]
    return set(zip(table["noise"], table["method"], strict=True))


def _mark(axes: Axes, x: float, row: Any) -> None:
    """A triangle above the point and its interval."""
    top = row["high"] if math.isfinite(row["high"]) else row["mean"]
    axes.plot([x], [top], zorder=4, **_MARK)


def _better(metric: Any) -> str:
    return "higher is better" if metric.higher_is_better else "lower is better"


def _draw_method(axes: Axes, means: Any, noises: list[str], shift: float, label: str, style: MethodStyle) -> None:
    points = [(index + shift, means.loc[noise]) for index, noise in enumerate(noises) if noise in means.index]
    for x, row in points:
        if math.isfinite(row["low"]):
            axes.plot([x, x], [row["low"], row["high"]], color=style.color, linewidth=1.5, solid_capstyle="butt")
    axes.plot(
        [x for x, _ in points],
        [row["mean"] for _, row in points],
        linestyle="none",
        marker=style.marker,
        markersize=5.5,
        color=style.color,
        markerfacecolor="white" if style.is_reference else style.color,
        label=shortened(label, 20),
        zorder=3,
    )


def _name_groups(axes: Axes, noises: list[str], title: str) -> None:
    dress(axes, grid="y")
    for index in range(1, len(noises)):
        axes.axvline(index - 0.5, color="#e9ecef", linewidth=0.8, zorder=0)
    axes.set_xlim(-0.5, len(noises) - 0.5)
    axes.set_xticks(range(len(noises)), [shortened(noise, 24) for noise in noises])
    axes.set_xlabel(title)
