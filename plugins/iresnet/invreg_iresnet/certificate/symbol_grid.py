"""Symbols of convolutions on grids of frequencies, for searches: they prove nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg_iresnet.norms.grid_norms import one_of_opposite


def grid_symbols(kernel: Tensor, points: int) -> Tensor:
    """K^(w) with the centre tap at the origin, for one of each two opposite frequencies of a grid, `[w, H, M]`.

    Args:
        kernel: `[H, M, k, k]`, or with three sides, float64 on the CPU, k odd.
        points: of the grid, per axis.
    """
    return symbols_at(kernel, grid_phases(kernel.shape[-1], points, kernel.ndim - 2))


def symbols_at(kernel: Tensor, phases: Tensor) -> Tensor:
    """K^(w) `[w, H, M]` from the phases of its taps."""
    return (phases @ kernel.flatten(2).flatten(0, 1).mT.to(torch.complex128)).unflatten(1, kernel.shape[:2])


def grid_phases(side: int, points: int, axes: int = 2, *, shifted: bool = False) -> Tensor:
    """exp(-i t.w) for the taps t of a kernel, counted from its centre, complex128 `[w, side^axes]`.

    Args:
        side: of the kernel, odd.
        points: of the grid, per axis.
        axes: how many.
        shifted: moves the grid by half a cell along all axes.
    """
    # In units of half a cell, so that whole turns are taken off in integers.
    w, turn = one_of_opposite(points, axes, shifted=shifted), 2 * points
    taps = torch.cartesian_prod(*axes * (torch.arange(side, device="cpu") - side // 2,))
    angles = -(w @ taps.mT % turn).double() * (math.pi / points)
    return torch.complex(angles.cos(), angles.sin())
