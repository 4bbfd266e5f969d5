"""The figure of `forward_map_accuracy`, and its sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.panels import heading, panels, shared_legend
from invreg_analyses.shared.style import MARKERS, MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("mse", "ssim", "relative", "identity")
_PANELS = {"mse": "MSE of φ(x) to F(x)", "ssim": "SSIM of φ(x) to F(x)", "relative": "distance ‖φ(x) − F(x)‖ / ‖F(x)‖"}


def accuracy_text(means: pd.DataFrame) -> str:
    """The networks with the smallest and the largest mean MSE under each operator."""

    def name(row: pd.Series) -> str:
        noise = f", noise {row['noise']}" if row["noise"] else ""
        lipschitz = "" if math.isnan(row["lipschitz"]) else f", L = {row['lipschitz']:g}"
        return f"{row['method']}{noise}{lipschitz}"

    parts = []
    for operator, own in means[means["measure"] == "mse"].groupby("operator", sort=False):
        ends = [own.loc[own["mean"].idxmin()], own.loc[own["mean"].idxmax()]]
        found = " to ".join(f"{number(row['mean'])} ({name(row)})" for row in ends[: len(own)])
        parts.append(f"{found} under {operator}")
    return f"The mean MSE of φ(x) to F(x) is {'; '.join(parts)}."


def draw_accuracy(findings: Findings, operator: str) -> Figure:
    """One panel per measure, one line per network and L, noise levels along the axis (L, where noise is not varied)."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    noises = [noise for noise in tables["noises"]["noise"] if noise in set(means["noise"])]
    values = sorted(set(means["lipschitz"].dropna().astype(float)))
    over_noise = len(noises) > 1 or len(values) < 2
    names = [name for name in _PANELS if name in set(means["measure"])]
    description = (
        f"{operator}: distance of the learned forward maps φ from the operator F on the test images, against "
        f"{'the noise of training' if over_noise else 'L'}"
        f"{', one line for each L' if over_noise and len(values) > 1 else ''}; lower is closer, for SSIM "
        f"higher, and the grey line is the identity. Bars: {findings.scalars['confidence']:.0%} intervals over the "
        f"images. Seen here: {accuracy_text(means)}"
    )
    with panels(len(names), description, width=WIDTH, height=3.1) as (figure, grid):
        for axes, name in zip(grid, names, strict=True):
            _lines(axes, means[means["measure"] == name], tables["methods"], noises, values, over_noise)
            if name == "relative":
                _identity(axes, means[means["measure"] == "identity"], noises, over_noise)
            if over_noise:
                axes.set_xticks(range(len(noises)), [shortened(noise, 16) for noise in noises])
                axes.set_xlim(-0.4, len(noises) - 0.6)
                axes.set_xlabel(str(findings.scalars["noise"]) or "noise")
            else:
                axes.set_xticks([-math.log10(1 - value) for value in values], [f"{value:g}" for value in values])
                axes.set_xlabel("Lipschitz parameter L")
            axes.set_title(_PANELS[name], fontsize=9.0)
            top, bottom = (1.0, None) if name == "ssim" else (None, 0.0)
            axes.set_ylim(bottom, top)
        shared_legend(figure, columns=5)
        heading(figure, operator)
    return figure


def _lines(
    axes: Axes,
    means: pd.DataFrame,
    methods: pd.DataFrame,
    noises: Sequence[str],
    values: Sequence[float],
    over_noise: bool,
) -> None:
    lines: list[tuple[str, pd.DataFrame, str | tuple[float, ...], str]] = []
    for label, style in method_styles(methods).items():
        own = means[means["method"] == label]
        if over_noise:
            for value in [v for v in values if (own["lipschitz"] == v).any()]:
                part = own[own["lipschitz"] == value]
                strength = (values.index(value) + 1) / len(values)
                marker = MARKERS[values.index(value) % len(MARKERS)]
                lines.append((f"{label}, L = {value:g}", part, _faded(style.color, strength), marker))
            own = own[own["lipschitz"].isna()]
        if len(own):
            lines.append((label, own, style.color, style.marker))
    for number_, (label, own, color, marker) in enumerate(lines):
        # Side by side, or bars would hide each other.
        offset = 0.05 * (number_ - (len(lines) - 1) / 2) if over_noise else 0.0
        own = own.assign(place=[_place(row, noises, over_noise) for row in own.to_dict("records")]).sort_values("place")
        spread = np.abs(own[["low", "high"]].to_numpy(dtype=float).T - own["mean"].to_numpy(dtype=float))
        axes.errorbar(
            own["place"] + offset,
            own["mean"],
            yerr=np.nan_to_num(spread),
            color=color,
            marker=marker,
            markersize=5,
            elinewidth=0.9,
            label=shortened(label, 32),
        )


def _identity(axes: Axes, means: pd.DataFrame, noises: Sequence[str], over_noise: bool) -> None:
    """The distance of the identity, which is the same for all networks under an operator."""
    first = means.groupby("noise", sort=False)["mean"].first()
    places = sorted((noises.index(str(noise)), float(value)) for noise, value in first.items())
    if over_noise and len(places) > 1:
        axes.plot(*zip(*places, strict=True), color=MUTED, linestyle="--", linewidth=1.2, label="identity")
    else:
        axes.axhline(places[0][1], color=MUTED, linestyle="--", linewidth=1.2, label="identity")


def _place(row: Mapping[Any, Any], noises: Sequence[str], over_noise: bool) -> float:
    if over_noise:
        return float(noises.index(str(row["noise"])))
    return 0.0 if math.isnan(row["lipschitz"]) else -math.log10(1 - row["lipschitz"])


def _faded(color: str, strength: float) -> tuple[float, ...]:
    """The colour mixed with white; `strength` 1 leaves it as it is."""
    from matplotlib.colors import to_rgb

    share = 0.35 + 0.65 * strength
    return tuple(share * channel + (1 - share) for channel in to_rgb(color))
