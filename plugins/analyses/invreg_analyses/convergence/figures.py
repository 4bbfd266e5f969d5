"""Figures of convergence: one panel per operator, with 1 - L on a logarithmic axis that runs towards zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.panels import label_rows, log_axis, panels, shared_legend
from invreg_analyses.shared.style import MUTED, WIDTH, MethodStyle, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    #: Label, style and rows of a network.
    Network = tuple[str, MethodStyle, "pd.DataFrame"]

#: Room beside the outermost values of 1 - L, in powers of ten.
_ROOM = 0.18


def draw_inversion(findings: Findings) -> Figure:
    """The inversion error with and without noise (figure 8 of the paper has that without)."""
    count = findings.scalars["images"]
    text = f"Mean errors ‖R(F x) − x‖ (exact data) and ‖R(z) − x‖ (noisy data) along L(δ), {count} test images"
    description = f"{text}; bars are standard errors over the images"
    with _panels(findings, "errors", description, "mean error (norm)") as (figure, grid):
        for axes, networks in grid:
            for label, style, rows in networks:
                _line(axes, rows, "inversion", f"{label}, exact data", style)
                _line(axes, rows, "error", f"{label}, noisy data", style, linestyle="--", markerfacecolor="white")
            axes.set_ylim(bottom=0)
        _legend(figure, findings)
    return figure


def draw_approximation(findings: Findings) -> Figure:
    """The distance of phi from F with the power of 1 - L that fits best, beside the slope that it has to exceed."""
    rates = findings.tables["rates"]
    rates = rates[rates["quantity"] == "misfit"].set_index(["operator", "method"])
    text = "Distance of the learned forward map from the operator along L(δ), with the fitted power (1 − L)^p (dashed)"
    description = f"{text}; grey: p = 1, which (2.4) has to exceed"
    with _panels(findings, "approximation", description, "‖φ(x) − F(x)‖") as (figure, grid):
        for axes, networks in grid:
            for label, style, rows in networks:
                rate = rates.loc[(rows["operator"].iloc[0], rows["method"].iloc[0])]
                _line(axes, rows, "misfit", f"{label}: {_exponent(rate)}", style, linestyle="none")
                if math.isfinite(rate["exponent"]):
                    h = np.array([1 - rows["lipschitz"].max(), 1 - rows["lipschitz"].min()])
                    axes.plot(
                        h, rate["factor"] * h ** rate["exponent"], color=style.color, linestyle="--", linewidth=1.2
                    )
            log_axis(axes, "y")
            if axes.get_yscale() == "log":
                _slope_one(axes)
            axes.legend(loc="best", fontsize=8.5)
    return figure


def draw_bounds(findings: Findings) -> Figure:
    """The error with noisy data between its parts: the bound of the proof above, the inversion error below."""
    text = "The error ‖R(z) − x‖, its bound Lip · δ + ‖R(F x) − x‖, and the second term of the bound alone, along L(δ)"
    with _panels(findings, "errors", f"{text}; logarithmic", "mean over the images (norm)") as (figure, grid):
        for axes, networks in grid:
            for label, style, rows in networks:
                how = "proven" if rows["is_proven"].all() else "from 1 / (1 − L)"
                _line(axes, rows, "total", f"{label}, bound ({how})", style, linestyle=":")
                _line(axes, rows, "error", f"{label}, error", style, linestyle="--", markerfacecolor="white")
                _line(axes, rows, "inversion", f"{label}, inversion error", style)
            log_axis(axes, "y")
        _legend(figure, findings)
    return figure


@contextmanager
def _panels(
    findings: Findings, table: str, description: str, ylabel: str
) -> Iterator[tuple[Figure, list[tuple[Axes, list[Network]]]]]:
    """A panel for each operator, with its networks, ready to draw in."""
    operators, rows = list(findings.tables["operators"]["operator"]), findings.tables[table]
    styles = method_styles(findings.tables["methods"])
    with panels(len(operators), description, columns=2, width=0.62 * WIDTH, height=3.0, margin=0.9) as (figure, grid):
        found = []
        for axes, operator in zip(grid, operators, strict=True):
            own = rows[rows["operator"] == operator].sort_values("lipschitz")
            by_method = {label: own[own["method"] == label] for label in styles}
            found.append((axes, [(shortened(k, 24), styles[k], part) for k, part in by_method.items() if len(part)]))
            _lipschitz_axis(axes, own)
            axes.set_title(shortened(operator, 44))
        label_rows(grid, ylabel)
        yield figure, found


def _legend(figure: Figure, findings: Findings) -> None:
    """One column for each method: legends are filled column by column."""
    shared_legend(figure, columns=min(findings.tables["errors"]["method"].nunique(), 4))


def _line(axes: Axes, rows: pd.DataFrame, column: str, label: str, style: MethodStyle, **changes: Any) -> None:
    """Means over 1 - L with a bar of one standard error; a single image has none."""
    settings = {"color": style.color, "marker": style.marker, "markersize": 5.5, "linestyle": "-", "capsize": 2.5}
    errors = rows[f"{column}_se"].fillna(0.0)
    bars = axes.errorbar(1 - rows["lipschitz"], rows[column], yerr=errors, label=label, **settings | changes)  # type: ignore[arg-type]
    for bar in bars[2]:
        bar.set_linestyle("-")


def _lipschitz_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Ticks at the values, with L and δ; 1 - L falls to the right."""
    pairs = rows[["lipschitz", "noise_std"]].drop_duplicates()
    room = [1 - value for value in pairs["lipschitz"]]
    axes.set_xscale("log")
    axes.set_xlim(max(room) * 10**_ROOM, min(room) / 10**_ROOM)
    names = [f"{value:g}\nδ = {std:g}" for value, std in zip(pairs["lipschitz"], pairs["noise_std"], strict=True)]
    axes.set_xticks(room, names)
    axes.minorticks_off()
    axes.set_xlabel("Lipschitz parameter L, with the noise it belongs to")


def _slope_one(axes: Axes) -> None:
    """A line of slope 1 through the middle of the panel, which must not change the limits."""
    low, high = axes.get_ylim()
    right, left = sorted(axes.get_xlim())
    middle = math.sqrt(right * left)
    h = np.array([right, left])
    line = math.sqrt(low * high) * h / middle
    axes.plot(h, line, color=MUTED, linewidth=1.0, alpha=0.7, zorder=0, label="slope of p = 1")
    axes.set_ylim(low, high)


def _exponent(rate: Any) -> str:
    if not math.isfinite(rate["exponent"]):
        return "no power fits"
    error = "(two points)" if not math.isfinite(rate["standard_error"]) else f"± {number(rate['standard_error'])}"
    return f"p = {number(rate['exponent'])} {error}"
