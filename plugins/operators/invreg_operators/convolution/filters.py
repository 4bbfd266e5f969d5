"""Filtering with a small kernel, one shifted image per entry of the kernel.

Only multiplications and additions of images: on a CPU that beats PyTorch's convolutions for images with few
channels, and on a GPU it keeps full precision where convolutions would fall back to TF32 or follow autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invreg_operators.shared.boundary import Boundary, fold, pad

#: Rows of a two-dimensional kernel, both numbers of entries odd.
Kernel = Sequence[Sequence[float]]


def radii(kernel: Kernel) -> tuple[int, int]:
    """How far the kernel reaches from its centre, in rows and in columns."""
    return len(kernel) // 2, len(kernel[0]) // 2


def flip(kernel: Kernel) -> Kernel:
    """The kernel mirrored at its centre."""
    return [row[::-1] for row in kernel[::-1]]


def correlate(x: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """y[i, j] = sum over a, b of kernel[a][b] x[i + a - r, j + b - s], with radii (r, s) and x `[..., H, W]`."""
    return _correlate_inside(pad(x, radii(kernel), boundary), kernel)


def correlate_adjoint(y: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """The exact adjoint of `correlate`, for y `[..., H, W]`."""
    r, s = radii(kernel)
    return fold(_correlate_inside(pad(y, (2 * r, 2 * s), "zero"), flip(kernel)), (r, s), boundary)


def in_frequencies(x: Tensor, apply: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor]) -> Tensor:
    """f(A*A) x for a circular convolution A, which Fourier transforms make diagonal; x `[B, C, H, W]`.

    Args:
        x: the images.
        apply: A.
        function: f, value by value.
    """
    size = (x.shape[-2], x.shape[-1])
    point = x.new_zeros((1, 1, *size))
    point[..., 0, 0] = 1
    with torch.autocast(x.device.type, enabled=False):
        factors = function(torch.fft.rfft2(apply(point)).abs() ** 2)
        return torch.fft.irfft2(torch.fft.rfft2(x) * factors, s=size)


def _correlate_inside(x: Tensor, kernel: Kernel) -> Tensor:
    """The part of the correlation in which the kernel lies inside x; loses twice the radius on each axis."""
    r, s = radii(kernel)
    height, width = x.shape[-2] - 2 * r, x.shape[-1] - 2 * s
    y = x[..., :height, :width] * kernel[0][0]
    for a, row in enumerate(kernel):
        for b, value in enumerate(row):
            if value and (a, b) != (0, 0):
                y.add_(x[..., a : a + height, b : b + width], alpha=value)
    return y
