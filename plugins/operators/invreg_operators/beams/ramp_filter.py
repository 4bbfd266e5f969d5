"""The ramp filter of filtered back-projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg import FilterWindow


def ramp_filtered(p: Tensor, spacing: float, window: FilterWindow, cutoff: float = 1.0) -> Tensor:
    """The last axis of p, samples at distance tau = `spacing`, convolved with the band-limited ramp filter.

    The filter is sampled in space,

        h(0) = 1 / (4 tau²),   h(n tau) = -1 / (pi n tau)² for odd n,   0 for the other even n,

    and q(n tau) = tau sum_m h((n - m) tau) p(m tau) is the linear convolution: p is continued by zeros. Samples of
    |frequency| in its place would falsify the mean and let the ends of p meet. The window multiplies the result's
    frequencies; f is the frequency relative to `cutoff` times half the sampling rate, and nothing passes for f > 1:

        ramp 1,   shepp_logan sin(pi f/2) / (pi f/2),   cosine cos(pi f/2),   hamming 0.54 + 0.46 cos(pi f),
        hann (1 + cos(pi f)) / 2.

    Source: Kak & Slaney 1988, Principles of Computerized Tomographic Imaging, section 3.3, equations (61)-(65).
    """
    dtype = p.dtype if p.dtype in (torch.float32, torch.float64) else torch.float32
    count = p.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * count))
    offsets = torch.arange(length, device=p.device)
    offsets = torch.minimum(offsets, length - offsets)
    kernel = torch.where(offsets % 2 == 1, -1 / (math.pi * spacing * offsets.clamp_min(1).double()) ** 2, 0.0)
    kernel[0] = 1 / (4 * spacing**2)
    response = torch.fft.rfft(kernel).real * spacing
    frequencies = torch.linspace(0, 1, len(response), dtype=torch.float64, device=p.device)
    response = response * _window(frequencies / cutoff, window)
    # cuFFT and MKL do not transform this length in half precision, so autocast must not choose it.
    with torch.autocast(p.device.type, enabled=False):
        filtered = torch.fft.irfft(torch.fft.rfft(p.to(dtype), n=length) * response.to(dtype), n=length)
    return filtered[..., :count].to(p.dtype)


def _window(f: Tensor, window: FilterWindow) -> Tensor:
    return torch.where(f <= 1, _damping(f, window), 0.0)


def _damping(f: Tensor, window: FilterWindow) -> Tensor:
    if window == "shepp_logan":
        return torch.sinc(f / 2)
    if window == "cosine":
        return torch.cos(math.pi / 2 * f)
    if window == "hamming":
        return 0.54 + 0.46 * torch.cos(math.pi * f)
    if window == "hann":
        return (1 + torch.cos(math.pi * f)) / 2
    return torch.ones_like(f)
