"""Directions in colour on grey images, and the derivatives along them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg.text import number
from invreg_analyses.shared.pictures import Region, show_image
from invreg_analyses.shared.style import ACCENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

#: In all figures: the network red, the operator blue, as in the paper.
NETWORK, OPERATOR = "#c1272d", "#0b5fa5"
#: Signs of a direction: colours that no grey image has, and that people with any kind of colour vision tell apart.
POSITIVE, NEGATIVE = "#e8590c", "#1c7ed6"
#: The meaning of colours, for captions.
READ_COLORS = "orange where h is positive, blue where it is negative, the fuller the larger"


def show_direction(
    axes: Axes,
    image: NDArray[np.float32],
    h: NDArray[np.float32],
    limit: float,
    mask: NDArray[np.uint8] | None = None,
    region: Region | None = None,
) -> None:
    """A direction `[C, H, W]` in colour on the image in grey, with the outline of the mask.

    Args:
        axes: where.
        image: `[C, H, W]`.
        h: the direction; of several channels, their norm with the sign of their sum.
        limit: |h| from which colours are full. Below, they fade like the square root: large values do not hide small
            ones.
        mask: `[H, W]`, outlined; None for none.
        region: only this part is shown.
    """
    from matplotlib.colors import to_rgb

    show_image(axes, image.mean(0, keepdims=True), region)
    signed = np.sign(h.sum(0)) * np.sqrt(np.square(h.astype(np.float64)).sum(0))
    if region is not None:
        top, left, height, width = region
        signed = signed[top : top + height, left : left + width]
        mask = None if mask is None else mask[top : top + height, left : left + width]
    layer = np.empty((*signed.shape, 4))
    layer[..., :3] = np.where(signed[..., None] > 0, to_rgb(POSITIVE), to_rgb(NEGATIVE))
    layer[..., 3] = np.sqrt(np.clip(np.abs(signed) / limit, 0, 1))
    axes.imshow(layer, interpolation="none")
    if mask is not None and mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[ACCENT], linewidths=0.9)


def direction_limit(directions: NDArray[np.float32], share: float = 0.995) -> float:
    """The value from which colours are full: all but a share of 1 - `share` of the pixels of all pictures lie below.

    It is a twentieth of the largest value at least: where a direction is a few pixels, the rest is rounding errors.
    """
    finite = directions[np.isfinite(directions)]
    sizes = np.abs(finite[finite != 0])
    if not sizes.size:
        return 1.0
    return max(float(np.quantile(sizes, share)), 0.05 * float(sizes.max()), 1e-12)


def write_derivatives(axes: Axes, network: float, operator: float, fontsize: float = 8.0) -> None:
    """Both derivatives below a picture, each in its colour; NaN is left out."""
    lines = (("‖∂ₕφ‖", network, NETWORK), ("‖∂ₕF‖", operator, OPERATOR))
    shown = [line for line in lines if np.isfinite(line[1])]
    for i, (name, value, color) in enumerate(shown):
        axes.text(
            (i + 0.5) / len(shown),
            -0.03,
            f"{name} {number(value)}",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=fontsize,
            color=color,
        )
