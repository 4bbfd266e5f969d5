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
    """Fits log e = log factor + exponent * log h by least squares, `numpy.polyfit`.

    Args:
        h: what goes to zero, positive.
        e: what should follow it, positive.
    """
    points = len(h)
    values = np.array([h, e], dtype=float)
    if points < 2 or not np.isfinite(values).all() or (values <= 0).any() or len(set(values[0])) == 1:
        return Rate(math.nan, math.nan, math.nan, points)
    x, y = np.log(values)
    if points == 2:
        (slope, intercept), error = np.polyfit(x, y, 1), math.nan
    else:
        # Not scipy.stats.linregress, whose error comes from 1 - r^2: a difference of nearly equal numbers here.
        (slope, intercept), covariance = np.polyfit(x, y, 1, cov=True)
        error = math.sqrt(covariance[0, 0])
    return Rate(float(slope), error, math.exp(intercept), points)
