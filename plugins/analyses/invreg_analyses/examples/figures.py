"""Figures of examples: truth, data and reconstructions; below each the enlarged region and the error."""

from __future__ import annotations

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

_SCORES = 3


def draw_example(findings: Findings, index: int) -> Figure:
    """The figure of image number `index` of the findings."""
    image = findings.tables["images"].iloc[index]
    region: Region = (int(image["top"]), int(image["left"]), int(image["height"]), int(image["width"]))
    columns = _columns(findings, index)
    limit = signed_limit(findings.arrays["reconstructions"] - findings.arrays["truth"][None])
    description = (
        f"{image['image']}: {', '.join(column.title for column in columns)}; below each the framed region enlarged and "
        f"the error (reconstruction minus truth), the same scale in all examples"
    )
    return draw_columns(columns, region, limit, description)


def _columns(findings: Findings, index: int) -> list[Column]:
    tables, arrays = findings.tables, findings.arrays
    name, truth = str(tables["images"]["image"].iloc[index]), arrays["truth"][index]
    metrics = tables["metrics"].head(_SCORES)
    scores = tables["scores"][tables["scores"]["image"] == name].set_index("method")
    styles = method_styles(tables["methods"])
    best = _best(scores, metrics.iloc[0], [label for label in styles if label in scores.index])
    columns = [Column("truth", truth, None, (shortened(name, 22),), MUTED)]
    if "data" in arrays:
        is_data = findings.scalars["data"] == "data"
        data = arrays["data"][index]
        if "measurements" in arrays:
            below = ("below: A* data, scaled",)
            columns.append(Column("data", arrays["measurements"][index], None, below, MUTED, below=data))
        else:
            title = "data" if is_data else "A* data, scaled"
            columns.append(Column(title, data, data - truth if is_data else None, _lines(scores, "", metrics), MUTED))
    for number_, (label, style) in enumerate(styles.items()):
        x_hat = arrays["reconstructions"][number_, index]
        lines = _lines(scores, label, metrics)
        columns.append(Column(label, x_hat, x_hat - truth, lines, style.color, is_best=label == best))
    return columns


def _lines(scores: pd.DataFrame, label: str, metrics: pd.DataFrame) -> tuple[str, ...]:
    return _written(scores.loc[label], metrics) if label in scores.index else ()


def _written(row: pd.Series, metrics: pd.DataFrame) -> tuple[str, ...]:
    """Each metric with its value and unit."""
    return tuple(
        f"{metric_title(metric.metric)} {with_unit(number(float(row[metric.metric]), metric.unit), metric.unit)}"
        for metric in metrics.itertuples()
    )


def _best(scores: pd.DataFrame, metric: pd.Series, labels: list[str]) -> str | None:
    """The label with the best value of the metric on this image; None where there is nothing to compare."""
    values = scores.loc[labels, metric["metric"]].astype(float)
    if len(labels) < 2 or values.isna().all():
        return None
    return str(values.idxmax() if metric["higher_is_better"] else values.idxmin())


def draw_grid(findings: Findings, number_: int) -> Figure:
    """The figure of one operator and noise level."""
    tables, arrays = findings.tables, findings.arrays
    grid = tables["grids"].set_index("grid").loc[number_]
    region: Region = (int(grid["top"]), int(grid["left"]), int(grid["height"]), int(grid["width"]))
    columns = _grid_columns(findings, number_)
    errors = [
        arrays[f"grid_{n}_reconstructions"] - arrays[f"grid_{n}_truth"]
        for n in tables["grids"].loc[tables["grids"]["operator"] == grid["operator"], "grid"]
    ]
    level = f", {findings.scalars['noise']} {grid['noise']}" if findings.scalars["noise"] else ""
    description = (
        f"{grid['operator']}{level}: {', '.join(column.title for column in columns)} of {findings.scalars['image']}; "
        f"below each the framed region enlarged and the error, on one scale for this operator"
    )
    return draw_columns(columns, region, signed_limit(np.concatenate([e.reshape(-1) for e in errors])), description)


def _grid_columns(findings: Findings, number_: int) -> list[Column]:
    tables, arrays, prefix = findings.tables, findings.arrays, f"grid_{number_}"
    truth = arrays[f"{prefix}_truth"]
    scores = tables["scores"][tables["scores"]["grid"] == number_]
    metrics = tables["metrics"].head(_SCORES)
    styles = method_styles(tables["methods"])
    columns = [Column("truth", truth, None, (shortened(str(findings.scalars["image"]), 22),), MUTED)]
    if f"{prefix}_data" in arrays:
        data = arrays[f"{prefix}_data"]
        of_data = scores[scores["method"].isna() | (scores["method"] == "")].iloc[0]
        columns.append(Column("data", data, data - truth, _written(of_data, metrics), MUTED))
    methods = scores[scores["method"].isin(list(styles))].reset_index(drop=True)
    best = _best(scores.set_index("method"), metrics.iloc[0], list(methods["method"]))
    for position, row in methods.iterrows():
        x_hat, label = arrays[f"{prefix}_reconstructions"][int(str(position))], str(row["method"])
        columns.append(
            Column(label, x_hat, x_hat - truth, _written(row, metrics), styles[label].color, is_best=label == best)
        )
    return columns
