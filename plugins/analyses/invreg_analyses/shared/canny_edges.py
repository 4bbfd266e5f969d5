"""Edges of images: none, weak or strong at every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

NO_EDGE, WEAK, STRONG = 0, 1, 2

#: Standard deviation of the Gaussian before the gradient, in pixels; and the thresholds of the hysteresis, on the scale
#: of Sobel sums of images in [0, 1]: scikit-image's own. A step by 0.08 is found, one by 0.04 only if it continues one.
_SIGMA, _LOW, _HIGH = 1.0, 0.1, 0.2
#: An edge is strong above this share of the largest gradient magnitude that is left after thinning.
_STRONG = 0.2


def find_edges(image: Tensor) -> NDArray[np.uint8]:
    """Canny edges of an image `[C, H, W]` (the mean over its channels), one pixel wide.

    An edge pixel is strong if the gradient magnitude there (Sobel, after smoothing) exceeds 20 % of the largest of the
    image; other edge pixels are weak. The outermost rows and columns have no edges.

    Returns:
        `[H, W]` of `NO_EDGE`, `WEAK` and `STRONG`.

    Source: Canny 1986; strong edges as in Arndt & Nickel 2024, section 4.3.2.
    """
    from scipy.ndimage import gaussian_filter, sobel
    from skimage.feature import canny

    grey = image.double().mean(0).cpu().numpy()
    # Reflected at the border: with zeros outside, every image would have a frame of edges.
    edges = canny(grey, sigma=_SIGMA, low_threshold=_LOW, high_threshold=_HIGH, mode="reflect")
    found: NDArray[np.uint8] = edges.astype(np.uint8) * WEAK
    if edges.any():
        smooth = gaussian_filter(grey, _SIGMA, mode="reflect")
        magnitude = np.hypot(sobel(smooth, 0), sobel(smooth, 1))
        # The largest magnitude along an edge survives the thinning, so that of the edges is that of the image.
        found[edges & (magnitude > _STRONG * magnitude[edges].max())] = STRONG
    return found


def smooth_areas(edges: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels at least two rows or columns away from every edge pixel: those off the edges, dilated by 3x3."""
    from scipy.ndimage import binary_dilation

    away: NDArray[np.bool_] = ~binary_dilation(edges != NO_EDGE, np.ones((3, 3), dtype=bool))
    return away


def inner(shape: tuple[int, int], window: int) -> NDArray[np.bool_]:
    """Pixels whose window lies inside the image."""
    half = window // 2
    mask = np.zeros(shape, dtype=bool)
    mask[half : shape[0] - half, half : shape[1] - half] = True
    return mask
