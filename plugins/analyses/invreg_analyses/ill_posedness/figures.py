"""The figures of local ill-posedness: directions on images, and the derivatives along them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.ill_posedness.direction_pictures import (
    NETWORK,
    OPERATOR,
    READ_COLORS,
    direction_limit,
    show_direction,
    write_derivatives,
)
from invreg_analyses.ill_posedness.search import REGIONS, WHOLE
from invreg_analyses.ill_posedness.text import (
    derivatives_seen,
    directions_seen,
    operator_seen,
    part_name,
    pictures_seen,
    series_seen,
)
from invreg_analyses.shared.panels import label_rows, panels, shared_legend
from invreg_analyses.shared.pictures import busiest_region, frame, mark_region
from invreg_analyses.shared.style import ACCENT, INK, WIDTH, drawing, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_COLUMNS = 4
#: Side of the enlarged region as a share of the image's.
_ZOOM = 0.3


@dataclass(frozen=True)
class _Column:
    """Directions at one image, below each other.

    Attributes:
        title: above them.
        image: `[C, H, W]`.
        mask: `[H, W]`.
        directions: `[regions, C, H, W]`, NaN where there is none.
        values: the derivatives of the network and of the operator by region.
    """

    title: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    directions: NDArray[np.float32]
    values: Mapping[str, tuple[float, float]]


# -- of one run


def draw_directions(findings: Findings, label: str) -> Figure:
    """The first direction of a network on each image, on the whole image and restricted, with a region enlarged."""
    tables = findings.tables
    position = list(tables["networks"]["method"]).index(label)
    own = tables["directions"].query("method == @label and rank == 1")
    description = (
        f"{label}: the direction h in which the network's ‖∂ₕφ‖² exceeds the operator's ‖∂ₕF‖² most, on each image, "
        f"{READ_COLORS}; where there is colour, the network regularizes. Below each the framed region enlarged; one "
        f"scale for all. Seen here: {directions_seen(tables['directions'], label)}"
    )
    return _of_images(findings, findings.arrays["directions"][position], own, description)


def draw_operator(findings: Findings) -> Figure:
    """The direction in which the operator alone is smallest, drawn in the same way."""
    table = findings.tables["operator"]
    first = table[table["rank"] == 1].assign(
        kind=np.where(table[table["rank"] == 1]["map"] == "", "operator", "network")
    )
    values = first.pivot(index=["image", "region"], columns="kind", values="derivative").reset_index()
    description = (
        f"The operator alone: the direction h in which ‖∂ₕF‖ is smallest, on each image, {READ_COLORS}; what is added "
        f"to the image along h can hardly be seen in the data. Seen here: {operator_seen(table)}"
    )
    return _of_images(findings, findings.arrays["operator_directions"], values, description)


def draw_derivatives(findings: Findings, label: str) -> Figure:
    """Both derivatives along the leading directions, one panel per image; dashed for the restricted ones."""
    own = findings.tables["directions"].query("method == @label")
    description = (
        f"{label}: ‖∂ₕφ‖ of the network (red) and ‖∂ₕF‖ of the operator (blue) along the leading directions h, "
        f"orthogonal to each other{part_name(own)}; the wider the gap, the more the network regularizes. "
        f"Seen here: {derivatives_seen(own)}"
    )
    last = int(own["rank"].max())
    ticks = {rank: str(rank) for rank in range(1, last + 1, max(math.ceil(last / 8), 1))}
    return _panels(own, findings.tables["images"]["image"], "rank", ticks, "number of the direction", description)


# -- of a series of networks


def draw_series_derivatives(findings: Findings) -> Figure:
    """Both derivatives along the first direction over the networks of a series, one panel per image."""
    own = findings.tables["directions"]
    title, ticks = _common_title(own.groupby("position")["name"].first().to_dict())
    description = (
        f"{findings.text}: ‖∂ₕφ‖ of the network (red) and ‖∂ₕF‖ of the operator (blue) along the direction h in which "
        f"the network regularizes most{part_name(own)}; the higher the red line above the blue one, the stronger the "
        f"regularization. Seen here: {series_seen(own)}"
    )
    return _panels(own, findings.tables["images"]["image"], "position", ticks, title, description)


def draw_series_pictures(findings: Findings, index: int) -> Figure:
    """One image: the operator's own direction, then those of the networks; on the whole image, and restricted."""
    tables, arrays = findings.tables, findings.arrays
    name = str(tables["images"]["image"].iloc[index])
    own, alone = (tables[key][tables[key]["image"] == name] for key in ("directions", "operator"))
    # Along its own direction, only the derivative of the operator is known.
    values = [_by_region(alone.assign(network=math.nan, operator=alone["derivative"]))]
    values += [_by_region(own[own["position"] == position]) for position in range(len(tables["names"]))]
    limit = direction_limit(arrays["directions"])
    description = (
        f"{findings.text}, {name}: first the direction h in which the operator's ‖∂ₕF‖ is smallest, then those in "
        f"which each network exceeds it most, {READ_COLORS}, full from |h| = {number(limit)} on in all pictures of the "
        f"series. Seen here: {pictures_seen(own)}"
    )
    columns = [
        _Column(title, arrays["images"][index], arrays["masks"][index], h, own_values)
        for title, h, own_values in zip(
            ["operator alone", *tables["names"]["name"]], arrays["directions"][:, index], values, strict=True
        )
    ]
    return _grid(columns, len(columns), limit, description, zoom=False)


# -- their parts


