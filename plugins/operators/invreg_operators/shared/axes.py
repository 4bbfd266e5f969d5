"""Operators that act on each axis alone, as products with small matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def along_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Every image x `[..., H, W]`, or volume `[..., D, H, W]`, times one matrix on each axis, the first one first.

    For an image and matrices L `[H', H]` and R `[W', W]` that is L x Rᵀ. Physics keeps the precision of the images,
    also inside a network that runs under autocast.
    """
    *others, left, right = matrices
    with torch.autocast(x.device.type, enabled=False):
        y = left @ x @ right.mT
        for axis, matrix in enumerate(others, start=-len(matrices)):
            y = (matrix @ y.flatten(axis + 1)).unflatten(-1, y.shape[axis + 1 :])
        return y


def in_basis(x: Tensor, bases: Sequence[Tensor], factors: Tensor) -> Tensor:
    """The coefficients of x in orthonormal bases, one for each axis, a vector in each row, times factors.

    Args:
        x: `[..., H, W]`, or `[..., D, H, W]`.
        bases: one for each of these axes.
        factors: of the size of these axes.
    """
    return along_axes(along_axes(x, bases) * factors, [basis.mT for basis in bases])


def outer_product(values: Sequence[Tensor]) -> Tensor:
    """values[0][i] values[1][j] ..., with as many axes as there are vectors."""
    return reduce(lambda found, one: found[..., None] * one, values)


def outer_sum(values: Sequence[Tensor]) -> Tensor:
    """values[0][i] + values[1][j] + ..., with as many axes as there are vectors."""
    return reduce(lambda found, one: found[..., None] + one, values)
