"""Figures of conformal bounds: one for all images, and as a function of what is known without the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import metric_title, number, percent
from invreg_analyses.shared.panels import label_rows, log_axis, panels
from invreg_analyses.shared.strips import draw_points, name_rows
from invreg_analyses.shared.style import INK, MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What is known without the truth: in a sentence, and on an axis.
KNOWN = {
    "nothing": ("measurement alone", ""),
    "detail": ("detail", "detail of R(z), rms"),
    "residual": ("residual", "residual F(R(z)) − z, rms"),
}


def draw_bounds(findings: Findings) -> Figure:
    """One row per method: the test images as points, the bound as a line, the range that it promises as a bar."""
    tables = findings.tables
    styles, metric = method_styles(tables["methods"]), tables["metrics"].iloc[0]
    bounds = tables["bounds"]
    bounds = bounds[bounds["known"] == "nothing"].set_index("method")
    description = (
        f"{metric_title(metric['metric'])} of the test images by method, and the range in which that of an unseen, "
        f"exchangeable image lies with probability {percent(float(findings.scalars['exact_coverage']))}"
    )
    height = 0.9 + 0.52 * len(bounds)
    with panels(1, description, width=0.8 * WIDTH, height=height, grid="x") as (figure, (axes,)):
        axes.spines["left"].set_visible(False)
        images = tables["images"][tables["images"]["known"] == "nothing"]
        for row, label in enumerate(bounds.index):
            draw_points(axes, row, images.loc[images["method"] == label, "value"].to_numpy(float), styles[str(label)])
        axes.margins(x=0.08)
        limits = axes.get_xlim()
        for row, (label, bound) in enumerate(bounds.iterrows()):
            _draw_range(axes, row, bound, limits, styles[str(label)].color, str(metric["unit"]))
        axes.set_xlim(limits)
        name_rows(axes, list(map(str, bounds.index)), [0] * len(bounds))
        better = "higher" if metric["higher_is_better"] else "lower"
        axes.set_xlabel(f"{_title(metric)} ({better} is better)")
    return figure


def _draw_range(axes: Axes, row: int, bound: Any, limits: tuple[float, float], color: str, unit: str) -> None:
    """From the bound to the other end, or, where that is open, to the edge of the panel."""
    ends = [
        end if math.isfinite(end) else edge for end, edge in zip((bound["low"], bound["high"]), limits, strict=True)
    ]
    axes.barh(row, ends[1] - ends[0], left=ends[0], height=0.62, color=color, alpha=0.13, linewidth=0)
    for end in (bound["low"], bound["high"]):
        if math.isfinite(end):
            axes.plot([end, end], [row - 0.31, row + 0.31], color=INK, linewidth=2.0, zorder=4)
            place: Any = {
                "xytext": (0, 2),
                "textcoords": "offset points",
                "ha": "center",
                "va": "bottom",
                "fontsize": 8.5,
            }
            axes.annotate(number(end, unit), (end, row - 0.31), color=INK, **place)


def draw_known(findings: Findings) -> Figure:
    """One panel per method: the test images over what is known of them, and the bound that follows from it."""
    tables = findings.tables
    styles, metric = method_styles(tables["methods"]), tables["metrics"].iloc[0]
    bounds, images = tables["bounds"], tables["images"]
    shown = _shown(bounds)
    description = (
        f"{metric_title(metric['metric'])} of the test images over a number that is known without the truth, with the "
        f"bound for an unseen image given that number (line), and the one without it (dashed); each holds with "
        f"probability {percent(float(findings.scalars['exact_coverage']))}"
    )
    columns = 2 if len(shown) in (2, 4) else 3
    limits = _limits([images[(images["method"] == m) & (images["known"] == k)] for m, k in shown.items()])
    with panels(len(shown), description, columns=columns, height=2.6, sharey=True, grid="both") as (figure, grid):
        for axes, (label, known) in zip(grid, shown.items(), strict=True):
            own = images[(images["method"] == label) & (images["known"] == known)].sort_values("f")
            flat = bounds[(bounds["method"] == label) & (bounds["known"] == "nothing")].iloc[0]
            f, style = 10 ** own["f"].to_numpy(float), styles[label]
            axes.scatter(f, own["value"], s=16, color=style.color, alpha=0.75, linewidths=0, zorder=3)
            for end in ("low", "high"):
                if math.isfinite(flat[end]):
                    axes.axhline(flat[end], color=MUTED, linewidth=1, linestyle="--")
                    axes.plot(f, own[end], color=INK, linewidth=1.6, zorder=4)
            low, high = (
                own[end].fillna(edge).to_numpy(float) for end, edge in zip(("low", "high"), limits, strict=True)
            )
            axes.fill_between(f, low, high, color=style.color, alpha=0.13, linewidth=0)
            axes.set_title(shortened(label, 24))
            axes.set_xlabel(KNOWN[known][1], fontsize=8.5)
            log_axis(axes, "x")
        axes.set_ylim(limits)
        label_rows(grid, _title(metric))
    return figure


def _limits(shown: list[Any]) -> tuple[float, float]:
    """Of all values and bounds, with some room."""
    values = np.concatenate([images[["value", "low", "high"]].to_numpy(float) for images in shown])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _shown(bounds: Any) -> dict[str, str]:
    """For each method what is known in its panel: what was chosen, else the best of the rest."""
    rows = bounds[bounds["known"] != "nothing"].sort_values("spread", kind="stable")
    best = rows.groupby("method", sort=False)["known"].first()
    return {str(label): str(best[label]) for label in dict.fromkeys(bounds["method"]) if label in best.index}


def _title(metric: Any) -> str:
    return f"{metric_title(metric['metric'])}{', ' + metric['unit'] if metric['unit'] else ''}"
