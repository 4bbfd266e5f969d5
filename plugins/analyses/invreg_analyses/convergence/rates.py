"""Tables of convergence: means over the images, exponents by least squares on logarithmic axes, and trends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


#: Quantities that are averaged over the images, with a standard error.
ERRORS = (
    "inversion",
    "inversion_rmse",
    "error",
    "error_rmse",
    "amplified",
    "noise",
    "data_error",
    "data_term",
    "nominal_term",
    "total",
)
MISFITS = ("misfit", "misfit_rmse")
KEY = ["operator", "method", "noise_std", "lipschitz"]


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
        h: the quantity that goes to zero, positive.
        e: the quantity that depends on it, positive.
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


def mean_table(values: pd.DataFrame) -> pd.DataFrame:
    """Means over the images with their standard errors; NaN for a single image."""
    import pandas as pd

    rows = []
    for key, group in values.groupby(KEY, sort=False):
        row = dict(zip(KEY, key, strict=True)) | {"images": len(group), "exceeds": int(group["exceeds"].sum())}
        for name in (*ERRORS, *MISFITS):
            row[name] = group[name].mean()
            row[f"{name}_se"] = group[name].std(ddof=1) / math.sqrt(len(group))
        rows.append(row)
    return pd.DataFrame(rows)


def rate_table(means: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The exponents of both quantities for each network, and how many single images have one above 1."""
    import pandas as pd

    rows = []
    for (operator, method), group in means.groupby(["operator", "method"], sort=False):
        own = values[(values["operator"] == operator) & (values["method"] == method)]
        for quantity in ("misfit", "inversion"):
            rate = fit_rate(1 - group["lipschitz"], group[quantity])
            single = [fit_rate(1 - one["lipschitz"], one[quantity]).exponent for _, one in own.groupby("image")]
            rows.append(
                {
                    "operator": operator,
                    "method": method,
                    "quantity": quantity,
                    "space": group["space"].iloc[0] if quantity == "misfit" else "X",
                    **asdict(rate),
                    "verdict": _verdict(rate) if quantity == "misfit" else "",
                    "images": len(single),
                    "images_above_1": sum(exponent > 1 for exponent in single),
                }
            )
    return pd.DataFrame(rows)


def trend_table(means: pd.DataFrame) -> pd.DataFrame:
    """Whether the mean errors, and the term Lip * data_error of the bound, fall at every step, for each network."""
    import pandas as pd

    rows = []
    for (operator, method), group in means.groupby(["operator", "method"], sort=False):
        found = {name: falls(group[name]) for name in ("inversion", "error", "data_term")}
        rows.append({"operator": operator, "method": method, **found})
    return pd.DataFrame(rows)


def falls(values: pd.Series) -> bool:
    """Whether each value is below the one before, by more than rounding."""
    return bool((values.pct_change().iloc[1:] < -1e-9).all())


def _verdict(rate: Rate) -> str:
    """Whether p > 1, as (2.4) needs."""
    if math.isnan(rate.exponent):
        return "not decided"
    doubt = 0.0 if math.isnan(rate.standard_error) else rate.standard_error
    if abs(rate.exponent - 1) <= doubt:
        return "not decided"
    return "seen" if rate.exponent > 1 else "not seen"
