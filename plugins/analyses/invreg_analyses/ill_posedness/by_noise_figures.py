"""The figures of a series of networks: the operator first, then the networks in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number as in_digits
from invreg_analyses.ill_posedness.direction_pictures import (
    READ_COLORS,
    direction_limit,
    legend_of_lines,
    name_row,
    show_direction,
    write_derivatives,
)
from invreg_analyses.ill_posedness.figures import draw_pair
from invreg_analyses.ill_posedness.search import REGIONS, WHOLE
from invreg_analyses.ill_posedness.text import part_name
from invreg_analyses.shared.style import WIDTH, drawing, dress, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLUMNS = 4


def series_seen(tables: Mapping[str, pd.DataFrame], series: int) -> str:
    """What becomes of both derivatives from the first network of a series to the last, over the images."""
    own = tables["directions"][tables["directions"]["series"] == series]
    whole = own[own["region"] == WHOLE]
    if not len(whole):
        return "no direction was found on a whole image."
    means = whole.groupby("position")[["network", "operator"]].mean()
    names = whole.groupby("position")["name"].first()
    text = ", ".join(
        f"{in_digits(means.loc[p, 'network'])} at {names[p]} (‖∂ₕF‖ {in_digits(means.loc[p, 'operator'])})"
        for p in means.index
    )
    lines = [list(group.sort_values("position")["network"]) for _, group in own.groupby(["image", "region"])]
    full = [line for line in lines if len(line) > 1]
    rising = sum(all(b > a for a, b in pairwise(line)) for line in full)
    text = f"the mean ‖∂ₕφ‖ along h, on whole images, is {text}"
    if full:
        images = own["image"].nunique()
        text += (
            f"; it rises at every step in {rising} of {len(full)} lines "
            f"({'one image' if images == 1 else f'{images} images'}, whole and restricted)"
        )
    return f"{text}."


def draw_series_derivatives(findings: Findings, number: int) -> Figure:
    """Both derivatives along the first direction over the networks of a series, one panel per image."""
    tables, head = findings.tables, _head(findings, number)
    own = tables["directions"][tables["directions"]["series"] == number]
    names = [str(name) for name in _images(findings, number) if name in set(own["image"])]
    ticks = own.groupby("position")["name"].first()
    title, labels = _common_title([str(tick) for tick in ticks])
    has_part = bool((own["region"] != WHOLE).any())
    columns = max(min(len(names), _COLUMNS), 1)
    lines = max(math.ceil(len(names) / columns), 1)
    description = (
        f"{head}: ‖∂ₕφ‖ of the network (red) and ‖∂ₕF‖ of the operator (blue) along the direction h in which the "
        f"network regularizes most{part_name(has_part)}; the higher the red line above the blue one, the stronger the "
        f"regularization. Seen here: {series_seen(tables, number)}"
    )
    with drawing():
        figure = new_figure(min(WIDTH, 1.2 + 2.7 * columns), 0.7 + 2.2 * lines, description)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            dress(axes, grid="y")
            draw_pair(axes, own[own["image"] == name], "position")
            axes.set_title(shortened(name, 24), fontsize=9.5)
            axes.set_xticks(list(ticks.index), labels)
            axes.margins(x=0.1)
            axes.set_xlabel(title)
            axes.set_ylim(0, 1.06 * max(float(own[["network", "operator"]].max().max()), 1e-12))
        for axes in grid[:, 0]:
            axes.set_ylabel("derivative along h")
        legend_of_lines(figure, has_part)
    return figure


def draw_series_pictures(findings: Findings, number: int, image: int) -> Figure:
    """One image: the operator's own direction, then those of the networks; on the whole image, and restricted."""
    tables, arrays = findings.tables, findings.arrays
    directions = arrays[f"series_{number}_directions"]
    x, mask = arrays[f"series_{number}_images"][image], arrays[f"series_{number}_masks"][image]
    name = str(_images(findings, number)[image])
    titles = ["operator alone", *_titles(tables, number)]
    regions = [region for j, region in enumerate(REGIONS) if np.isfinite(directions[:, image, j]).any()]
    values = _values(tables, number, name)
    limit = direction_limit(directions)
    height, width = x.shape[-2:]
    cell = min(WIDTH / len(titles), 2.6)
    description = (
        f"{_head(findings, number)}, {name}: first the direction h in which the operator's ‖∂ₕF‖ is smallest, then "
        f"those in which each network exceeds it most, {READ_COLORS}, full from |h| = {in_digits(limit)} on in all "
        f"pictures of the series. Seen here: {_pictures_seen(tables, number, name)}"
    )
    with drawing():
        tall = len(regions) * (cell * height / width + 0.27) + 0.35
        figure = new_figure(cell * len(titles) + 0.3, tall, description)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(len(regions), len(titles), squeeze=False)
        for row, region in enumerate(regions):
            for column in range(len(titles)):
                axes, h = grid[row, column], directions[column, image, REGIONS.index(region)]
                axes.set_axis_off()
                if np.isfinite(h).all():
                    show_direction(axes, x, h, limit, None if region == WHOLE else mask)
                    write_derivatives(axes, *values.get((column, region), (math.nan, math.nan)), fontsize=7.5)
            name_row(grid[row, 0], region)
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(shortened(title, 20), loc="center", fontsize=9.5)
    return figure


