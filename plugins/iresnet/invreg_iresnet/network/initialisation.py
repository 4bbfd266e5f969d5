"""Initial weights: residual functions that remove fine detail, or amplify it.

The residual Id - F of a blur or a diffusion is a high-pass filter. Kernels that start as such filters, spread over
the hidden channels by an isometry that the 1x1 convolution undoes, save the first hundred steps of a training. Signs
alternate over the subnetworks: the whole network starts near the identity and can turn to either side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from invreg_iresnet.axes import per_channel

_GAUSS_STD = 1.2
_KERNEL_NOISE = 0.3
# The 1x1 convolutions start at about a sixth of the norm that is allowed.
_MIXING_SCALE, _MIXING_NOISE = 0.16, 0.012


def high_pass_start(
    subnetworks: int, channels: int, hidden: int, kernel_size: int, bound: float, axes: int = 2
) -> tuple[Tensor, Tensor]:
    """Kernels Q (delta - g) and 1x1 kernels +-0.16 L_i Q^T, both with some noise; g is a Gaussian.

    Args:
        subnetworks: N.
        channels: M.
        hidden: H.
        kernel_size: k.
        bound: L_i.
        axes: spatial axes of a kernel.

    Returns:
        `[N, H, M, k, k]` and `[N, M, H, 1, 1]` (with one more k, and 1, for three axes), drawn from torch's global
        generator.
    """
    isometries = _isometries(subnetworks, hidden, channels)
    noise = torch.randn(subnetworks, hidden, channels, *axes * (kernel_size,))
    mean = noise.mean(tuple(range(3, noise.ndim)), keepdim=True)
    noise = (noise - mean) / (kernel_size ** (axes / 2) * channels**0.5)
    kernels = per_channel(isometries, axes) * _high_pass(kernel_size, axes) + _KERNEL_NOISE * noise
    noise = torch.randn(subnetworks, channels, hidden) / hidden**0.5
    signs = 1 - 2 * (torch.arange(subnetworks) % 2)
    mixings = signs[:, None, None] * (_MIXING_SCALE * isometries.mT + _MIXING_NOISE * noise)
    return kernels.contiguous(), bound * per_channel(mixings, axes).contiguous()


def _high_pass(size: int, axes: int) -> Tensor:
    offsets = torch.arange(size) - size // 2
    profile = torch.exp(-0.5 * (offsets / _GAUSS_STD) ** 2)
    profile = profile / profile.sum()
    smooth = profile
    for _ in range(axes - 1):
        smooth = smooth[..., None] * profile
    high_pass = -smooth
    high_pass[axes * (size // 2,)] += 1
    return high_pass


def _isometries(count: int, rows: int, columns: int) -> Tensor:
    """Random matrices with orthonormal columns (or rows, where there are fewer of them)."""
    tall = torch.linalg.qr(torch.randn(count, max(rows, columns), min(rows, columns))).Q
    return tall if rows >= columns else tall.mT
