"""How far a small kernel spreads: radius, weight of the centre, negative mass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The measures that are compared, with what they are in words.
SPREAD = {
    "radius": "effective radius",
    "reach": "reach",
    "center": "weight of the centre",
    "negative": "negative mass",
}


def spread_of(kernels: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Measures of kernels k `[..., w, w]`, each `[...]`; sums run over the pixels q of a window, r is their distance
    from its centre:

    - `radius`: (sum k² r² / sum k²)^(1/2), in pixels: 0 for a kernel that is its centre only;
    - `reach`: (sum |k| r² / sum |k|)^(1/2), in pixels: weak tails, which the radius hardly sees, count more;
    - `center`: k(0) / sum |k|, at most 1;
    - `negative`: sum of max(-k, 0) / sum |k|, in [0, 1]: 0 for a kernel that blurs, more for one that sharpens;
    - `value`: k(0); `sum`: sum of k, what the map makes of a brighter window.

    Measures of a kernel that is zero are NaN.
    """
    k = kernels.astype(np.float64)
    half = k.shape[-1] // 2
    offsets = np.arange(k.shape[-1]) - half
    squared = offsets[:, None] ** 2 + offsets**2
    axes = (-2, -1)
    total = np.abs(k).sum(axes)
    mass = np.where(total > 0, total, np.nan)
    return {
        "radius": np.sqrt((k**2 * squared).sum(axes) / np.where(total > 0, (k**2).sum(axes), np.nan)),
        "reach": np.sqrt((np.abs(k) * squared).sum(axes) / mass),
        "center": k[..., half, half] / mass,
        "negative": np.clip(-k, 0, None).sum(axes) / mass,
        "value": k[..., half, half],
        "sum": k.sum(axes),
    }


def normalised(kernels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Kernels `[..., w, w]` as vectors `[..., w * w]`, divided by their largest absolute value: signs are kept."""
    vectors = kernels.reshape(*kernels.shape[:-2], -1).astype(np.float64)
    largest = np.abs(vectors).max(-1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.where(largest > 0, largest, 1.0)
    return scaled
