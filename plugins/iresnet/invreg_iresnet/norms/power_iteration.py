"""Power iteration for stacks of zero-padded convolutions: how the paper estimates their norms."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import ShapeError, SpecError
from invreg_iresnet.axes import per_image


def power_iteration(
    kernels: Tensor, vectors: Tensor, iterations: int = 1, padding: Literal["zeros"] = "zeros"
) -> tuple[Tensor, Tensor]:
    """Estimates the norm of each convolution of a stack by v <- K* K v / ||K* K v||, then ||K v||.

    The estimate is never above the norm of the convolution of images of this size, which itself is below that of larger
    images: **it bounds the norms from below and proves nothing**. A few iterations from a random start can miss a good
    part of a norm, also when they go on from step to step of a training. `certified_norm` proves bounds from above.

    Args:
        kernels: `[N, out, in, k, k]`, k odd; or with three sides, for volumes.
        vectors: `[N, in, H, W]`, or `[N, in, D, H, W]`, the images v to start from, of any length but not zero; in
            training those that the last call returned.
        iterations: how many; none for ||K v|| / ||v|| as it is.
        padding: `zeros`, the only one.

    Returns:
        The norms `[N]`, differentiable with respect to the kernels with v held fixed (at a maximiser this is the
        gradient of the norm), and the new v of length 1, without a gradient. A kernel of zeros has norm 0 and leaves
        its v as it is.

    Raises:
        ShapeError: if kernels and vectors do not fit, or the side of a kernel is even.
        SpecError: if iterations is negative, or padding unknown.

    Source: Arndt & Nickel 2024, section 4.1; Miyato et al. 2018 (warm starts).
    """
    if padding != "zeros":
        raise SpecError(f"{padding!r}", where="power_iteration.padding", expected="'zeros'")
    if iterations < 0:
        raise SpecError(f"{iterations}", where="power_iteration.iterations", expected="0 or more")
    if kernels.ndim not in (5, 6) or any(side % 2 == 0 for side in kernels.shape[3:]):
        raise ShapeError(
            f"kernels of shape {tuple(kernels.shape)}",
            where="power_iteration",
            expected="[N, out, in, k, k], k odd, or with three sides for volumes",
        )
    if vectors.ndim != kernels.ndim - 1 or vectors.shape[:2] != (kernels.shape[0], kernels.shape[2]):
        raise ShapeError(
            f"vectors of shape {tuple(vectors.shape)} for kernels of shape {tuple(kernels.shape)}",
            where="power_iteration",
            expected=f"[{kernels.shape[0]}, {kernels.shape[2]}, {'H, W' if kernels.ndim == 5 else 'D, H, W'}]",
        )
    fixed = kernels.detach()
    with torch.no_grad():
        vectors = _unit(vectors, vectors)
        for _ in range(iterations):
            vectors = _unit(_adjoint(fixed, _convolved(fixed, vectors)), vectors)
    return torch.linalg.vector_norm(_convolved(kernels, vectors).flatten(1), dim=1), vectors


def _convolved(kernels: Tensor, x: Tensor) -> Tensor:
    """K_i x_i for all i at once: subnetworks are the groups of one convolution of one image."""
    count, out, _, *sides = kernels.shape
    convolve = F.conv2d if kernels.ndim == 5 else F.conv3d
    padding = [side // 2 for side in sides]
    image = convolve(x.flatten(0, 1)[None], kernels.flatten(0, 1), padding=padding, groups=count)
    return image.view(count, out, *x.shape[2:])


def _adjoint(kernels: Tensor, y: Tensor) -> Tensor:
    """K_i* y_i for all i at once."""
    count, _, channels, *sides = kernels.shape
    transposed = F.conv_transpose2d if kernels.ndim == 5 else F.conv_transpose3d
    padding = [side // 2 for side in sides]
    image = transposed(y.flatten(0, 1)[None], kernels.flatten(0, 1), padding=padding, groups=count)
    return image.view(count, channels, *y.shape[2:])


def _unit(new: Tensor, old: Tensor) -> Tensor:
    """New vectors of length 1, and the old ones in place of those that vanish."""
    lengths = per_image(torch.linalg.vector_norm(new.flatten(1), dim=1), new)
    return torch.where(lengths > 0, new / lengths, old)
