"""Figures of convergence: one panel per operator, with 1 - L on a logarithmic axis that runs towards zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.style import (
    MUTED,
    WIDTH,
    MethodStyle,
    drawing,
    dress,
    method_styles,
    new_figure,
    shortened,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_PER_ROW = 2
_LEGEND_COLUMNS = 4
#: Room beside the outermost values of 1 - L, in powers of ten.
_ROOM = 0.18

_Draw = Callable[["Axes", "pd.DataFrame", str, MethodStyle], None]


def draw_inversion(findings: Findings) -> Figure:
    """The inversion error with and without noise: figure 8 of the paper, and what becomes of it with noisy data."""

    def draw(axes: Axes, rows: pd.DataFrame, label: str, style: MethodStyle) -> None:
        _line(axes, rows, "inversion", f"{label}, exact data", style)
        _line(axes, rows, "error", f"{label}, noisy data", style, linestyle="--", markerfacecolor="white")

    count = findings.scalars["images"]
    text = f"Mean errors ‖R(F x) − x‖ (exact data) and ‖R(z) − x‖ (noisy data) along L(δ), {count} test images"
    figure = _panels(findings, f"{text}; bars are standard errors over the images", "mean error (norm)", draw)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure


def draw_approximation(findings: Findings) -> Figure:
    """The distance of phi from F with the power of 1 - L that fits best, beside the slope that it has to exceed."""
    rates = findings.tables["rates"]
    rates = rates[rates["quantity"] == "misfit"].set_index(["operator", "method"])

    def draw(axes: Axes, rows: pd.DataFrame, label: str, style: MethodStyle) -> None:
        rate = rates.loc[(rows["operator"].iloc[0], rows["method"].iloc[0])]
        _line(axes, rows, "misfit", f"{label}: {_exponent(rate)}", style, linestyle="none")
        if math.isfinite(rate["exponent"]):
            h = np.array([1 - rows["lipschitz"].max(), 1 - rows["lipschitz"].min()])
            axes.plot(h, rate["factor"] * h ** rate["exponent"], color=style.color, linestyle="--", linewidth=1.2)

    text = "Distance of the learned forward map from the operator along L(δ), with the fitted power (1 − L)^p (dashed)"
    figure = _panels(
        findings, f"{text}; grey: p = 1, which (2.4) has to exceed", "‖φ(x) − F(x)‖", draw, "approximation"
    )
    for axes in figure.axes:
        if _log_scale(axes):
            _slope_one(axes)
            _plain_ticks(axes)
        axes.legend(loc="best", fontsize=8.5)
    for legend in list(figure.legends):
        legend.remove()
    return figure


def draw_bounds(findings: Findings) -> Figure:
    """The error with noisy data between its parts: the bound of the proof above, the inversion error below."""

    def draw(axes: Axes, rows: pd.DataFrame, label: str, style: MethodStyle) -> None:
        how = "proven" if rows["is_proven"].all() else "from 1 / (1 − L)"
        _line(axes, rows, "total", f"{label}, bound ({how})", style, linestyle=":")
        _line(axes, rows, "error", f"{label}, error", style, linestyle="--", markerfacecolor="white")
        _line(axes, rows, "inversion", f"{label}, inversion error", style)

    text = "The error ‖R(z) − x‖, its bound Lip · δ + ‖R(F x) − x‖, and the second term of the bound alone, along L(δ)"
    figure = _panels(findings, f"{text}; logarithmic", "mean over the images (norm)", draw)
    for axes in figure.axes:
        _log_scale(axes)
    return figure


def _panels(findings: Findings, description: str, ylabel: str, draw: _Draw, table: str = "errors") -> Figure:
    tables = findings.tables
    operators, rows = list(tables["operators"]["operator"]), tables[table]
    columns = min(len(operators), _PANELS_PER_ROW)
    lines = math.ceil(len(operators) / columns)
    with drawing():
        figure = new_figure(WIDTH if columns > 1 else 0.62 * WIDTH, 0.9 + 3.0 * lines, description)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(operators) :]:
            axes.remove()
        for index, operator in enumerate(operators):
            axes = grid.flat[index]
            dress(axes, grid="y")
            of_operator = rows[rows["operator"] == operator]
            for label, style in method_styles(tables["methods"]).items():
                own = of_operator[of_operator["method"] == label].sort_values("lipschitz")
                if len(own):
                    draw(axes, own, shortened(label, 24), style)
            _lipschitz_axis(axes, of_operator)
            axes.set_title(shortened(operator, 44))
            if index % columns == 0:
                axes.set_ylabel(ylabel)
        legend: dict[str, Any] = {}
        for axes in figure.axes:
            handles, labels = axes.get_legend_handles_labels()
            legend |= dict(zip(labels, handles, strict=True))
        # One column for each method: legends are filled column by column.
        columns = min(rows["method"].nunique(), _LEGEND_COLUMNS)
        figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=columns)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, column: str, label: str, style: MethodStyle, **changes: Any) -> None:
    """Means over 1 - L with a bar of one standard error; a single image has none."""
    settings = {"color": style.color, "marker": style.marker, "markersize": 5.5, "linestyle": "-", "capsize": 2.5}
    errors = rows[f"{column}_se"].fillna(0.0)
    bars = axes.errorbar(1 - rows["lipschitz"], rows[column], yerr=errors, label=label, **settings | changes)  # type: ignore[arg-type]
    for bar in bars[2]:
        bar.set_linestyle("-")


def _lipschitz_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Ticks at the values, named by L and δ; 1 - L falls to the right."""
    pairs = rows[["lipschitz", "noise_std"]].drop_duplicates().sort_values("lipschitz")
    room = [1 - value for value in pairs["lipschitz"]]
    axes.set_xscale("log")
    axes.set_xlim(max(room) * 10**_ROOM, min(room) / 10**_ROOM)
    names = [f"{value:g}\nδ = {std:g}" for value, std in zip(pairs["lipschitz"], pairs["noise_std"], strict=True)]
    axes.set_xticks(room, names)
    axes.minorticks_off()
    axes.set_xlabel("Lipschitz parameter L, with the noise it belongs to")


def _log_scale(axes: Axes) -> bool:
    """Makes the axis logarithmic, if anything on it is positive."""
    is_positive = any((np.asarray(line.get_ydata(orig=False)) > 0).any() for line in axes.get_lines())
    if is_positive:
        axes.set_yscale("log")
    return is_positive


def _slope_one(axes: Axes) -> None:
    """A line of slope 1 through the middle of what is shown, which must not change the limits."""
    low, high = axes.get_ylim()
    right, left = sorted(axes.get_xlim())
    middle = math.sqrt(right * left)
    h = np.array([right, left])
    axes.plot(h, math.sqrt(low * high) * h / middle, color=MUTED, linewidth=1.0, alpha=0.7, zorder=0)
    axes.set_ylim(low, high)


def _plain_ticks(axes: Axes) -> None:
    """Within one power of ten, where a logarithmic axis would have hardly any ticks, round numbers."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_ylim()
    if high < 10 * low:
        places = [float(place) for place in MaxNLocator(5).tick_values(low, high) if low <= place <= high]
        axes.set_yticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()


def _exponent(rate: Any) -> str:
    if not math.isfinite(rate["exponent"]):
        return "no power fits"
    error = "two points" if not math.isfinite(rate["standard_error"]) else f"± {number(rate['standard_error'])}"
    return f"p = {number(rate['exponent'])} {error if error[0] == '±' else f'({error})'}"
