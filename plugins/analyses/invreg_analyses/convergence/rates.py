"""How fast something goes to zero: exponents by least squares on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rate:
    """The power law e = factor * h^exponent that fits best.

    Attributes:
        exponent: the slope; NaN if a value is not positive, or all h are equal.
        standard_error: of the exponent; NaN for two points, which any power law fits.
        factor: e at h = 1.
        points: number of points.
    """

    exponent: float
    standard_error: float
    factor: float
    points: int


def fit_rate(h: Sequence[float], e: Sequence[float]) -> Rate:
    """Fits log e = log factor + exponent * log h by least squares.

    The standard error is s / sqrt(sum (log h - mean)^2), with s^2 the sum of squared residuals over n - 2.

    Args:
        h: what goes to zero, positive.
        e: what should follow it, positive.
    """
    points = len(h)
    values = np.array([h, e], dtype=float)
    if points < 2 or not np.isfinite(values).all() or (values <= 0).any():
        return Rate(math.nan, math.nan, math.nan, points)
    x, y = np.log(values)
    spread = float(((x - x.mean()) ** 2).sum())
    if spread == 0:
        return Rate(math.nan, math.nan, math.nan, points)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() - slope * x.mean())
    error = math.nan
    if points > 2:
        error = math.sqrt(float(((y - intercept - slope * x) ** 2).sum()) / (points - 2) / spread)
    return Rate(slope, error, math.exp(intercept), points)
