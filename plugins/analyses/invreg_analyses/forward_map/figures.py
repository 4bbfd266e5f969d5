"""Figures of one run: the distance of learned forward maps from the operator, in numbers and in pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import percent
from invreg_analyses.shared.panels import panels
from invreg_analyses.shared.picture_columns import Column, draw_columns
from invreg_analyses.shared.pictures import Region, signed_limit
from invreg_analyses.shared.strips import draw_box, name_rows
from invreg_analyses.shared.style import MUTED, WIDTH, MethodStyle, method_styles, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_IDENTITY = MethodStyle(MUTED, "o", True)


def draw_accuracy(findings: Findings) -> Figure:
    """Distances from learned forward maps to the operator, and from reconstructions back to the data."""
    accuracy = findings.tables["accuracy"]
    styles = method_styles(findings.tables["methods"])
    labels = list(dict.fromkeys(accuracy["method"]))
    by_label = {label: accuracy[accuracy["method"] == label] for label in labels}

    def values_of(label: str, column: str) -> NDArray[np.float64]:
        return 100 * by_label[label][column].to_numpy(dtype=float)

    away = [(label, styles[label], values_of(label, "relative")) for label in labels]
    away.append(("identity", _IDENTITY, values_of(labels[0], "identity")))
    back = [(label, styles[label], values_of(label, "defect")) for label in labels]
    target = _target(findings)
    what = "operator" if target == "F(x)" else "measurement"
    description = (
        f"Left: distance of each learned forward map from the {what}, ‖φ(x) − {target}‖ / ‖{target}‖, and that of the "
        "identity. Right: distance of the reconstruction mapped forward from the data, ‖φ(R(z)) − z‖ / ‖z‖. One "
        f"point per image, boxes from quartile to quartile. Seen here: {findings.text}"
    )
    titles = (f"forward map to {what}, %", "reconstruction mapped forward to data, %")
    with panels(2, description, width=WIDTH, height=0.5 * len(away), margin=0.9, grid="x") as (figure, grid):
        for axes, rows, title in zip(grid, (away, back), titles, strict=True):
            axes.spines["left"].set_visible(False)
            for row, (_, style, values) in enumerate(rows):
                draw_box(axes, row, values, style)
            name_rows(axes, [name for name, *_ in rows], [int((~np.isfinite(v)).sum()) for *_, v in rows])
            axes.set_xlim(left=0)
            axes.set_xlabel(title)
    return figure


def draw_forward_maps(findings: Findings, index: int) -> Figure:
    """An image, the operator on it, and each learned forward map on it, with the differences on one scale."""
    arrays, tables = findings.arrays, findings.tables
    image = tables["images"].iloc[index]
    region: Region = (int(image["top"]), int(image["left"]), int(image["height"]), int(image["width"]))
    accuracy = tables["accuracy"][tables["accuracy"]["image"] == image["image"]].set_index("method")
    styles = method_styles(tables["methods"])
    target = _target(findings)
    columns = [
        Column("x", arrays["truth"][index], None, (shortened(str(image["image"]), 22),), MUTED),
        Column(target, arrays["target"][0, index], None, (), MUTED),
    ]
    for position, label in enumerate(dict.fromkeys(tables["accuracy"]["method"])):
        phi, f = arrays["learned"][position, index], arrays["target"][position, index]
        line = f"{percent(float(accuracy.loc[label, 'relative']))} away"
        columns.append(Column(f"φ(x), {label}", phi, phi - f, (line,), styles[str(label)].color))
    what = "the operator F on it" if target == "F(x)" else "its measurement z"
    description = (
        f"{image['image']}: the image x, {what} and each learned forward map φ on it; below each the "
        f"framed region enlarged, and the difference φ(x) − {target}, the same scale in all pictures"
    )
    limit = signed_limit(arrays["learned"] - arrays["target"])
    return draw_columns(columns, region, limit, description, f"φ(x) − {target}")


def _target(findings: Findings) -> str:
    """What the forward maps are compared with: F(x), or the measurement z where F is not known."""
    return str(findings.scalars.get("target", "F(x)"))
