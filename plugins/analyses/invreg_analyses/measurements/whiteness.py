"""How much neighbouring values of a residual have in common."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Lags of at most so many rows and columns.
_REACH = 3


def correlation(residual: Tensor) -> float:
    """Σ ρ² over all lags of at most three rows and columns, but for 0, ρ the autocorrelation of `[..., H, W]`.

    The mean of each plane is taken off, lags are cyclic, and ρ is the mean over all planes, 1 at lag 0. For white noise
    each ρ is about 1 / sqrt(n) in size.

    Returns:
        NaN for less than two axes of more than 2 * 3 values, and for a constant residual.
    """
    reach = range(-_REACH, _REACH + 1)
    if residual.ndim < 2 or min(residual.shape[-2:]) <= 2 * _REACH:
        return math.nan
    planes = residual.double().reshape(-1, *residual.shape[-2:])
    planes = planes - planes.mean((1, 2), keepdim=True)
    power = torch.fft.rfft2(planes).abs().square().sum(0)
    found = torch.fft.irfft2(power, s=planes.shape[-2:])
    if not found[0, 0] > 0:
        return math.nan
    shifts = [found[rows, columns] for rows in reach for columns in reach if (rows, columns) != (0, 0)]
    return float((torch.stack(shifts) / found[0, 0]).square().sum())
