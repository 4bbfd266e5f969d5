"""The figures of trainings: curves over the steps, and the trials of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import metric_title
from invreg_analyses.shared.style import INK, WIDTH, MethodStyle, drawing, dress, method_styles, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_PER_ROW = 3
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_curves(findings: Findings) -> Figure:
    """One panel per quantity of the logs, one line per method; a ring marks the best validation."""
    curves, metrics = findings.tables["curves"], findings.tables["metrics"].set_index("metric")
    styles = method_styles(findings.tables["methods"])
    panels = curves[["kind", "quantity", "axis"]].drop_duplicates().itertuples(index=False)
    ordered = sorted(panels, key=lambda panel: (panel.kind != "loss", panel.axis))
    rows = -(-len(ordered) // _PANELS_PER_ROW)
    columns = min(len(ordered), _PANELS_PER_ROW)
    names = ", ".join(dict.fromkeys(_quantity(panel.quantity, metrics) for panel in ordered))
    shown = [label for label in styles if label in set(curves["method"])]
    with drawing():
        width = WIDTH * min(1.0, 0.55 + 0.45 * (columns - 1))
        figure = new_figure(width, 2.9 * rows, f"Training of {', '.join(shown)}: {names}; a ring marks the best value")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(ordered) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, ordered, strict=False):
            dress(axes, grid="y")
            for label in shown:
                chosen = curves[
                    (curves["method"] == label)
                    & (curves["quantity"] == panel.quantity)
                    & (curves["kind"] == panel.kind)
                    & (curves["axis"] == panel.axis)
                ]
                if len(chosen):
                    higher = _higher_is_better(panel.quantity, metrics)
                    _line(axes, chosen, styles[label], label, higher if panel.kind == "validation" else None)
            if panel.kind == "loss" and (curves.loc[curves["quantity"] == panel.quantity, "value"] > 0).any():
                _logarithmic(axes, "y")
            axes.set_title(_quantity(panel.quantity, metrics), fontsize=10)
            axes.set_xlabel(panel.axis)
        if len(shown) > 1:
            _legend(figure, grid.flat[0])
        else:
            figure.suptitle(shortened(shown[0]), x=0.01, ha="left", fontsize=10, color=styles[shown[0]].color)
    return figure


def draw_search(findings: Findings, label: str) -> Figure:
    """The trials of one method: a panel per parameter, the validation value over the setting."""
    trials = findings.tables["trials"]
    trials = trials[trials["method"] == label]
    metrics = findings.tables["metrics"].set_index("metric")
    style = method_styles(findings.tables["methods"])[label]
    parameters = list(trials["parameter"].unique())
    quantity = str(trials["quantity"].iloc[0])
    higher = _higher_is_better(quantity, metrics)
    rows, columns = -(-len(parameters) // _PANELS_PER_ROW), min(len(parameters), _PANELS_PER_ROW)
    with drawing():
        width = WIDTH * min(1.0, 0.55 + 0.45 * (columns - 1))
        figure = new_figure(
            width,
            2.9 * rows,
            f"Parameter search of {label}: {_quantity(quantity, metrics)} of each trial over "
            f"{', '.join(parameters)}; a ring marks the best",
        )
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(parameters) :]:
            axes.set_visible(False)
        for axes, parameter in zip(grid.flat, parameters, strict=False):
            dress(axes, grid="y")
            chosen = trials[trials["parameter"] == parameter]
            _scatter(axes, chosen, style, higher)
            axes.set_xlabel(shortened(f"{label}: {parameter}", 40))
        grid[0, 0].set_title(_quantity(quantity, metrics), fontsize=10)
    return figure


def _line(axes: Axes, chosen: pd.DataFrame, style: MethodStyle, label: str, higher: bool | None) -> None:
    x, y = chosen["position"].to_numpy(dtype=float), chosen["value"].to_numpy(dtype=float)
    finite = np.isfinite(y)
    marker = style.marker if finite.sum() < 3 else ""
    axes.plot(x[finite], y[finite], color=style.color, marker=marker, label=label)
    if higher is not None and finite.any():
        best = np.argmax(np.where(finite, y if higher else -y, -np.inf))
        axes.plot(x[best], y[best], "o", markersize=8, markerfacecolor="none", color=style.color, markeredgewidth=1.4)


def _scatter(axes: Axes, chosen: pd.DataFrame, style: MethodStyle, higher: bool) -> None:
    settings, values = chosen["setting"].to_numpy(dtype=float), chosen["value"].to_numpy(dtype=float)
    if np.isnan(settings).any():  # choices by name
        names = list(dict.fromkeys(chosen["text"]))
        settings = np.array([names.index(text) for text in chosen["text"]], dtype=float)
        axes.set_xticks(range(len(names)), [shortened(str(name), 16) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.scatter(settings, values, s=26, color=style.color, alpha=0.8, linewidths=0, zorder=3)
    if bool(chosen["log"].iloc[0]) and (chosen["setting"] > 0).all():
        _logarithmic(axes, "x")
    finite = np.isfinite(values)
    if finite.any():
        best = np.argmax(np.where(finite, values if higher else -values, -np.inf))
        axes.plot(settings[best], values[best], "o", markersize=10, markerfacecolor="none", color=INK)
    # Findings of earlier versions do not know which trials were stopped.
    stopped = ~finite & chosen["stopped"].to_numpy(dtype=bool) if "stopped" in chosen else np.zeros_like(finite)
    _mark_without_value(axes, settings, {"failed": ~finite & ~stopped, "stopped early": stopped}, style)


def _mark_without_value(axes: Axes, settings: np.ndarray, kinds: Mapping[str, np.ndarray], style: MethodStyle) -> None:
    """The settings of trials that have no value, as marks at the foot of a panel, and how many they are."""
    said: list[str] = []
    for (kind, among), marker in zip(kinds.items(), ("x", "v"), strict=True):
        if among.any():
            said.append(f"{among.sum()} {kind}" if said else f"{among.sum()} of {len(among)} trials {kind}")
            foot = np.full(among.sum(), 0.03)
            axes.scatter(
                settings[among],
                foot,
                s=18,
                marker=marker,
                color=style.color,
                alpha=0.5,
                linewidths=1 if marker == "x" else 0,
                transform=axes.get_xaxis_transform(),
            )
    if said:
        axes.annotate(", ".join(said), (0.02, 0.07), xycoords="axes fraction", fontsize=8)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = [], []
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, [shortened(label) for label in labels], loc="outside upper left", ncols=min(len(labels), 6))


def _logarithmic(axes: Axes, which: str) -> None:
    """A logarithmic axis whose labels are plain text: 0.02, 10⁻⁴; called after drawing, it looks at the data."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(NullFormatter())


def _tick(value: float) -> str:
    if value <= 0:
        return ""
    exponent = math.floor(math.log10(value) + 1e-9)
    if -4 < exponent < 4:
        return f"{value:g}"
    mantissa = f"{value / 10**exponent:.3g}"
    power = f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def _quantity(quantity: str, metrics: pd.DataFrame) -> str:
    name = quantity.removeprefix("val_")
    if name not in metrics.index:
        return quantity.replace("_", " ") if not quantity.startswith("val_") else f"validation {name.replace('_', ' ')}"
    unit = metrics.loc[name, "unit"]
    title = f"validation {metric_title(name)}"
    return f"{title}, {unit}" if unit else title


def _higher_is_better(quantity: str, metrics: pd.DataFrame) -> bool:
    name = quantity.removeprefix("val_")
    return bool(metrics.loc[name, "higher_is_better"]) if name in metrics.index else "loss" not in name
