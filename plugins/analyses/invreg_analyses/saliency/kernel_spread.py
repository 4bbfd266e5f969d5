"""How far a small kernel spreads: radius, weight of the centre, negative mass; with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invreg_analyses.shared.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: The measures that are compared, with their titles in figures.
SPREAD = {
    "radius": "effective radius, pixels",
    "reach": "reach (with |k|), pixels",
    "center": "weight of the centre",
    "negative": "negative mass",
}
#: The two kinds of pixels whose mean maps are compared, with their names in sentences.
AREAS = {"edges": "on edges", "smooth": "in smooth areas"}


def spread_of(kernels: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Measures of kernels k `[..., w, w]`, each `[...]`; r is the distance of a pixel from the centre of its window.

    - `radius`: (sum k² r² / sum k²)^(1/2), in pixels: 0 for a kernel that is its centre only;
    - `reach`: (sum |k| r² / sum |k|)^(1/2), in pixels: weak tails, which the radius hardly sees, count more;
    - `center`: k(0) / sum |k|, at most 1;
    - `negative`: sum of max(-k, 0) / sum |k|, in [0, 1]: 0 for a kernel that blurs, more for one that sharpens;
    - `value`: k(0); `sum`: sum of k, the response to a brighter window.

    The first four are NaN for a kernel that is zero.
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


@dataclass(frozen=True)
class AreaSpread:
    """The spread of mean maps `[M, I, 2, w, w]` of M maps on I images, in both areas.

    Intervals of means over the images have the given `confidence`, see `mean_interval`.
    """

    maps: Sequence[str]
    images: Sequence[str]
    kernels: NDArray[np.float32]
    confidence: float
    resamples: int
    key: int

    def values(self) -> pd.DataFrame:
        """One row for each map, image and area."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.maps, self.images, AREAS], names=["map", "image", "area"])
        measured = {measure: values.ravel() for measure, values in spread_of(self.kernels).items()}
        return pd.DataFrame(measured, index=index).reset_index()

    def means(self) -> pd.DataFrame:
        """One row for each map, area and measure: mean, low, high, images."""
        import pandas as pd

        measured = spread_of(self.kernels)
        return pd.DataFrame(
            {"map": name, "area": area, **self._interval("mean", measure, measured[measure][i, :, k])}
            for i, name in enumerate(self.maps)
            for k, area in enumerate(AREAS)
            for measure in SPREAD
        )

    def differences(self, pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
        """For pairs of positions of maps, the mean of second minus first, image by image, with its interval."""
        import pandas as pd

        measured = spread_of(self.kernels)
        return pd.DataFrame(
            {
                "start": self.maps[i],
                "end": self.maps[j],
                "area": area,
                **self._interval("difference", measure, measured[measure][j, :, k] - measured[measure][i, :, k]),
            }
            for i, j in pairs
            for k, area in enumerate(AREAS)
            for measure in SPREAD
        )

    def _interval(self, column: str, measure: str, values: NDArray[np.float64]) -> dict[str, float | str]:
        found = mean_interval(values, self.confidence, self.resamples, self.key)
        return {"measure": measure, column: found.mean, "low": found.low, "high": found.high, "images": found.count}
