"""The figure of an example grid: truth, data and the reconstructions of all methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import metric_title, number, with_unit
from invreg_analyses.examples.picture_columns import Column, draw_columns
from invreg_analyses.shared.pictures import Region, signed_limit
from invreg_analyses.shared.style import MUTED, method_styles, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = 3


def draw_grid(findings: Findings, number_: int) -> Figure:
    """The figure of one operator and noise level."""
    tables, arrays = findings.tables, findings.arrays
    grid = tables["grids"].set_index("grid").loc[number_]
    region: Region = (int(grid["top"]), int(grid["left"]), int(grid["height"]), int(grid["width"]))
    columns = _columns(findings, number_)
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


def _columns(findings: Findings, number_: int) -> list[Column]:
    tables, arrays, prefix = findings.tables, findings.arrays, f"grid_{number_}"
    truth = arrays[f"{prefix}_truth"]
    scores = tables["scores"][tables["scores"]["grid"] == number_]
    metrics = list(tables["metrics"].head(_SCORES).itertuples())
    styles = method_styles(tables["methods"])
    columns = [Column("truth", truth, None, (shortened(str(findings.scalars["image"]), 22),), MUTED)]
    if f"{prefix}_data" in arrays:
        data = arrays[f"{prefix}_data"]
        of_data = scores[scores["method"].isna() | (scores["method"] == "")].iloc[0]
        columns.append(Column("data", data, data - truth, _lines(of_data, metrics), MUTED))
    methods = scores[scores["method"].isin(list(styles))].reset_index(drop=True)
    first = methods[metrics[0].metric].astype(float)
    best = (first.idxmax() if metrics[0].higher_is_better else first.idxmin()) if len(methods) > 1 else -1
    for position, row in methods.iterrows():
        x_hat, label = arrays[f"{prefix}_reconstructions"][int(str(position))], str(row["method"])
        columns.append(
            Column(label, x_hat, x_hat - truth, _lines(row, metrics), styles[label].color, is_best=position == best)
        )
    return columns


def _lines(row: Any, metrics: list[Any]) -> tuple[str, ...]:
    return tuple(f"{metric_title(m.metric)} {with_unit(number(float(row[m.metric]), m.unit), m.unit)}" for m in metrics)
