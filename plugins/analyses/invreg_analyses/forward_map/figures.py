"""The figures of learned forward maps: how far they are from the operator, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.shared.picture_columns import Column, draw_columns
from invreg_analyses.shared.pictures import Region, signed_limit
from invreg_analyses.shared.strips import draw_box, name_rows
from invreg_analyses.shared.style import MUTED, WIDTH, MethodStyle, drawing, dress, method_styles, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_IDENTITY = MethodStyle(MUTED, "o", True)


def draw_accuracy(findings: Findings) -> Figure:
    """Distances from learned forward maps to the operator, and from reconstructions back to the data."""
    accuracy = findings.tables["accuracy"]
    styles = method_styles(findings.tables["methods"])
    labels = list(dict.fromkeys(accuracy["method"]))
    by_label = {label: accuracy[accuracy["method"] == label] for label in labels}

    def percent(label: str, column: str) -> NDArray[np.float64]:
        return 100 * by_label[label][column].to_numpy(dtype=float)

    away = [(label, styles[label], percent(label, "relative")) for label in labels]
    away.append(("identity", _IDENTITY, percent(labels[0], "identity")))
    back = [(label, styles[label], percent(label, "defect")) for label in labels]
    with drawing():
        figure = new_figure(
            WIDTH,
            0.9 + 0.5 * len(away),
            "Left: distance of each learned forward map from the operator, ‖φ(x) − F(x)‖ / ‖F(x)‖, and that of the "
            "identity. Right: how far the reconstruction mapped forward is from the data, ‖φ(R(z)) − z‖ / ‖z‖. One "
            f"point per image, boxes from quartile to quartile. Seen here: {findings.text}",
        )
        titles = ("forward map to operator, %", "reconstruction mapped forward to data, %")
        for axes, rows, title in zip(figure.subplots(1, 2), (away, back), titles, strict=True):
            dress(axes, grid="x")
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
    columns = [
        Column("x", arrays["truth"][index], None, (shortened(str(image["image"]), 22),), MUTED),
        Column("F(x)", arrays["target"][0, index], None, (), MUTED),
    ]
    for position, label in enumerate(dict.fromkeys(tables["accuracy"]["method"])):
        phi, target = arrays["learned"][position, index], arrays["target"][position, index]
        line = f"{number(100 * float(accuracy.loc[label, 'relative']))} % away"
        columns.append(Column(f"φ(x), {label}", phi, phi - target, (line,), styles[str(label)].color))
    description = (
        f"{image['image']}: the image x, the operator F on it and each learned forward map φ on it; below each the "
        f"framed region enlarged, and the difference φ(x) − F(x), the same scale in all pictures. "
        f"Seen here: {_seen(accuracy, arrays['learned'][:, index] - arrays['target'][:, index])}"
    )
    limit = signed_limit(arrays["learned"] - arrays["target"])
    return draw_columns(columns, region, limit, description, "φ(x) − F(x)")


def _seen(accuracy: pd.DataFrame, differences: NDArray[np.float32]) -> str:
    """How far each forward map is from the operator on this image, and where single pixels differ most."""
    told = []
    for (label, row), difference in zip(accuracy.iterrows(), differences, strict=True):
        largest = float(difference.flat[int(np.abs(difference).argmax())])
        told.append(
            f"φ of {label} is {number(100 * float(row['relative']))} % away from F (the identity "
            f"{number(100 * float(row['identity']))} %), by {number(largest, signed=True)} where it differs most"
        )
    return "; ".join(told) + "."
