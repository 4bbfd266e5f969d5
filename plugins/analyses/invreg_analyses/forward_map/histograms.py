"""The histogram of ratios of the test of firm nonexpansiveness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg_analyses.shared.style import INK, WARNING, WIDTH, drawing, dress, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"images": "two images", "noise": "image and noise", "worst": "image and worst direction"}
#: No method's colour: from light to dark, as the pairs get harder.
_SHADES = ["#c3cad1", "#7f8c99", INK]
_PANELS_PER_ROW = 3


def draw_ratios(findings: Findings) -> Figure:
    """One panel per map: how often which ratio was measured, by the kind of pair; the bound is the line at one."""
    ratios = findings.tables["ratios"]
    ratios = ratios[np.isfinite(ratios["ratio"])]
    labels = list(findings.tables["maps"]["method"])
    names = ["operator F", *(f"φ of {label}" for label in labels[1:])]
    low, high = min(ratios["ratio"].min(), 0.5), max(ratios["ratio"].max(), 1.02)
    bins = np.linspace(low, high, 41)
    rows, columns = -(-len(labels) // _PANELS_PER_ROW), min(len(labels), _PANELS_PER_ROW)
    with drawing():
        figure = new_figure(
            WIDTH * min(1.0, 0.55 + 0.45 * (columns - 1)),
            2.7 * rows,
            f"Ratio (‖F(u) − F(v)‖² + ‖(Id − F)(u) − (Id − F)(v)‖²) / ‖u − v‖² for {', '.join(names)}: pairs right "
            f"of the line at one contradict firm nonexpansiveness",
        )
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(labels) :]:
            axes.set_visible(False)
        for axes, label, name in zip(grid.flat, labels, names, strict=False):
            dress(axes, grid="y")
            own = ratios[ratios["method"] == label]
            values = [own.loc[own["kind"] == kind, "ratio"].to_numpy(dtype=float) for kind in _KINDS]
            axes.hist(values, bins=bins, stacked=True, color=_SHADES, label=list(_KINDS.values()))
            axes.axvline(1, color=WARNING, linewidth=1.2)
            axes.set_title(shortened(name), fontsize=10, color=INK)
            axes.set_xlabel("ratio (at most 1 if firmly nonexpansive)")
        grid[0, 0].set_ylabel("pairs")
        handles, texts = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=3)
    return figure
