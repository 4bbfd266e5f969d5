"""Means over images with confidence intervals, and the choice of representative images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Parameters of analyses with confidence intervals.
Confidence = Annotated[float, Field(ge=0.5, lt=1, description="probability that the intervals contain the true mean")]
Resamples = Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")]

_ROWS_AT_ONCE = 1000
#: Below so many values, intervals come from a distribution and not from the values themselves.
_FEW = 8


@dataclass(frozen=True)
class MeanInterval:
    """The mean of some values with a confidence interval.

    Attributes:
        mean: the mean of the finite values; NaN if there is none.
        std: their standard deviation (n - 1 in the denominator); NaN for a single value.
        low: lower end of the interval of the mean; NaN for a single value.
        high: upper end.
        count: number of finite values.
        missing: number of values that are NaN or infinite, and left out.
    """

    mean: float
    std: float
    low: float
    high: float
    count: int
    missing: int

    def row(self, mean: str = "mean") -> dict[str, float | int]:
        """Columns of a table: the mean under the given name, std, low, high, images and missing."""
        ends = {"std": self.std, "low": self.low, "high": self.high}
        return {mean: self.mean, **ends, "images": self.count, "missing": self.missing}


def mean_interval(values: NDArray[np.float64], confidence: float, resamples: int, key: int) -> MeanInterval:
    """Mean and confidence interval of the mean.

    Of fewer than eight values it is Student's, mean ± t s/√n: a bootstrap never leaves the range of the values, in
    which the true mean lies in half of all cases only if there are two.

    Otherwise the values are drawn again with replacement, `resamples` times; the interval lies between two quantiles of
    the means. The plain percentile interval is too narrow for few values, so the quantiles are moved outwards to
    Φ(±√(n/(n-1)) t), with t the quantile of Student's distribution with n-1 degrees of freedom.

    Args:
        values: one per image.
        confidence: probability that the interval contains the true mean, in (0, 1).
        resamples: number of bootstrap samples.
        key: seed of the bootstrap.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69,
    section 5.3 (expanded percentile interval).
    """
    finite = values[np.isfinite(values)]
    count, missing = len(finite), len(values) - len(finite)
    if count == 0:
        return MeanInterval(math.nan, math.nan, math.nan, math.nan, 0, missing)
    if count == 1:
        return MeanInterval(float(finite[0]), math.nan, math.nan, math.nan, 1, missing)
    # Rounding must push neither the mean of equal values off them, nor the interval off the mean.
    center = float(np.clip(finite.mean(), finite.min(), finite.max()))
    std = float(finite.std(ddof=1)) if finite.min() < finite.max() else 0.0
    if count < _FEW:
        half = _student(count, confidence) * std / math.sqrt(count)
        return MeanInterval(center, std, center - half, center + half, count, missing)
    means = center + _bootstrap_means(finite - center, resamples, key)
    low, high = np.quantile(means, _expanded_quantiles(count, confidence))
    return MeanInterval(center, std, float(low), float(high), count, missing)


def _bootstrap_means(values: NDArray[np.float64], resamples: int, key: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(key)
    blocks = []
    for start in range(0, resamples, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, resamples - start)
        blocks.append(values[rng.integers(0, len(values), (rows, len(values)))].mean(axis=1))
    return np.concatenate(blocks)


def _expanded_quantiles(count: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import norm

    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * _student(count, confidence)))
    return tail, 1 - tail


def _student(count: int, confidence: float) -> float:
    from scipy.stats import t

    return float(-t.ppf((1 - confidence) / 2, count - 1))


def spread_choice(goodness: NDArray[Any], count: int) -> list[int]:
    """Positions of `count` values spread evenly over the ranks, from the least to the greatest; NaN counts as least."""
    order = np.argsort(np.where(np.isnan(goodness), -np.inf, goodness), kind="stable")
    if count >= len(order):
        return [int(i) for i in order]
    if count == 1:
        return [int(order[len(order) // 2])]
    return [int(order[round(i * (len(order) - 1) / (count - 1))]) for i in range(count)]
