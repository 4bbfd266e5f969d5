"""Figures of measurements without truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg.text import number, plural
from invreg_analyses.shared.panels import panels
from invreg_analyses.shared.picture_columns import Column, draw_columns
from invreg_analyses.shared.pictures import Region, busiest_region, roughness, signed_limit
from invreg_analyses.shared.strips import draw_points, name_rows
from invreg_analyses.shared.style import MUTED, WIDTH, method_styles, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_residuals(findings: Findings) -> Figure:
    """The size of residuals beside that of the noise, and how rare noise is that is as correlated."""
    table, styles = findings.tables["measurements"], method_styles(findings.tables["methods"])
    labels = list(dict.fromkeys(table["method"]))
    size = {label: own["residual"] / own["expected"] for label, own in table.groupby("method")}
    is_relative = any(np.isfinite(values).any() for values in size.values())
    if not is_relative:
        size = {label: own["residual"] for label, own in table.groupby("method")}
    p = {label: own["p"] for label, own in table.groupby("method")}
    has_p = any(np.isfinite(values).any() for values in p.values())
    description = (
        f"{plural(int(findings.scalars['files']), 'measurement')} without truth, one point each. Left: the residual, "
        f"{'relative to that of noise alone (1)' if is_relative else 'as a root mean square'}."
        + (" Right: the share of noise that is at least as correlated as the residual." if has_p else "")
    )
    with panels(1 + has_p, description, width=WIDTH, height=0.5 * len(labels), margin=0.9, grid="x") as (figure, grid):
        titles = ("residual / that of noise" if is_relative else "residual", "share of noise as correlated (p)")
        for axes, values, title in zip(grid, (size, p), titles, strict=False):
            axes.spines["left"].set_visible(False)
            for row, label in enumerate(labels):
                draw_points(axes, row, values[label].to_numpy(dtype=float), styles[label])
            name_rows(axes, labels, [int((~np.isfinite(values[label])).sum()) for label in labels])
            axes.margins(x=0.05)
            axes.set_xlim(left=0)
            axes.set_xlabel(title)
        if is_relative:
            grid[0].axvline(1, color=MUTED, linewidth=1, zorder=0)
            grid[0].set_xlim(right=max(grid[0].get_xlim()[1], 1.05))
        if has_p:
            grid[1].set_xlim(0, 1.03)
    return figure


def draw_measurement(findings: Findings, index: int) -> Figure:
    """A measurement and its reconstructions, with the residuals on one scale."""
    table, arrays = findings.tables["measurements"], findings.arrays
    styles = method_styles(findings.tables["methods"])
    images, z = arrays[f"images_{index}"], arrays.get(f"measurement_{index}")
    residuals = arrays.get(f"residuals_{index}")
    name = list(dict.fromkeys(table["file"]))[index]
    own = table[table["file"] == name]
    columns = [] if z is None else [Column("z", z, None, (shortened(str(name), 22),), MUTED)]
    for position, row in enumerate(own.itertuples()):
        lines = [f"residual {number(row.residual)}"] if np.isfinite(row.residual) else []
        lines += [f"within {number(row.distance)}, proven"] if np.isfinite(row.distance) else []
        error = None if residuals is None or z is None else residuals[position]
        columns.append(Column(str(row.method), images[position], error, tuple(lines), styles[str(row.method)].color))
    sides = [max(round(0.3 * side), 1) for side in images.shape[-2:]]
    region: Region = busiest_region(roughness(images.astype(float)).sum((0, 1)), sides[0], sides[1])
    what = ", and its residual F(x) − z, on one scale" if residuals is not None and z is not None else ""
    description = f"{name}: the measurement z and each reconstruction, the framed region enlarged{what}"
    limit = 1.0 if residuals is None else signed_limit(residuals)
    return draw_columns(columns, region, limit, description, "F(x) − z")
