"""Figures of quality over the noise at test time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from invreg import Findings
from invreg.text import metric_title
from invreg_analyses.shared.panels import heading, log_axis, panels, shared_legend
from invreg_analyses.shared.style import INK, MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_over_levels(findings: Findings) -> Figure:
    """One panel per metric, one line per method over the levels, with intervals; the training's level is marked."""
    tables, trained = findings.tables, float(findings.scalars["trained_level"])
    styles, means = method_styles(tables["methods"]), tables["means"]
    metrics = list(tables["metrics"].itertuples())
    description = (
        f"{', '.join(metric_title(one.metric) for one in metrics)} of all methods over the noise at test time: means "
        f"over the test images with {findings.scalars['confidence']:.0%} intervals. The vertical line is the noise of "
        "the training"
    )
    width = WIDTH / min(len(metrics), 2)
    with panels(len(metrics), description, columns=2, width=width, height=3.0, margin=0.4, grid="both") as (
        figure,
        grid,
    ):
        for axes, metric in zip(grid, metrics, strict=True):
            own = means[means["metric"] == metric.metric]
            for label, style in styles.items():
                line = own[own["method"] == label].sort_values("level")
                look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 4.5}
                _line(axes, line, look, shortened(label, 20))
            axes.axvline(trained, color=MUTED, linewidth=1, linestyle="--", zorder=1)
            title(axes, metric)
            axis_of_levels(axes, sorted(set(own["level"])), str(findings.scalars["parameter"]))
        shared_legend(figure)
    return figure


def draw_trainings(findings: Findings, operator: str) -> Figure:
    """One panel per method, one line per level of the training over the levels at test time; dots where they agree."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    metric = next(tables["metrics"].itertuples())
    means = means[means["metric"] == metric.metric]
    trainings = sorted(set(means["trained"]))
    labels = [label for label in tables["methods"]["method"] if label in set(means["method"])]
    description = (
        f"{metric_title(metric.metric)} under {operator} over the noise at test time, one line for each noise of the "
        f"training: means over the test images with {findings.scalars['confidence']:.0%} intervals. Large dots: test "
        "and training agree"
    )
    shades = _shades(len(trainings))
    columns = 2 if len(labels) in (2, 4) else 3
    with panels(len(labels), description, columns=columns, height=2.6, margin=0.6, sharey=True, grid="both") as (
        figure,
        grid,
    ):
        for axes, label in zip(grid, labels, strict=True):
            for training, shade in zip(trainings, shades, strict=True):
                line = means[(means["method"] == label) & (means["trained"] == training)].sort_values("level")
                name = f"trained at {training:g}"
                _line(axes, line, {"color": shade, "marker": "o", "markersize": 3.0}, name)
                same = line[line["level"] == training]
                axes.plot(same["level"], same["mean"], linestyle="none", marker="o", markersize=8, color=shade)
            axes.set_title(shortened(label, 24))
            axis_of_levels(axes, sorted(set(means["level"])), str(findings.scalars["parameter"]))
            if axes in grid[::columns]:
                unit = f", {metric.unit}" if metric.unit else ""
                axes.set_ylabel(f"{metric_title(metric.metric)}{unit}")
        shared_legend(figure)
        heading(figure, operator)
    return figure


def _line(axes: Axes, line: pd.DataFrame, look: dict[str, Any], label: str) -> None:
    axes.plot(line["level"], line["mean"], label=label, **look)
    known = line["low"].notna()
    axes.fill_between(
        line["level"][known], line["low"][known], line["high"][known], color=look["color"], alpha=0.09, linewidth=0
    )


def title(axes: Axes, metric: Any) -> None:
    """The metric of a panel, its unit, and which way is better."""
    unit, better = f", {metric.unit}" if metric.unit else "", "higher" if metric.higher_is_better else "lower"
    axes.set_title(f"{metric_title(metric.metric)}{unit} ({better} is better)")


def axis_of_levels(axes: Axes, levels: Sequence[float], parameter: str) -> None:
    """A logarithmic axis with a tick at each level that is not too near to another; linear if one of them is zero."""
    axes.set_xlabel(f"noise at test time, {parameter}")
    if levels and levels[0] > 0:
        log_axis(axes, "x")
        span = math.log(levels[-1] / levels[0]) or 1.0
        ticks = levels[:1]
        for level in levels[1:]:
            if math.log(level / ticks[-1]) > 0.11 * span:
                ticks = [*ticks, level]
        axes.set_xticks(ticks, [f"{level:.3g}" for level in ticks])


def _shades(count: int) -> list[Any]:
    """Colours from light to dark, for values in their order; a single one is dark."""
    from matplotlib import colormaps

    if count == 1:
        return [INK]
    return [colormaps["viridis_r"](0.12 + 0.83 * i / (count - 1)) for i in range(count)]
