"""A figure of pictures in columns: the picture with its title and numbers, a region enlarged, and the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invreg_analyses.shared.pictures import Region, color_scale, frame, mark_region, show_image, show_signed
from invreg_analyses.shared.style import ACCENT, WIDTH, drawing, new_figure, shortened

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_COLUMNS = 6


@dataclass(frozen=True)
class Column:
    """One picture.

    Attributes:
        title: stands above, in `color`.
        image: `[C, H, W]`.
        error: signed, of the same shape; None where there is nothing to compare with.
        lines: stand below the picture.
        is_best: sets them in bold.
        below: stands in place of the enlarged region, if it is given; then the picture may have another size.
    """

    title: str
    image: NDArray[np.float32]
    error: NDArray[np.float32] | None
    lines: tuple[str, ...]
    color: str
    is_best: bool = False
    below: NDArray[np.float32] | None = None


def draw_columns(
    columns: Sequence[Column], region: Region, limit: float, description: str, scale_title: str = "error"
) -> Figure:
    """The columns side by side, at most six, the rest below; errors from -limit to limit.

    The first column must not have an error: the scale stands in its place. It begins each row of columns, so that all
    others have it beside them.
    """
    first, *others = columns
    blocks = max(math.ceil(len(others) / (_COLUMNS - 1)), 1)
    beside = math.ceil(len(others) / blocks)
    per_block = beside + 1
    shown = [[first, *others[block * beside : (block + 1) * beside]] for block in range(blocks)]
    height, width = columns[0].image.shape[-2:]
    cell = min(WIDTH / max(per_block, 4), 2.4)
    lines = max(len(column.lines) for column in columns)
    with drawing():
        tall = blocks * (3 * cell * height / width + 0.36 + 0.16 * lines)
        figure = new_figure(cell * per_block, tall, description)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(3 * blocks, per_block, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for block, own in enumerate(shown):
            cells = grid[3 * block : 3 * block + 3]
            drawn = [_draw_column(cells[:, place], column, region, limit) for place, column in enumerate(own)]
            errors = [one for one in drawn if one is not None]
            if errors:
                color_scale(cells[2, 0], errors[-1], limit, scale_title)
    return figure


def _draw_column(cells: NDArray[np.object_], column: Column, region: Region, limit: float) -> AxesImage | None:
    picture, enlarged, error = cells
    show_image(picture, column.image)
    if column.below is None:
        mark_region(picture, region)
    picture.set_title(shortened(column.title, 20), loc="center", fontsize=9.5, pad=5, color=column.color)
    picture.set_xlabel(
        "\n".join(column.lines), fontsize=8, labelpad=4, fontweight="bold" if column.is_best else "normal"
    )
    if column.below is None:
        show_image(enlarged, column.image, region)
        frame(enlarged, ACCENT)
    else:
        show_image(enlarged, column.below)
    if column.error is None:
        return None
    error.set_axis_on()
    return show_signed(error, column.error, limit)
