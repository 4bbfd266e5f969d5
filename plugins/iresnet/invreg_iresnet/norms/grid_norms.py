"""Operator norms of stacks of convolutions, for every image size at once.

A zero-padded convolution with kernel K is a compression of the convolution on the whole lattice, whose norm is the
largest singular value of the symbol

    K^(w) = sum_t K_t exp(-i t.w),   maximised over the frequencies w in [0, 2 pi)^d, for images with d = 2 or 3 axes.

So this maximum bounds the norm on images of any size; on images of some 100 pixels it is less than a percent above it.
Over a grid of n frequencies per axis it is missed by no more than the factor cos(pi m / n)^-d with m = (k - 1)/2, for
n > 2m (Bernstein-Szego inequality).

Sources: Sedghi, Gupta & Long 2019 (norms by symbols); Pfister & Bresler 2018 (grid and continuum); Delattre et al. 2023
(repeated squaring of the Gram matrices).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

# The largest eigenvalue of a Gram matrix G is read off G^(2^7), as tr(G^(2^7) G) / tr(G^(2^7)): at most 0.3 % too
# small, for any spectrum. That suffices to choose the frequency; there, ten more squarings leave less than 1e-6.
_SQUARINGS_EVERYWHERE = 7
_SQUARINGS_AT_MAXIMUM = 10


def most_amplified_waves(kernels: Tensor, points: int, *, shifted: bool = False) -> Tensor:
    """For each convolution of a stack, the plane wave on the frequency grid that it amplifies most.

    Not differentiable: a norm is differentiated at its fixed maximiser, see `amplification`.

    Args:
        kernels: a stack of kernels, `[N, out, in, k, k]`, with one more k for volumes.
        points: grid points n per axis.
        shifted: moves the grid by half a cell along all axes.

    Returns:
        `[N, min(in, out) k^d, 2]`: the wave v exp(-i t.w), a unit vector v over channels times the taps t, as real and
        imaginary part. A kernel of zeros gives zeros.
    """
    kernels = _narrow_side_last(kernels.detach())
    size, axes = kernels.shape[-1], kernels.ndim - 3
    phases = torch.view_as_complex(_phases(points, size, axes, shifted, kernels.dtype, kernels.device))  # [w, t]
    symbols = _symbols(kernels, phases)  # [N, w, out, in]
    grams = symbols.mH @ symbols
    powers = _squared_often(grams, _SQUARINGS_EVERYWHERE)
    eigenvalues = (powers * grams.conj()).real.sum((-2, -1))
    stack = torch.arange(len(kernels), device=kernels.device)
    best = eigenvalues.argmax(1)
    projector = _squared_often(powers[stack, best], _SQUARINGS_AT_MAXIMUM)
    # The projector v v* on the top eigenvector has v, up to a factor, in each column; the longest is the safest.
    column = torch.linalg.vector_norm(projector, dim=-2).argmax(-1)
    v = projector[stack, :, column]
    v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(torch.finfo(kernels.dtype).tiny)
    waves = (v[:, :, None] * phases[best][:, None, :]).flatten(1)
    return torch.view_as_real(waves)


def amplification(kernels: Tensor, waves: Tensor) -> Tensor:
    """||K^(w) v|| for each convolution and its plane wave: the norm, if the wave is the most amplified one.

    Differentiable with respect to the kernels. As the wave is a maximiser, this is also the derivative of the norm
    (the envelope theorem): Re u* dK^(w) v with u = K^(w) v / ||K^(w) v||.

    Args:
        kernels: `[N, out, in, *taps]`.
        waves: what `most_amplified_waves` gave for these kernels.

    Returns:
        `[N]`.
    """
    rows = _narrow_side_last(kernels).flatten(2)
    return torch.linalg.vector_norm(rows @ waves, dim=(-2, -1))


def _narrow_side_last(kernels: Tensor) -> Tensor:
    """Swaps in- and output channels where that makes the Gram matrices smaller; the norms stay what they are."""
    return kernels.transpose(1, 2) if kernels.shape[1] < kernels.shape[2] else kernels


def _symbols(kernels: Tensor, phases: Tensor) -> Tensor:
    taps = kernels.flatten(3).flatten(1, 2).mT  # [N, t, out in]
    values = torch.complex(phases.real @ taps, phases.imag @ taps)
    return values.unflatten(2, kernels.shape[1:3])


def _squared_often(grams: Tensor, times: int) -> Tensor:
    """G^(2^times) with unit trace, for positive semidefinite G; zeros stay zeros."""
    powers = _unit_trace(grams)
    for _ in range(times):
        powers = _unit_trace(powers @ powers)
    return powers


def _unit_trace(matrices: Tensor) -> Tensor:
    trace = matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    return matrices / trace.clamp_min(torch.finfo(trace.dtype).tiny)[..., None, None]


def one_of_opposite(points: int, axes: int, *, shifted: bool) -> Tensor:
    """One of each two opposite frequencies w and -w of a grid, `[w, axes]`, in units of pi / points.

    Args:
        points: of the grid, per axis.
        axes: how many.
        shifted: moves the grid by half a cell along all axes.
    """
    # On the CPU also where another device is torch's default.
    turn = 2 * points
    w = torch.cartesian_prod(*axes * (2 * torch.arange(points, device="cpu") + int(shifted),))
    places = torch.tensor([turn**power for power in range(axes)][::-1], device="cpu")
    return w[w @ places <= -w % turn @ places]


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _phases(
    points: int, kernel_size: int, axes: int, shifted: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """exp(-i t.w) for taps t and the frequencies w of the grid, `[w, k^axes, 2]`.

    The symbol of a real kernel at -w is the conjugate of that at w: one of the two is enough.
    """
    # In units of pi / n, w and t.w are integers: all angles are exact up to their last rounding.
    w = one_of_opposite(points, axes, shifted=shifted)
    taps = torch.cartesian_prod(*axes * (torch.arange(kernel_size, device="cpu"),))
    angles = -(w @ taps.T % (2 * points)).double() * (math.pi / points)
    return torch.stack([angles.cos(), angles.sin()], -1).to(device, dtype)
