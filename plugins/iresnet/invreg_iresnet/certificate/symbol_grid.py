"""Symbols of convolutions on grids of frequencies, for searches: they prove nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def grid_symbols(kernel: Tensor, points: int) -> Tensor:
    """K^(w) with the centre tap at the origin, for one of each two opposite frequencies of a grid, `[w, H, M]`.

    Args:
        kernel: `[H, M, k, k]`, float64 on the CPU, k odd.
        points: of the grid, per axis.
    """
    return symbols_at(kernel, grid_phases(kernel.shape[-1], points))


def symbols_at(kernel: Tensor, phases: Tensor) -> Tensor:
    """K^(w) `[w, H, M]` from the phases of its taps."""
    return (phases @ kernel.flatten(2).flatten(0, 1).mT.to(torch.complex128)).unflatten(1, kernel.shape[:2])


def grid_phases(side: int, points: int, *, shifted: bool = False) -> Tensor:
    """exp(-i t.w) for the taps t of a kernel, counted from its centre, complex128 `[w, side^2]`.

    Args:
        side: of the kernel, odd.
        points: of the grid, per axis.
        shifted: moves the grid by half a cell along both axes.
    """
    # In units of half a cell, so that whole turns are taken off in integers.
    axis, turn = 2 * torch.arange(points, device="cpu") + int(shifted), 2 * points
    w = torch.cartesian_prod(axis, axis)
    opposite = -w % turn
    w = w[w[:, 0] * turn + w[:, 1] <= opposite[:, 0] * turn + opposite[:, 1]]
    taps = torch.arange(side, device="cpu") - side // 2
    angles = -(w @ torch.cartesian_prod(taps, taps).mT % turn).double() * (math.pi / points)
    return torch.complex(angles.cos(), angles.sin())
