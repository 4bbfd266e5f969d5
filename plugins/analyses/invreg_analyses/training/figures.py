"""The figures of trainings: curves over the steps, and the trials of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import metric_title
from invreg_analyses.shared.panels import log_axis, panels, shared_legend
from invreg_analyses.shared.style import INK, MethodStyle, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_curves(findings: Findings) -> Figure:
    """One panel per quantity of the logs, one line per method; a ring marks the best validation."""
    curves, metrics = findings.tables["curves"], findings.tables["metrics"].set_index("metric")
    styles = method_styles(findings.tables["methods"])
    found = curves[["kind", "quantity", "axis"]].drop_duplicates().itertuples(index=False)
    ordered = sorted(found, key=lambda panel: (panel.kind != "loss", panel.axis))
    names = ", ".join(dict.fromkeys(_quantity(panel.quantity, metrics) for panel in ordered))
    shown = [label for label in styles if label in set(curves["method"])]
    description = f"Training of {', '.join(shown)}: {names}; a ring marks the best value"
    with panels(len(ordered), description) as (figure, grid):
        for axes, panel in zip(grid, ordered, strict=True):
            own = curves[(curves[["kind", "quantity", "axis"]] == list(panel)).all(axis=1)]
            higher = _higher_is_better(panel.quantity, metrics) if panel.kind == "validation" else None
            for label in shown:
                chosen = own[own["method"] == label]
                if len(chosen):
                    _line(axes, chosen, styles[label], shortened(label), higher)
            if panel.kind == "loss":
                log_axis(axes, "y")
            axes.set_title(_quantity(panel.quantity, metrics), fontsize=10)
            axes.set_xlabel(panel.axis)
        if len(shown) > 1:
            shared_legend(figure)
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
    title, higher = _quantity(quantity, metrics), _higher_is_better(quantity, metrics)
    description = (
        f"Parameter search of {label}: {title} of each trial over {', '.join(parameters)}; a ring marks the best"
    )
    with panels(len(parameters), description, sharey=True) as (figure, grid):
        for axes, parameter in zip(grid, parameters, strict=True):
            _scatter(axes, trials[trials["parameter"] == parameter], style, higher)
            axes.set_xlabel(shortened(f"{label}: {parameter}", 40))
        grid[0].set_title(title, fontsize=10)
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
        log_axis(axes, "x")
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
