"""Symbols of convolutions on grids of frequencies, for searches: they prove nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def grid_symbols(kernel: Tensor, points: int) -> Tensor:
    """K^(w) with the centre tap at the origin, for one of each two opposite frequencies of a grid, `[w, H, M]`.

    Args:
        kernel: `[H, M, k, k]`, float64 on the CPU, k odd.
        points: of the grid, per axis.
    """
    return next(grid_symbol_chunks(kernel, points, points**2))


def grid_symbol_chunks(kernel: Tensor, points: int, size: int) -> Iterator[Tensor]:
    """The same in chunks of so many frequencies."""
    axis = torch.arange(points, device="cpu")
    w = torch.cartesian_prod(axis, axis)
    opposite = -w % points
    w = w[w[:, 0] * points + w[:, 1] <= opposite[:, 0] * points + opposite[:, 1]]
    taps = torch.arange(kernel.shape[-1], device="cpu") - kernel.shape[-1] // 2
    matrices = kernel.flatten(2).flatten(0, 1).mT.to(torch.complex128)
    for some in w.split(size):
        angles = -(some @ torch.cartesian_prod(taps, taps).mT % points).double() * (2 * math.pi / points)
        phases = torch.complex(angles.cos(), angles.sin())
        yield (phases @ matrices).unflatten(1, kernel.shape[:2])