def _values(tables: Mapping[str, pd.DataFrame], series: int, image: str) -> dict[tuple[int, str], tuple[float, float]]:
    """Both derivatives by column and region; along the operator's own direction only that of the operator."""
    found: dict[tuple[int, str], tuple[float, float]] = {}
    for row in _of(tables["operator"], series, image).itertuples():
        found[0, str(row.region)] = math.nan, float(row.derivative)
    for row in _of(tables["directions"], series, image).itertuples():
        found[int(row.position) + 1, str(row.region)] = float(row.network), float(row.operator)
    return found


def _pictures_seen(tables: Mapping[str, pd.DataFrame], series: int, image: str) -> str:
    """The pattern of each network's direction, and how much of it lies in smooth areas."""
    own = _of(tables["directions"], series, image)
    whole = own[own["region"] == WHOLE].sort_values("position")
    if not len(whole):
        return "no direction was found on the whole image."
    parts = ", ".join(
        f"{in_digits(100 * row.smooth)} % at {row.name} (neighbours {in_digits(row.neighbours)})"
        for row in whole.itertuples()
    )
    area = in_digits(100 * float(whole["smooth_area"].iloc[0]))
    return (
        f"of ‖h‖² on the whole image, {parts} lies in smooth areas, which are {area} % of it; the mean product of "
        "neighbouring pixels, relative to the mean square, is −1 for a checkerboard."
    )


def _of(table: pd.DataFrame, series: int, image: str) -> pd.DataFrame:
    return table[(table["series"] == series) & (table["image"] == image)]


def _common_title(names: list[str]) -> tuple[str, list[str]]:
    """What all names start with ("δ" of "δ = 0.01"), and the names without it."""
    heads = {name.partition(" = ")[0] for name in names if " = " in name}
    if len(heads) != 1 or not all(" = " in name for name in names):
        return "", [shortened(name, 12) for name in names]
    return heads.pop(), [shortened(name.partition(" = ")[2], 12) for name in names]


def _images(findings: Findings, series: int) -> list[Any]:
    images = findings.tables["images"]
    return list(images[images["series"] == series]["image"])


def _titles(tables: Mapping[str, pd.DataFrame], series: int) -> list[str]:
    names = tables["names"]
    return [str(name) for name in names[names["series"] == series]["name"]]


def _head(findings: Findings, number: int) -> str:
    series = findings.tables["series"].set_index("series").loc[number]
    held = f" at {series['held']}" if isinstance(series["held"], str) and series["held"] else ""
    return f"{series['method']} under {series['operator']}{held}"