def _of_images(findings: Findings, h: NDArray[np.float32], rows: pd.DataFrame, description: str) -> Figure:
    """One column per image, each direction `[I, regions, C, H, W]` with its busiest region enlarged."""
    names, images, masks = findings.tables["images"]["image"], findings.arrays["images"], findings.arrays["masks"]
    columns = [
        _Column(str(name), image, mask, directions, _by_region(rows[rows["image"] == name]))
        for name, image, mask, directions in zip(names, images, masks, h, strict=True)
    ]
    limit = direction_limit(h)
    return _grid(columns, _COLUMNS, limit, f"{description} Colours are full from |h| = {number(limit)} on.", zoom=True)


def _by_region(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    values = rows.reindex(columns=["region", "network", "operator"])
    return {row.region: (float(row.network), float(row.operator)) for row in values.itertuples()}


def _grid(columns: Sequence[_Column], most: int, limit: float, description: str, *, zoom: bool) -> Figure:
    """Rows for the regions, each with its enlarged part if asked for; `most` columns beside each other."""
    regions = [j for j in range(len(REGIONS)) if any(np.isfinite(column.directions[j]).any() for column in columns)]
    height, width = columns[0].image.shape[-2:]
    across, blocks, each = min(len(columns), most), math.ceil(len(columns) / most), 2 if zoom else 1
    cell = min(WIDTH / max(across, 3), 2.3 if zoom else 2.6)
    rows = each * len(regions)
    tall = blocks * (len(regions) * (each * cell * height / width + 0.27) + 0.33)
    with drawing():
        figure = new_figure(cell * across + 0.3, tall, description)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(rows * blocks, across, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for i, column in enumerate(columns):
            block, place = divmod(i, most)
            cells = grid[block * rows : (block + 1) * rows, place]
            for row, j in enumerate(regions):
                if np.isfinite(column.directions[j]).all():
                    _direction(cells[each * row : each * (row + 1)], column, REGIONS[j], limit, cell)
                    if place == 0:
                        cells[each * row].set_ylabel(REGIONS[j], fontsize=9, color=INK, labelpad=6)
            cells[0].set_title(shortened(column.title, 24), loc="center", fontsize=9.5)
    return figure


def _direction(cells: NDArray[np.object_], column: _Column, region: str, limit: float, width: float) -> None:
    """The whole picture, and in a second cell the part where most of h is."""
    image, h = column.image, column.directions[REGIONS.index(region)]
    show_direction(cells[0], image, h, limit, None if region == WHOLE else column.mask)
    if len(cells) > 1:
        sides = [max(round(_ZOOM * side), 1) for side in image.shape[-2:]]
        part = busiest_region(np.square(h.astype(np.float64)).sum(0), sides[0], sides[1])
        mark_region(cells[0], part)
        show_direction(cells[1], image, h, limit, None, part)
        frame(cells[1], ACCENT)
    network, operator = column.values.get(region, (math.nan, math.nan))
    write_derivatives(cells[-1], network, operator, fontsize=8.0 if width > 2 else 7.5)


def _panels(
    rows: pd.DataFrame, images: pd.Series, along: str, ticks: Mapping[Any, str], xlabel: str, description: str
) -> Figure:
    """Both derivatives over a column of the table, one panel per image."""
    names = [str(name) for name in images if name in set(rows["image"])]
    top = 1.06 * max(float(rows[["network", "operator"]].max().max()), 1e-12)
    count = max(len(names), 1)
    with panels(count, description, columns=_COLUMNS, width=3.1, height=2.2, margin=0.7, sharey=True) as (figure, grid):
        for axes, name in zip(grid, names, strict=False):
            _draw_pair(axes, rows[rows["image"] == name], along)
            axes.set_title(shortened(name, 24), fontsize=9.5)
            axes.set_xticks(list(ticks), list(ticks.values()))
            axes.margins(x=0.1)
            axes.set_ylim(0, top)
        for axes in grid[-_COLUMNS:]:  # the last one of each column
            axes.set_xlabel(xlabel)
        label_rows(grid, "derivative along h")
        if part_name(rows):
            grid[0].plot([], [], color=INK, linestyle="--", label="restricted")
        shared_legend(figure)
    return figure


def _draw_pair(axes: Axes, rows: pd.DataFrame, along: str) -> None:
    """The derivative of the network in red and that of the operator in blue, restricted ones dashed."""
    for region in REGIONS:
        own = rows[rows["region"] == region].sort_values(along)
        # Both are seen where they fall together, and markers at zero are whole.
        dashed: dict[str, Any] = {} if region == WHOLE else {"linestyle": "--", "markerfacecolor": "none"}
        look: dict[str, Any] = {"markersize": 4.5 if region == WHOLE else 6.5, "clip_on": False, **dashed}
        if len(own):
            axes.plot(own[along], own["network"], color=NETWORK, marker="o", label="‖∂ₕφ‖, network", **look)
            axes.plot(own[along], own["operator"], color=OPERATOR, marker="s", label="‖∂ₕF‖, operator", **look)


def _common_title(names: Mapping[int, str]) -> tuple[str, dict[int, str]]:
    """The common beginning of all names ("δ" of "δ = 0.01"), and the names without it."""
    heads = {name.partition(" = ")[0] if " = " in name else "" for name in names.values()}
    head = heads.pop() if len(heads) == 1 else ""
    return head, {i: shortened(name.partition(" = ")[2] if head else name, 12) for i, name in names.items()}
