"""The figures of the quality analysis: all values as boxes and points, and differences to one method."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from invreg import Findings
from invreg.text import metric_title, number
from invreg_analyses.shared.panels import panels
from invreg_analyses.shared.strips import draw_box, draw_points, name_rows
from invreg_analyses.shared.style import INK, MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_values(findings: Findings) -> Figure:
    """One panel per metric: a box and all images as points for each method, and the mean with its interval."""
    tables = findings.tables
    styles = method_styles(tables["methods"])
    labels = list(styles)
    titles = ", ".join(metric_title(name) for name in tables["metrics"]["metric"])
    description = (
        f"{titles} of each method: boxes from quartile to quartile with the median as a line, one point per image, "
        f"mean with {findings.scalars['confidence']:.0%} interval in black"
    )
    with _metric_panels(tables["metrics"], len(labels), description) as (figure, grid):
        for axes, metric in grid:
            values = _of(tables["values"], metric.metric)
            means = _of(tables["means"], metric.metric).set_index("method")
            for row, label in enumerate(labels):
                draw_box(axes, row, values.loc[values["method"] == label, "value"].to_numpy(dtype=float), styles[label])
                _mean_with_interval(axes, row, means.loc[label], "mean", 0.36)
            name_rows(axes, labels, [int(means.loc[label, "missing"]) for label in labels])
            better = "higher" if metric.higher_is_better else "lower"
            axes.set_xlabel(_axis_title(metric) + f" ({better} is better)")
    return figure


def draw_differences(findings: Findings) -> Figure:
    """One panel per metric: differences to the baseline method image by image, with mean and interval."""
    tables, baseline = findings.tables, str(findings.scalars["baseline"])
    styles = method_styles(tables["methods"])
    labels = [label for label in styles if label != baseline]
    description = (
        f"Differences to {baseline} on the same image: one point per image, mean with "
        f"{findings.scalars['confidence']:.0%} interval in black and in numbers"
    )
    with _metric_panels(tables["metrics"], len(labels), description) as (figure, grid):
        for axes, metric in grid:
            values = _of(tables["values"], metric.metric).pivot(index="image", columns="method", values="value")
            pairs = _of(tables["differences"], metric.metric)
            axes.axvline(0, color=MUTED, linewidth=1)
            missing = []
            for row, label in enumerate(labels):
                difference = (values[label] - values[baseline]).to_numpy(dtype=float)
                draw_points(axes, row, difference, styles[label])
                pair = _oriented(pairs, label, baseline)
                _mean_with_interval(axes, row, pair, "difference", 0.22)
                axes.annotate(
                    difference_text(pair, metric.unit),
                    (pair["difference"], row - 0.22),
                    ha="center",
                    va="bottom",
                    fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
                    zorder=2,
                )
                missing.append(int(pair["missing"]))
            name_rows(axes, labels, missing)
            arrow = "better →" if metric.higher_is_better else "← better"
            axes.set_xlabel(f"{_axis_title(metric)}: difference to {shortened(baseline)} ({arrow})")
    return figure


def _of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric]


def _axis_title(metric: Any) -> str:
    return f"{metric_title(metric.metric)}, {metric.unit}" if metric.unit else metric_title(metric.metric)


@contextmanager
def _metric_panels(
    metrics: pd.DataFrame, rows: int, description: str
) -> Iterator[tuple[Figure, list[tuple[Axes, Any]]]]:
    """A panel for each row of the table of metrics, of so many rows of methods."""
    from matplotlib.ticker import MaxNLocator

    height = 0.9 + 0.52 * max(rows, 1)
    with panels(len(metrics), description, width=WIDTH, height=height, sharey=True, grid="x") as (figure, grid):
        for axes in grid:
            axes.spines["left"].set_visible(False)
            # As many ticks as have room for their labels, three decimals and a sign.
            axes.xaxis.set_major_locator(MaxNLocator(6 if len(grid) < 3 else 4, steps=[1, 2, 5, 10]))
        yield figure, list(zip(grid, metrics.itertuples(), strict=True))


def _mean_with_interval(axes: Axes, row: int, found: Any, column: str, offset: float) -> None:
    if not math.isfinite(found[column]):
        return
    height = row + offset
    if math.isfinite(found["low"]):
        axes.plot([found["low"], found["high"]], [height, height], color=INK, linewidth=1.4, zorder=4)
    axes.plot([found[column]], [height], marker="D", markersize=4, color=INK, zorder=5)


def difference_text(pair: Any, unit: str) -> str:
    """A difference with its interval, if there is one: "+0.63 [+0.50, +0.81]"; empty if it is not finite."""
    if not math.isfinite(pair["difference"]):
        return ""
    mean, low, high = (number(pair[key], unit, signed=True) for key in ("difference", "low", "high"))
    return f"{mean} [{low}, {high}]" if math.isfinite(pair["low"]) else mean


def _oriented(pairs: pd.DataFrame, label: str, baseline: str) -> dict[str, float]:
    """The difference label - baseline; the table holds each pair once, the better method first."""
    forward = pairs[(pairs["method"] == label) & (pairs["other"] == baseline)]
    if len(forward):
        return {str(key): value for key, value in forward.iloc[0].items()}
    backward = pairs[(pairs["method"] == baseline) & (pairs["other"] == label)].iloc[0]
    return {
        "difference": -backward["difference"],
        "low": -backward["high"],
        "high": -backward["low"],
        "missing": backward["missing"],
    }
