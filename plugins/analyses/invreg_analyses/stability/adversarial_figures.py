"""Figures of attacks: quality and growth of the error over the size of the perturbation, and an attacked image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Findings
from invreg.text import number, with_unit
from invreg_analyses.shared.panels import log_axis, panels, shared_legend
from invreg_analyses.shared.pictures import color_scale, show_image, show_signed, signed_limit
from invreg_analyses.shared.style import INK, MUTED, WIDTH, drawing, method_styles, new_figure, shortened
from invreg_analyses.stability.figures import as_images

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Share of the height below the lines of attacks in which proven lines may still be seen.
_BELOW = 0.45
_TITLES = ("d, / rms(d)", "R(z)", "R(z + d)", "R(z + d) − R(z)")


def draw_over_size(findings: Findings) -> Figure:
    """Left the mean PSNR, right how much the error has grown per ‖d‖; proven lines where there are some."""
    means, values = findings.tables["means"], findings.tables["values"]
    styles = method_styles(findings.tables["methods"])
    description = (
        "Mean PSNR over the size of a perturbation d that is made to harm (lines) and of random noise (dotted), and "
        "the growth of the error, (‖R(z + d) − x‖ − ‖R(z) − x‖) / ‖d‖, mean over the images. Dashed: proven, "
        "not to be passed; the norm of d is in norms of the noise"
    )
    with panels(2, description, columns=2, width=WIDTH / 2, height=3.2, margin=0.5) as (figure, (left, right)):
        growth = _growth(values)
        for label, style in styles.items():
            own = means[means["method"] == label].sort_values("radius")
            if own.empty:
                continue
            look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 4.5}
            left.plot(own["radius"], own["psnr"], label=shortened(label, 20), **look)
            left.plot(own["radius"], own["psnr_random"], color=style.color, linestyle=":", linewidth=1.2)
            grown = growth[growth["method"] == label]
            grown = grown[grown["growth"] > 0]
            right.plot(grown["radius"], grown["growth"], **look)
        ends = means[["psnr", "psnr_random"]].to_numpy(float)
        low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
        room = high - low or 1.0
        for row in findings.tables["summary"].itertuples():
            own = means[means["method"] == row.method].sort_values("radius")
            if math.isfinite(row.proven) and len(own):
                dashed: dict[str, Any] = {"color": styles[str(row.method)].color, "linestyle": "--", "linewidth": 1.4}
                left.plot(own["radius"], own["psnr_proven"], **dashed)
                right.axhline(row.proven, **dashed)
        shown = means["psnr_proven"].min() if means["psnr_proven"].notna().any() else low
        left.set_ylim(max(min(low, shown), low - _BELOW * room) - 0.04 * room, high + 0.04 * room)
        left.set_title("PSNR, dB")
        right.set_title("growth of the error per ‖d‖")
        log_axis(right, "y")
        for axes in (left, right):
            axes.set_xlabel("‖d‖, in norms of the noise")
        kinds: dict[Any, str] = {"-": "made to harm", ":": "random noise"}
        if findings.tables["summary"]["proven"].notna().any():
            kinds["--"] = "proven"
        for line, name in kinds.items():
            left.plot([], [], color=MUTED, linestyle=line, label=name)
        shared_legend(figure)
    return figure


def _growth(values: pd.DataFrame) -> pd.DataFrame:
    """Mean of (error - error without perturbation) / size by method and radius."""
    clean = values[values["radius"] == 0].set_index(["method", "image"])["error"]
    hit = values[values["radius"] > 0]
    before = clean.reindex(list(zip(hit["method"], hit["image"], strict=True))).to_numpy(float)
    hit = hit.assign(growth=(hit["error"] - before) / hit["size"])
    return hit.groupby(["method", "radius"], sort=False)["growth"].mean().reset_index()


def draw_attacked(findings: Findings) -> Figure:
    """One row per method: a perturbation of one size, the reconstruction without and with it, and the difference."""
    summary, values = findings.tables["summary"], findings.tables["values"]
    summary = summary[summary["pictured"].astype(bool)]
    radius, image = findings.scalars["pictured_radius"], findings.scalars["pictured_image"]
    styles = method_styles(findings.tables["methods"])
    d, x, y = (as_images(findings.arrays[name]) for name in ("perturbation", "reconstruction", "attacked"))
    unit = np.sqrt(np.square(d.astype(float)).mean((1, 2, 3), keepdims=True))
    relative = (d / np.where(unit > 0, unit, 1)).astype(np.float32)
    limits = signed_limit(relative), signed_limit(y - x)
    description = (
        f"{image} with perturbations of at most {number(float(radius))} times the norm of the noise, made to harm each "
        "method: the perturbation, the reconstruction without and with it, and what it has changed"
    )
    cell = 2.1
    heights = [cell * max(d.shape[2] / d.shape[3], x.shape[2] / x.shape[3], 0.2) + 0.3] * len(summary)
    with drawing():
        figure = new_figure(WIDTH, sum(heights) + 0.8, description)
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04, wspace=0.01, hspace=0.01)
        grid = figure.subplots(len(summary) + 1, 4, squeeze=False, height_ratios=[*heights, 0.5])
        for i, row in enumerate(summary.itertuples()):
            signed = show_signed(grid[i, 0], relative[i], limits[0]), show_signed(grid[i, 3], y[i] - x[i], limits[1])
            own = values[(values["method"] == row.method) & (values["image"] == image)].set_index("radius")
            for axes, pixels, at in ((grid[i, 1], x[i], 0.0), (grid[i, 2], y[i], radius)):
                show_image(axes, pixels)
                axes.set_xlabel(f"PSNR {with_unit(number(float(own.loc[at, 'psnr']), 'dB'), 'dB')}", fontsize=8.5)
            _name(grid[i, 0], str(row.method), styles[str(row.method)].color, bool(row.gradient))
        for axes, title in zip(grid[0], _TITLES, strict=True):
            axes.set_title(title, loc="center", fontsize=9.5, fontweight="normal")
        for axes in grid[-1]:
            axes.set_axis_off()
        for column, drawn, limit in zip((0, 3), signed, limits, strict=True):
            color_scale(grid[-1, column], drawn, limit, place=(0.5, 0.3))
    return figure


def _name(axes: Axes, label: str, color: str, gradient: bool) -> None:
    axes.set_ylabel(
        "" if gradient else "\n\nwithout gradients", rotation=0, ha="right", va="center", fontsize=8, color=INK
    )
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "center"}
    axes.annotate(shortened(label, 20), (0, 0.5), xytext=(-9, 8), color=color, fontsize=9.5, fontweight="bold", **place)
