"""The number of clusters: by the elbow, the gap statistic, and the gap statistic without logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invreg_analyses.saliency.clustering import equal_groups, fewer_is_fine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

_STARTS = 3


@dataclass(frozen=True)
class ClusterNumbers:
    """Statistics `[K]` of the numbers k = 1, 2, ..., K of clusters.

    Attributes:
        within: W_k, the sum of squared distances to the centres of k-means clusters.
        gap: mean of log W_k of reference data, minus log W_k.
        gap_error: s_k, (1 + 1 / references)^(1/2) times the standard deviation of log W_k of reference data.
        gap_star: mean of W_k of reference data minus W_k.
        gap_star_error: (1 + 1 / references)^(1/2) times the standard deviation of W_k of reference data.
    """

    within: Values
    gap: Values
    gap_error: Values
    gap_star: Values
    gap_star_error: Values

    @property
    def elbow(self) -> int:
        """Where W_k lies farthest below the line between its ends, both axes scaled to [0, 1]."""
        span = self.within[0] - self.within[-1]
        if len(self.within) < 3 or span <= 0:
            return 1
        line = np.linspace(1, 0, len(self.within))
        return int(np.argmax(line - (self.within - self.within[-1]) / span)) + 1

    @property
    def by_gap(self) -> int:
        """The smallest k with gap(k) >= gap(k + 1) - s_(k+1)."""
        return _first(self.gap, self.gap_error)

    @property
    def by_gap_star(self) -> int:
        """The same rule for the gap without logarithm."""
        return _first(self.gap_star, self.gap_star_error)


def cluster_numbers(vectors: Values, largest: int, references: int, seed: int) -> ClusterNumbers:
    """The statistics of vectors `[P, D]` for up to `largest` clusters.

    Reference data, `references` sets, are uniform in the box with the data that is aligned with their principal axes.
    Of vectors that are all the same, all statistics are zero.

    Source: Thorndike 1953 (elbow); Tibshirani, Walther & Hastie 2001 (gap, with the box aligned with principal axes);
        Mohajer, Englmeier & Schmid 2010 (gap*).
    """
    if not equal_groups(vectors).any():
        zeros = np.zeros(largest)
        return ClusterNumbers(zeros, zeros, zeros, zeros, zeros)
    rng = np.random.default_rng(seed)
    centered = vectors - vectors.mean(0)
    axes = np.linalg.svd(centered, full_matrices=False)[2]
    turned = centered @ axes.T
    within = _within(turned, largest, rng)
    low, high = turned.min(0), turned.max(0)
    others = np.stack([_within(rng.uniform(low, high, turned.shape), largest, rng) for _ in range(references)])
    widening = np.sqrt(1 + 1 / references)
    return ClusterNumbers(
        within=within,
        gap=np.log(others).mean(0) - np.log(within),
        gap_error=np.log(others).std(0) * widening,
        gap_star=others.mean(0) - within,
        gap_star_error=others.std(0) * widening,
    )


def _within(vectors: Values, largest: int, rng: np.random.Generator) -> Values:
    from sklearn.cluster import KMeans

    counts = range(1, largest + 1)
    with fewer_is_fine():
        found = [KMeans(k, n_init=_STARTS, random_state=int(rng.integers(2**32))).fit(vectors).inertia_ for k in counts]
    # A start that was unlucky must not make more clusters look worse; the logarithm needs something positive.
    return np.maximum(np.minimum.accumulate(found), 1e-12)


def _first(gap: Values, error: Values) -> int:
    good = np.nonzero(gap[:-1] >= gap[1:] - error[1:])[0]
    return int(good[0]) + 1 if len(good) else len(gap)
