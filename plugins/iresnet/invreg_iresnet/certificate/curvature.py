"""Bounds of the second derivatives of a symbol along all lines at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invreg_iresnet.norms.certified_norm import rough_norm


def curvature(kernel: Tensor) -> float:
    """A bound of ||sum_kl d_k d_l D_k D_l F(w)|| for all w and |d_k| <= 1, with derivatives D_k of the symbol F.

    With D_v = sum_k v_k D_k, the kernel of D_u D_v F is that of F with its taps t weighted by (t.u) (t.v), up to a
    sign. Let n_v be a bound of the norm of D_v^2 F.

    Images: d is, up to signs and the order of the axes, a multiple of (1, t) with 0 <= t <= 1. As (t, t^2) is in the
    triangle of (0, 0), (1/2, 0) and (1, 1), D_1^2 + 2 t D_1 D_2 + t^2 D_2^2 is between D_1^2, D_1^2 + D_1 D_2 and
    (D_1 + D_2)^2, and 4 D_1 D_2 = (D_1 + D_2)^2 - (D_1 - D_2)^2.

    Volumes: up to signs and the order of the axes, d is a multiple of a point (1, s, t) with 0 <= t <= s <= 1, which is
    between u_1 = (1, 0, 0), u_2 = (1, 1, 0) and u_3 = (1, 1, 1). So the form is between the D_u D_v F for u and v among
    these. For u = v its norm is at most n_u, otherwise 2 D_u D_v = D_u^2 + D_v^2 - D_(v-u)^2, where v - u is a vector
    of the same kind again.

    Args:
        kernel: `[out, in, k, k]` or `[out, in, k, k, k]`, k odd.
    """
    if kernel.ndim == 4:
        return _of_images(kernel)
    norms = {v: _second_derivative(kernel, v) for v in _signs(3)}
    largest = max(norms.values())
    for u, v in itertools.permutations(norms, 2):
        for sign in (1, -1):  # vectors and their opposites have the same norm, and one of the two is here
            between = tuple(b - sign * a for a, b in zip(u, v, strict=True))
            if all(a == 0 or sign * a == b for a, b in zip(u, v, strict=True)):
                largest = max(largest, (norms[u] + norms[v] + norms[_with_positive_start(between)]) / 2)
    return largest


def _of_images(kernel: Tensor) -> float:
    rising, falling = _second_derivative(kernel, (1, 1)), _second_derivative(kernel, (1, -1))
    along = max(_second_derivative(kernel, (1, 0)), _second_derivative(kernel, (0, 1)))
    return max(rising, falling, along + (rising + falling) / 4)


def _second_derivative(kernel: Tensor, direction: Sequence[int]) -> float:
    """A bound of the norm of D_v^2 F for v = `direction`."""
    side, axes = kernel.shape[-1], kernel.ndim - 2
    places = torch.arange(side, dtype=torch.float64, device="cpu") - side // 2
    grids = torch.meshgrid(*axes * (places,), indexing="ij")
    along = sum((one * grid for one, grid in zip(direction, grids, strict=True)), torch.zeros_like(grids[0]))
    return rough_norm(along**2 * kernel)


def _signs(axes: int) -> list[tuple[int, ...]]:
    """All vectors of -1, 0 and 1 but 0, one of each two opposite ones."""
    every = list(itertools.product((-1, 0, 1), repeat=axes))
    return every[math.ceil(len(every) / 2) :]


def _with_positive_start(vector: Sequence[int]) -> tuple[int, ...]:
    """The vector or its opposite, whichever has a positive first number besides zeros."""
    first = next(one for one in vector if one)
    return tuple(first * one for one in vector)
