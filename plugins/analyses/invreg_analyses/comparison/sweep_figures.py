"""The figure of a sweep: metrics against a parameter of networks, a panel for each noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import metric_title
from invreg_analyses.shared.style import INK, WIDTH, drawing, dress, method_styles, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Room above and below the lines, as a share of the common span.
_MARGIN = 0.12


def draw_sweep(findings: Findings, operator: str) -> Figure:
    """Rows of panels for the metrics, columns for the noise levels; one line for each network."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    noises = [noise for noise in tables["noises"]["noise"] if noise in set(means["noise"])]
    metrics = list(tables["metrics"].itertuples())
    parameter = str(findings.scalars["parameter"])
    place = _scale([float(value) for value in means["value"]], parameter)
    description = (
        f"{', '.join(metric_title(m.metric) for m in metrics)} of the networks under {operator} against {parameter}: "
        f"means over the test images; all panels of a row span equally much"
    )
    with drawing():
        figure = new_figure(WIDTH, 0.9 + 2.15 * len(metrics), description)
        grid = figure.subplots(len(metrics), len(noises), squeeze=False)
        for row, metric in enumerate(metrics):
            chosen = means[means["metric"] == metric.metric]
            for column, noise in enumerate(noises):
                axes = grid[row, column]
                _draw_lines(axes, chosen[chosen["noise"] == noise], tables["methods"], place)
                _ticks(axes, sorted(set(means["value"].astype(float))), place, parameter, row == len(metrics) - 1)
                if row == 0:
                    axes.set_title(_heading(str(findings.scalars["noise"]), noise))
            unit = f", {metric.unit}" if metric.unit else ""
            grid[row, 0].set_ylabel(f"{metric_title(metric.metric)}{unit}")
            _equal_spans(grid[row])
        legend: dict[str, Any] = {}
        for axes in grid.flat:
            handles, labels = axes.get_legend_handles_labels()
            legend.update(zip(labels, handles, strict=True))
        figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=min(len(legend), 6))
        figure.suptitle(shortened(operator, 60), x=0.01, ha="left", fontsize=10.5, color=INK)
    return figure


def _scale(values: Sequence[float], parameter: str) -> Any:
    """Where a value stands on the axis: -log10(1 - L) for Lipschitz parameters in (0, 1), else the value itself."""
    if parameter == "lipschitz" and all(0 < value < 1 for value in values):
        return lambda value: -math.log10(1 - value)
    return lambda value: value


def _heading(title: str, noise: str) -> str:
    return f"{title} {shortened(noise, 20)}".strip()


def _draw_lines(axes: Axes, means: Any, methods: Any, place: Any) -> None:
    dress(axes, grid="both")
    for label, style in method_styles(methods).items():
        line = means[means["method"] == label].sort_values("value")
        if len(line):
            x = [place(float(value)) for value in line["value"]]
            axes.plot(
                x, line["mean"], color=style.color, marker=style.marker, markersize=5.5, label=shortened(label, 24)
            )


def _ticks(axes: Axes, values: Sequence[float], place: Any, parameter: str, is_last: bool) -> None:
    places = [place(value) for value in values]
    margin = 0.08 * (max(places) - min(places) or 1)
    axes.set_xlim(min(places) - margin, max(places) + margin)
    axes.set_xticks(places, [f"{value:g}" for value in values])
    if is_last:
        axes.set_xlabel("Lipschitz parameter L" if parameter == "lipschitz" else parameter.replace("_", " "))


def _equal_spans(row: Sequence[Axes]) -> None:
    """The same span for all panels of a row, each around its own lines: slopes can be compared."""
    limits = []
    for axes in row:
        data: list[Any] = [y for line in axes.get_lines() for y in np.asarray(line.get_ydata())]
        found = [float(y) for y in data if math.isfinite(y)]
        limits.append((min(found), max(found)) if found else (0.0, 0.0))
    span = max(high - low for low, high in limits) * (1 + 2 * _MARGIN) or 1e-3
    for axes, (low, high) in zip(row, limits, strict=True):
        center = (low + high) / 2
        axes.set_ylim(center - span / 2, center + span / 2)
