"""Operators that act on rows and columns alone, as two products with small matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def along_axes(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """left x rightᵀ for every image x `[..., H, W]`, with left `[H', H]` and right `[W', W]`.

    Physics keeps the precision of the images, also inside a network that runs under autocast.
    """
    with torch.autocast(x.device.type, enabled=False):
        return left @ x @ right.mT


def in_basis(x: Tensor, rows: Tensor, columns: Tensor, factors: Tensor) -> Tensor:
    """The coefficients of x `[..., H, W]` in two orthonormal bases, one vector in each row, times factors `[H, W]`."""
    return along_axes(rows.mT, along_axes(rows, x, columns) * factors, columns.mT)
