"""The figure of radial transfer functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invreg import Findings
from invreg_analyses.forward_map.rings import HIGHEST
from invreg_analyses.shared.style import INK, WIDTH, drawing, dress, method_styles, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST = 1e-3


def draw_transfer(findings: Findings) -> Figure:
    """Gains by frequency on a logarithmic scale, and how far network and operator respond alike."""
    table, styles = findings.tables["transfer"], method_styles(findings.tables["methods"])
    labels = list(dict.fromkeys(table["method"]))
    with drawing():
        figure = new_figure(
            WIDTH,
            3.5,
            "How strongly the derivatives of the operator and of each learned forward map respond to a change of the "
            "image, by its frequency (0.5: alternating columns, 0.707: checkerboard), mean over the images with 95 % "
            "intervals. Where the operator's line falls and the network's does not, the network regularizes. Right: "
            f"whether both respond with the same image (1) or with unrelated ones (0). Seen here: {findings.text}",
        )
        gains, alike = figure.subplots(1, 2, width_ratios=(3, 2))
        _line(gains, table[(table["method"] == labels[0]) & (table["map"] == "operator")], INK, "s", "operator F")
        for label in labels:
            own = table[(table["method"] == label) & (table["map"] == "network")]
            style = styles[label]
            _line(gains, own, style.color, style.marker, f"{label}, φ")
            alike.plot(own["frequency"], own["agreement"], color=style.color, marker=style.marker, markersize=4)
        for axes, title in ((gains, "gain ‖J h‖ / ‖h‖"), (alike, "agreement of φ and F")):
            dress(axes, grid="y")
            axes.set_xlabel("frequency, cycles per pixel")
            axes.set_ylabel(title)
            axes.set_xlim(0, HIGHEST)
            axes.axvline(0.5, color=INK, linewidth=0.6, linestyle=":")
        gains.set_yscale("log")
        if float(table["low"].min()) < _SMALLEST:
            gains.set_ylim(bottom=_SMALLEST)
        alike.set_ylim(min(0.0, float(table["agreement"].min()) - 0.05), 1.03)
        figure.legend(*gains.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(labels) + 1, 5))
    return figure


def _line(axes: Axes, rows: pd.DataFrame, color: str, marker: str, label: str) -> None:
    axes.plot(rows["frequency"], rows["gain"], color=color, marker=marker, markersize=4, label=label)
    axes.fill_between(rows["frequency"], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)
