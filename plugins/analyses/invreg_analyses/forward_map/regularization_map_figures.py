"""Figures of where learned forward maps depart from the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.pictures import show_image, show_signed, signed_limit
from invreg_analyses.shared.style import WIDTH, drawing, method_styles, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def draw_maps(findings: Findings, index: int) -> Figure:
    """One image, and for each network the map of pixel derivatives and the difference of the values."""
    arrays, tables = findings.arrays, findings.tables
    name = str(tables["images"]["image"].iloc[index])
    labels, styles = list(dict.fromkeys(tables["places"]["method"])), method_styles(tables["methods"])
    own = tables["places"][tables["places"]["image"] == name].set_index("method")
    limits = signed_limit(arrays["maps"]), signed_limit(arrays["differences"])
    height, width = arrays["truth"].shape[-2:]
    cell = WIDTH / max(3, len(labels) + 1)
    with drawing():
        figure = new_figure(
            cell * (len(labels) + 1),
            2 * cell * height / width + 1.0,
            f"{name}, and where learned forward maps depart from the operator. Above: ‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖² at "
            "every pixel p, red where the network reacts more strongly to a change of that pixel than the operator "
            "does: there it regularizes. Below: φ(x) − F(x). The same scales for all images. "
            f"Seen here: {_seen(own, labels)}",
        )
        grid = figure.subplots(2, len(labels) + 1, squeeze=False)
        show_image(grid[0, 0], arrays["truth"][index])
        grid[0, 0].set_title(shortened(name, 24), loc="center")
        grid[1, 0].set_axis_off()
        drawn: list[AxesImage] = []
        for i, label in enumerate(labels):
            above, below = grid[:, i + 1]
            drawn = [
                show_signed(above, arrays["maps"][i, index][None], limits[0]),
                show_signed(below, arrays["differences"][i, index], limits[1]),
            ]
            above.set_title(shortened(label, 24), loc="center", color=styles[label].color)
            row = own.loc[label]
            above.set_xlabel(f"smooth {number(row['smooth'])}, edges {number(row['edges'])}", fontsize=8)
        titles = ("‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖²", "φ(x) − F(x)")
        for place, (image, limit, title) in enumerate(zip(drawn, limits, titles, strict=True)):
            _scale(grid[1, 0], image, limit, title, 0.62 - 0.4 * place)
    return figure


def _seen(places: pd.DataFrame, labels: list[str]) -> str:
    """What is seen on this image: the means of each map in smooth areas and at edges."""
    told = []
    for label in labels:
        row = places.loc[label]
        smooth, edges = float(row["smooth"]), float(row["edges"])
        if not np.isfinite([smooth, edges]).all():
            told.append(f"{label} {number(float(row['all']), signed=True)} on average")
            continue
        told.append(
            f"{label} {number(smooth, signed=True)} in smooth areas and {number(edges, signed=True)} at edges, "
            f"so that it departs more {'at edges' if abs(edges) > abs(smooth) else 'in smooth areas'}"
        )
    return "; ".join(told) + "."


def _scale(axes: Axes, drawn: AxesImage, limit: float, title: str, bottom: float) -> None:
    inset = axes.inset_axes((0.06, bottom, 0.88, 0.07))
    bar = axes.figure.colorbar(drawn, cax=inset, orientation="horizontal", extend="both", ticks=[-limit, 0, limit])
    bar.ax.set_xticklabels([number(-limit), "0", f"+{number(limit)}"])
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)  # type: ignore[operator]
    inset.set_title(title, loc="center", fontsize=8.5, fontweight="normal", pad=4)
