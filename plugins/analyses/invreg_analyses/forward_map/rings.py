"""Random images with frequencies of one size."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Frequencies in cycles per pixel, up to that of a checkerboard.
HIGHEST = math.sqrt(0.5)


def ring_edges(count: int) -> NDArray[np.float64]:
    """The borders of `count` rings of equal width, from 0 to the frequency of a checkerboard, in cycles per pixel."""
    return np.linspace(0, HIGHEST, count + 1)


def ring_of(height: int, width: int, count: int) -> NDArray[np.int64]:
    """The ring of each frequency of the discrete Fourier transform, `[H, W]`."""
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    radius = np.hypot(rows[:, None], columns[None, :])
    inside: NDArray[np.int64] = np.minimum((radius / HIGHEST * count).astype(np.int64), count - 1)
    return inside


def ring_image(rings: NDArray[np.int64], ring: int, channels: int, draws: torch.Generator) -> Tensor:
    """A real image of unit norm in which all frequencies of a ring are equally strong, with random phases.

    Args:
        rings: of all frequencies, see `ring_of`.
        ring: which one; it must not be empty.
        channels: each of them is drawn by itself.
        draws: generator of the phases.

    Returns:
        `[1, channels, H, W]` in float64.
    """
    # The transform of real noise has the symmetry that a real image needs; only its phases are kept.
    noise = torch.randn((channels, *rings.shape), generator=draws, dtype=torch.float64)
    spectrum = torch.fft.fft2(noise)
    inside = torch.from_numpy(rings == ring)
    phases = torch.where(inside, spectrum / spectrum.abs().clamp_min(1e-300), torch.zeros_like(spectrum))
    image = torch.fft.ifft2(phases).real
    return (image / image.norm())[None]
