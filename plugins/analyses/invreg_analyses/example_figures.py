"""The figure of one example: a column per picture; below each the enlarged region and the error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invreg.analyzer import Findings
from invreg.display import metric_title, number, with_unit
from invreg_analyses.pictures import Region, frame, mark_region, show_image, show_signed, signed_limit
from invreg_analyses.style import (
    ACCENT,
    MUTED,
    WIDTH,
    drawing,
    method_styles,
    new_figure,
    shortened,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_COLUMNS = 6
_SCORES = 3


@dataclass(frozen=True)
class _Column:
    """One picture with its title, the lines of text below it and its signed error (None for the truth)."""

    title: str
    image: NDArray[np.float32]
    error: NDArray[np.float32] | None
    lines: tuple[str, ...]
    color: str
    is_best: bool = False


def draw_example(findings: Findings, index: int) -> Figure:
    """The figure of image number `index` of the findings."""
    image = findings.tables["images"].iloc[index]
    region: Region = (int(image["top"]), int(image["left"]), int(image["height"]), int(image["width"]))
    columns = _columns(findings, index)
    limit = signed_limit(findings.arrays["reconstructions"] - findings.arrays["truth"][None])
    blocks = math.ceil(len(columns) / _COLUMNS)
    per_block = min(len(columns), _COLUMNS)
    height, width = columns[0].image.shape[-2:]
    cell = min(WIDTH / max(per_block, 4), 2.4)
    lines = min(len(findings.tables["metrics"]), _SCORES)
    tall = blocks * (3 * cell * height / width + 0.36 + 0.16 * lines)
    description = (
        f"{image['image']}: {', '.join(column.title for column in columns)}; below each the framed region enlarged and "
        f"the error (reconstruction minus truth), the same scale in all examples"
    )
    with drawing():
        figure = new_figure(cell * per_block, tall, description)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(3 * blocks, per_block, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        drawn = None
        for number_, column in enumerate(columns):
            block, place = divmod(number_, _COLUMNS)
            cells = grid[3 * block : 3 * block + 3, place]
            drawn = _draw_column(cells, column, region, limit) or drawn
        if drawn is not None:
            _scale(grid[2, 0], drawn, limit)
    return figure


def _columns(findings: Findings, index: int) -> list[_Column]:
    tables, arrays = findings.tables, findings.arrays
    name, truth = str(tables["images"]["image"].iloc[index]), arrays["truth"][index]
    metrics = tables["metrics"].head(_SCORES)
    scores = tables["scores"][tables["scores"]["image"] == name].set_index("method")
    styles = method_styles(tables["methods"])
    best = _best(scores, metrics.iloc[0], [label for label in styles if label in scores.index])
    columns = [_Column("truth", truth, None, (shortened(name, 22),), MUTED)]
    if "data" in arrays:
        is_data = findings.scalars["data"] == "data"
        title, data = ("data" if is_data else "A* data, scaled"), arrays["data"][index]
        columns.append(_Column(title, data, data - truth if is_data else None, _lines(scores, "", metrics), MUTED))
    for number_, (label, style) in enumerate(styles.items()):
        x_hat = arrays["reconstructions"][number_, index]
        lines = _lines(scores, label, metrics)
        columns.append(_Column(label, x_hat, x_hat - truth, lines, style.color, is_best=label == best))
    return columns


def _lines(scores: pd.DataFrame, label: str, metrics: pd.DataFrame) -> tuple[str, ...]:
    if label not in scores.index:
        return ()
    row = scores.loc[label]
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


def _draw_column(cells: NDArray[np.object_], column: _Column, region: Region, limit: float) -> AxesImage | None:
    picture, enlarged, error = cells
    show_image(picture, column.image)
    mark_region(picture, region)
    picture.set_title(shortened(column.title, 20), loc="center", fontsize=9.5, pad=5, color=column.color)
    picture.set_xlabel(
        "\n".join(column.lines), fontsize=8, labelpad=4, fontweight="bold" if column.is_best else "normal"
    )
    show_image(enlarged, column.image, region)
    frame(enlarged, ACCENT)
    if column.error is None:
        return None
    error.set_axis_on()
    return show_signed(error, column.error, limit)


def _scale(axes: Axes, drawn: AxesImage, limit: float) -> None:
    """The scale of the errors, in the free place below the truth."""
    inset = axes.inset_axes((0.06, 0.42, 0.88, 0.09))
    bar = axes.figure.colorbar(drawn, cax=inset, orientation="horizontal", extend="both", ticks=[-limit, 0, limit])
    bar.ax.set_xticklabels([number(-limit), "0", f"+{number(limit)}"])
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)  # type: ignore[operator]
    inset.set_title("error", loc="center", fontsize=8.5, fontweight="normal", pad=4)
