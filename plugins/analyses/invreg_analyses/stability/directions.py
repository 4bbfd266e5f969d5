"""Directions in which measurements are perturbed: noise, smooth noise, and simple patterns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from invreg import Shape, generator, stream_key

#: Smooth noise keeps this share of the frequencies of each axis.
_KEPT = 0.15


def noise(seed: int, purpose: str, names: Sequence[str], number: int, shape: Shape) -> Tensor:
    """Standard normal noise `[B, ...shape]`, drawn for each image by itself: the same in any batch."""
    keys = [stream_key(seed, "stability", purpose, name, number) for name in names]
    return torch.stack([torch.randn(shape, generator=generator(key)) for key in keys])


def smooth(values: Tensor) -> Tensor:
    """The lowest frequencies along the last two axes (or the only one), in a periodic sense."""
    spectrum = torch.fft.fftn(values, dim=_axes(values.shape[1:]))
    for axis in _axes(values.shape[1:]):
        size = values.shape[axis]
        kept = torch.fft.fftfreq(size).abs() <= max(_KEPT / 2, 1 / size)
        spectrum = spectrum * kept.view(-1, *[1] * (-1 - axis))
    return torch.fft.ifftn(spectrum, dim=_axes(values.shape[1:])).real


def patterns(shape: Shape) -> list[Tensor]:
    """Products of the slowest cosines and of the fastest oscillations along the last two axes, each `[1, ...shape]`.

    The constant and the checkerboard are among them.
    """
    waves = []
    for axis in _axes(shape):
        size = shape[axis]
        k = torch.arange(size)
        slow = torch.cos(torch.pi * (k + 0.5) / size)
        waves.append([wave.view(-1, *[1] * (-1 - axis)) for wave in (torch.ones(size), slow, 1.0 - 2 * (k % 2))])
    flat = torch.ones(1, *shape)
    if len(waves) == 1:
        return [flat * wave for wave in waves[0]]
    return [flat * (down * along) for down in waves[0] for along in waves[1]]


def rounds(seed: int, names: Sequence[str], shape: Shape, count: int) -> Iterator[list[Tensor]]:
    """Directions for the rounds of a search without gradients: patterns first, then noise and smooth noise."""
    yield [pattern.expand(len(names), *shape) for pattern in patterns(shape)]
    for number in range(1, count):
        draws = [noise(seed, "subspace", names, 8 * number + i, shape) for i in range(8)]
        yield [*draws[:4], *(smooth(draw) for draw in draws[4:])]


def _axes(shape: Sequence[int]) -> tuple[int, ...]:
    return (-2, -1) if len(shape) > 1 else (-1,)
