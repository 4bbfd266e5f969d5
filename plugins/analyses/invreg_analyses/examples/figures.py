"""Figures of examples: truth, data and reconstructions; below each the enlarged region and the error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import metric_title, number, with_unit
from invreg_analyses.shared.picture_columns import Column, draw_columns
from invreg_analyses.shared.pictures import Region, signed_limit
from invreg_analyses.shared.style import MUTED, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    _Picture = NDArray[np.float32]

_SCORES = 3


def draw_example(findings: Findings, index: int) -> Figure:
    """The figure of image number `index` of the findings."""
    tables, arrays = findings.tables, findings.arrays
    image, truth = tables["images"].iloc[index], arrays["truth"][index]
    scores = tables["scores"][tables["scores"]["image"] == image["image"]].set_index("method")
    data = None
    if "measurements" in arrays:
        below = ("below: A* data, scaled",)
        data = Column("data", arrays["measurements"][index], None, below, MUTED, below=arrays["data"][index])
    elif "data" in arrays:
        z, is_data = arrays["data"][index], findings.scalars["data"] == "data"
        lines = _lines(scores, "", tables["metrics"])
        data = Column("data" if is_data else "A* data, scaled", z, z - truth if is_data else None, lines, MUTED)
    found = dict(zip(tables["methods"]["method"], arrays["reconstructions"][:, index], strict=True))
    columns = _columns(tables, str(image["image"]), truth, data, found, scores)
    limit = signed_limit(arrays["reconstructions"] - arrays["truth"][None])
    description = (
        f"{image['image']}: {', '.join(column.title for column in columns)}; below each the framed region enlarged and "
        f"the error (reconstruction minus truth), the same scale in all examples"
    )
    return draw_columns(columns, _region(image), limit, description)


def draw_grid(findings: Findings, index: int) -> Figure:
    """The figure of one operator and noise level."""
    tables, arrays, prefix = findings.tables, findings.arrays, f"grid_{index}"
    grid, truth = tables["grids"].set_index("grid").loc[index], arrays[f"{prefix}_truth"]
    scores = tables["scores"][tables["scores"]["grid"] == index].fillna({"method": ""}).set_index("method")
    data = None
    if f"{prefix}_data" in arrays:
        z = arrays[f"{prefix}_data"]
        data = Column("data", z, z - truth, _lines(scores, "", tables["metrics"]), MUTED)
    labels = [str(label) for label in scores.index if label in set(tables["methods"]["method"])]
    found = dict(zip(labels, arrays[f"{prefix}_reconstructions"], strict=True))
    columns = _columns(tables, str(findings.scalars["image"]), truth, data, found, scores)
    errors = [
        arrays[f"grid_{n}_reconstructions"] - arrays[f"grid_{n}_truth"]
        for n in tables["grids"].loc[tables["grids"]["operator"] == grid["operator"], "grid"]
    ]
    limit = signed_limit(np.concatenate([error.reshape(-1) for error in errors]))
    level = f", {findings.scalars['noise']} {grid['noise']}" if findings.scalars["noise"] else ""
    description = (
        f"{grid['operator']}{level}: {', '.join(column.title for column in columns)} of {findings.scalars['image']}; "
        f"below each the framed region enlarged and the error, on one scale for this operator"
    )
    return draw_columns(columns, _region(grid), limit, description)


def _region(row: pd.Series) -> Region:
    return int(row["top"]), int(row["left"]), int(row["height"]), int(row["width"])


def _columns(
    tables: Mapping[str, pd.DataFrame],
    name: str,
    truth: _Picture,
    data: Column | None,
    found: Mapping[str, _Picture],
    scores: pd.DataFrame,
) -> list[Column]:
    """The truth, the data if they can be shown, and the reconstructions, the best one by the first metric marked."""
    styles, metric = method_styles(tables["methods"]), tables["metrics"].iloc[0]
    values = scores.loc[[label for label in found if label in scores.index], metric["metric"]].astype(float)
    best = None
    if len(values) > 1 and values.notna().any():
        best = values.idxmax() if metric["higher_is_better"] else values.idxmin()
    columns = [Column("truth", truth, None, (shortened(name, 22),), MUTED), *([data] if data else [])]
    for label, x_hat in found.items():
        lines, color = _lines(scores, label, tables["metrics"]), styles[label].color
        columns.append(Column(label, x_hat, x_hat - truth, lines, color, is_best=label == best))
    return columns


def _lines(scores: pd.DataFrame, label: str, metrics: pd.DataFrame) -> tuple[str, ...]:
    """The first metrics of a method (of the data for "") with their values and units."""
    if label not in scores.index:
        return ()
    return tuple(
        f"{metric_title(metric.metric)} "
        f"{with_unit(number(float(scores.loc[label, metric.metric]), metric.unit), metric.unit)}"  # type: ignore[arg-type]
        for metric in metrics.head(_SCORES).itertuples()
    )
