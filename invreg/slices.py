"""Volumes as pictures: three slices through their middle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Between the slices, as a share of the longest side.
_GAP = 1 / 32


def as_pictures(images: NDArray[Any], fill: float = 1.0) -> NDArray[Any]:
    """Images as they are, and of volumes their three middle slices, side by side as pictures.

    At the upper left stands the slice in the middle of the depth, `[H, W]`; below it, with the same columns, that in
    the middle of the height, `[D, W]`; and to the right, with the same rows, that in the middle of the width, `[H, D]`.

    Args:
        images: `[N, C, H, W]` or `[N, C, D, H, W]`.
        fill: what is between the slices, and in the empty corner; 1 is white. For bytes, times 255.

    Returns:
        `[N, C, H, W]`; for volumes `[N, C, H + gap + D, W + gap + D]`.
    """
    if images.ndim != 5:
        return images
    depth, height, width = images.shape[2:]
    gap = max(1, round(_GAP * max(depth, height, width)))
    size = (*images.shape[:2], height + gap + depth, width + gap + depth)
    pictures = np.full(size, fill * 255 if images.dtype == np.uint8 else fill, images.dtype)
    pictures[..., :height, :width] = images[:, :, depth // 2]
    pictures[..., height + gap :, :width] = images[:, :, :, height // 2]
    pictures[..., :height, width + gap :] = images[..., width // 2].swapaxes(-1, -2)
    return pictures
