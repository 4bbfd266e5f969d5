"""The figures of local ill-posedness: directions on images, and the derivatives along them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number
from invreg_analyses.ill_posedness.direction_pictures import (
    NETWORK,
    OPERATOR,
    READ_COLORS,
    direction_limit,
    legend_of_lines,
    name_row,
    show_direction,
    write_derivatives,
)
from invreg_analyses.ill_posedness.search import REGIONS, WHOLE
from invreg_analyses.ill_posedness.text import derivatives_seen, directions_seen, operator_seen, part_name
from invreg_analyses.shared.pictures import Region, busiest_region, frame, mark_region
from invreg_analyses.shared.style import ACCENT, WIDTH, drawing, dress, new_figure, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_COLUMNS = 4
#: Side of the enlarged region as a share of the image's.
_ZOOM = 0.3


def draw_directions(findings: Findings, label: str) -> Figure:
    """The first direction of a network on each image, on the whole image and restricted, with a region enlarged."""
    tables = findings.tables
    position = list(tables["networks"]["method"]).index(label)
    own = tables["directions"]
    own = own[(own["method"] == label) & (own["rank"] == 1)].set_index(["image", "region"])
    description = (
        f"{label}: the direction h in which the network's ‖∂ₕφ‖² exceeds the operator's ‖∂ₕF‖² most, on each image, "
        f"{READ_COLORS}; where there is colour, the network regularizes. Below each the framed region enlarged; one "
        f"scale for all. Seen here: {directions_seen(tables, label)}"
    )
    return _pictures(findings, findings.arrays["directions"][position], description, own[["network", "operator"]])


def draw_operator(findings: Findings) -> Figure:
    """The direction in which the operator alone is smallest, drawn in the same way."""
    import pandas as pd

    table = findings.tables["operator"]
    first = table[table["rank"] == 1]
    values = first.assign(kind=np.where(first["map"] == "", "operator", "network"))
    own = values.pivot(index=["image", "region"], columns="kind", values="derivative")
    own = own.reindex(columns=pd.Index(["network", "operator"]))
    description = (
        f"The operator alone: the direction h in which ‖∂ₕF‖ is smallest, on each image, {READ_COLORS}; what is added "
        f"to the image along h can hardly be seen in the data. Seen here: {operator_seen(table)}"
    )
    return _pictures(findings, findings.arrays["operator_directions"], description, own)


def _pictures(findings: Findings, directions: NDArray[np.float32], description: str, values: pd.DataFrame) -> Figure:
    """Rows for the regions, each with its enlarged part; columns for the images.

    Args:
        findings: images, masks and names.
        directions: `[I, regions, C, H, W]`.
        description: of the figure.
        values: derivatives `network` and `operator` by image and region.
    """
    arrays, names = findings.arrays, list(findings.tables["images"]["image"])
    regions = [region for j, region in enumerate(REGIONS) if np.isfinite(directions[:, j]).any()]
    height, width = arrays["images"].shape[-2:]
    columns, blocks = min(len(names), _COLUMNS), math.ceil(len(names) / _COLUMNS)
    cell = min(WIDTH / max(columns, 3), 2.3)
    tall = cell * height / width
    rows = 2 * len(regions)
    limit = direction_limit(directions)
    description = f"{description} Colours are full from |h| = {number(limit)} on."
    with drawing():
        figure = new_figure(cell * columns + 0.3, blocks * (len(regions) * (2 * tall + 0.27) + 0.3), description)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(rows * blocks, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for i, name in enumerate(names):
            block, column = divmod(i, _COLUMNS)
            for row, region in enumerate(regions):
                h = directions[i, REGIONS.index(region)]
                if np.isfinite(h).all():
                    cells = grid[block * rows + 2 * row : block * rows + 2 * row + 2, column]
                    mask = None if region == WHOLE else arrays["masks"][i]
                    _direction(cells, arrays["images"][i], h, limit, mask)
                    write_derivatives(cells[1], *(float(value) for value in values.loc[(name, region)]))
                    if column == 0:
                        name_row(cells[0], region)
            grid[block * rows, column].set_title(shortened(name, 24), loc="center", fontsize=9.5)
    return figure


def _direction(
    cells: NDArray[np.object_],
    image: NDArray[np.float32],
    h: NDArray[np.float32],
    limit: float,
    mask: NDArray[np.uint8] | None,
) -> None:
    """The whole picture, and below it the part where most of h is."""
    sides = [max(round(_ZOOM * side), 1) for side in image.shape[-2:]]
    region: Region = busiest_region(np.square(h.astype(np.float64)).sum(0), sides[0], sides[1])
    show_direction(cells[0], image, h, limit, mask)
    mark_region(cells[0], region)
    show_direction(cells[1], image, h, limit, None, region)
    frame(cells[1], ACCENT)


def draw_derivatives(findings: Findings, label: str) -> Figure:
    """Both derivatives along the leading directions, one panel per image; dashed for the restricted ones."""
    tables = findings.tables
    own = tables["directions"][tables["directions"]["method"] == label]
    names = [name for name in tables["images"]["image"] if name in set(own["image"])]
    has_part = bool((own["region"] != WHOLE).any())
    columns = min(len(names), _COLUMNS)
    lines = math.ceil(len(names) / columns)
    description = (
        f"{label}: ‖∂ₕφ‖ of the network (red) and ‖∂ₕF‖ of the operator (blue) along the leading directions h, "
        f"orthogonal to each other{part_name(has_part)}; the wider the gap, the more the network regularizes. "
        f"Seen here: {derivatives_seen(tables, label)}"
    )
    with drawing():
        figure = new_figure(min(WIDTH, 1.2 + 2.7 * columns), 0.7 + 2.2 * lines, description)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            dress(axes, grid="y")
            draw_pair(axes, own[own["image"] == name], "rank")
            axes.set_title(shortened(str(name), 24), fontsize=9.5)
            axes.set_xticks(_whole_numbers(int(own["rank"].max())))
        for axes in grid.flat[: len(names)]:
            axes.set_ylim(0, 1.06 * max(float(own[["network", "operator"]].max().max()), 1e-12))
        for column in range(columns):  # below the last panel of each column
            grid[(len(names) - 1 - column) // columns, column].set_xlabel("number of the direction")
        for axes in grid[:, 0]:
            axes.set_ylabel("derivative along h")
        legend_of_lines(figure, has_part)
    return figure


def draw_pair(axes: Axes, rows: pd.DataFrame, along: str) -> None:
    """The derivative of the network in red and that of the operator in blue, restricted ones dashed."""
    for region in REGIONS:
        own = rows[rows["region"] == region].sort_values(along)
        # Both are seen where they fall together, and markers at zero are whole.
        dashed: dict[str, Any] = {} if region == WHOLE else {"linestyle": "--", "markerfacecolor": "none"}
        look: dict[str, Any] = {"markersize": 4.5 if region == WHOLE else 6.5, "clip_on": False, **dashed}
        if len(own):
            axes.plot(own[along], own["network"], color=NETWORK, marker="o", **look)
            axes.plot(own[along], own["operator"], color=OPERATOR, marker="s", **look)


def _whole_numbers(last: int) -> list[int]:
    step = max(math.ceil(last / 8), 1)
    return list(range(1, last + 1, step))
