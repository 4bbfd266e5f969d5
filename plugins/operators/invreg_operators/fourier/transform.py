"""The unitary Fourier transform of images, and complex numbers as two channels."""

from __future__ import annotations

import torch
from torch import Tensor


def unitary(x: Tensor) -> Tensor:
    """U x [k] = (H W)^(-1/2) sum_p x[p] exp(-2 pi i <k, p>), for x `[..., H, W]`, real or complex.

    Pixels and frequencies are counted from the one at (H // 2, W // 2): frequency zero is in the centre.
    """
    if not x.numel():  # MKL refuses an empty transform
        return torch.complex(torch.zeros_like(x.real), torch.zeros_like(x.real))
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, (-2, -1)), norm="ortho"), (-2, -1))


def unitary_adjoint(y: Tensor) -> Tensor:
    """U* y, the inverse of U, for complex y `[..., H, W]`."""
    if not y.numel():
        return y.clone()
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(y, (-2, -1)), norm="ortho"), (-2, -1))


def as_channels(x: Tensor) -> Tensor:
    """Complex images `[B, C, H, W]` as real ones `[B, 2 C, H, W]`: real and imaginary part of each channel in turn."""
    return torch.stack([x.real, x.imag], 2).flatten(1, 2)


def as_complex(x: Tensor) -> Tensor:
    """Complex images `[B, C, H, W]` of real ones `[B, 2 C, H, W]`."""
    real, imaginary = full_precision(x).unflatten(1, (-1, 2)).unbind(2)
    return torch.complex(real.contiguous(), imaginary.contiguous())


def full_precision(x: Tensor) -> Tensor:
    """Fourier transforms in half precision exist for few sizes only."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
