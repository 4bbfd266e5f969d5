"""Filters that are applied to each channel of an image, with mirrored borders, and a bound of their norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Points of the grid for each degree of the trigonometric polynomial whose maximum is bounded.
_DENSITY = 16
#: Room for the rounding of the bound in float32, a part of it.
ROUNDING = 1e-5
# Of squares of filters, so that roots have derivatives.
_TINY = 1e-20


def responses(x: Tensor, kernels: Tensor) -> Tensor:
    """W x, `[B C, filters, H, W]`: each channel of x `[B, C, H, W]`, mirrored at its borders, under each filter.

    Args:
        x: images.
        kernels: `[filters, k, k]`, k odd.
    """
    return functional.conv2d(mirrored(x.flatten(0, 1)[:, None], kernels.shape[-1] // 2), kernels[:, None])


def transposed(y: Tensor, kernels: Tensor, like: Tensor) -> Tensor:
    """W* y, in the shape of `like`."""
    size = kernels.shape[-1]
    # A matrix product and sums of shifted images: several times as fast as conv_transpose2d on a CPU.
    taps = torch.matmul(kernels.flatten(1).T, y.flatten(2))
    image = functional.fold(taps, (y.shape[-2] + size - 1, y.shape[-1] + size - 1), size)
    return folded(image, size // 2).reshape(like.shape)


def norm_bound(kernels: Tensor) -> Tensor:
    """A bound of the norm of W, for images of every size, differentiable in the filters.

    A filter is the sum of four parts, even or odd in each direction. Under each part alone, a mirrored image is
    even or odd about its borders, so its response has a quarter of its squared norm within the image, and so has the
    mirrored image. With any positive numbers p that sum to 1 over the four parts, the inequality of Cauchy and Schwarz
    gives

        ||W x||² <= max over ω of Σ over filters and parts of |K(ω)|² / p  ||x||².

    p is chosen in proportion to the norms of the parts. The sum is a trigonometric polynomial of degree d = k - 1 in
    both frequencies: it is at most the largest of its values on a grid of n points in each, divided by cos²(π d / n).

    Source: Ehlich & Zeller 1964, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86, for the last step.

    Args:
        kernels: `[filters, k, k]`.
    """
    upside, across = kernels.flip(-2), kernels.flip(-1)
    both = kernels.flip(-2, -1)
    parts = torch.stack(
        [kernels + s * upside + t * across + s * t * both for s in (1, -1) for t in (1, -1)], dim=1
    ).div(4)
    sizes = (parts.square().sum((-2, -1)) + _TINY).sqrt()
    share = sizes / sizes.sum(1, keepdim=True)
    degree = max(kernels.shape[-1] - 1, 1)
    points = _DENSITY * degree
    symbols = torch.fft.rfft2(parts, s=(points, points))
    squares = symbols.real.square() + symbols.imag.square()
    largest = (squares / share[..., None, None]).sum((0, 1)).max()
    return largest.sqrt() * (1 + ROUNDING) / math.cos(math.pi * degree / points)


def cosines(filters: int, size: int) -> Tensor:
    """The filters of a discrete cosine transform without that of the mean, from low to high frequencies.

    More filters than there are (size² - 1) begin again from the first. Together, all filters of a transform divided by
    its size are a tight frame, up to the mean in their window.

    Returns:
        `[filters, size, size]`, each of norm 1.
    """
    place = torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(math.pi / size * place * torch.arange(size, dtype=torch.float64)[:, None])
    waves = waves / waves.norm(dim=1, keepdim=True)
    pairs = sorted(((u, v) for u in range(size) for v in range(size)), key=lambda pair: pair[0] ** 2 + pair[1] ** 2)
    chosen = [pairs[1 + number % (size**2 - 1)] for number in range(filters)]
    return torch.stack([torch.outer(waves[u], waves[v]) for u, v in chosen]).float()


def mirrored(x: Tensor, margin: int) -> Tensor:
    """Continued by mirror reflection about the edges of its outer pixels."""
    for dim in (-2, -1):
        size = x.shape[dim]
        before, after = x.narrow(dim, 0, margin).flip(dim), x.narrow(dim, size - margin, margin).flip(dim)
        x = torch.cat([before, x, after], dim)
    return x


def folded(y: Tensor, margin: int) -> Tensor:
    """The adjoint of `mirrored`."""
    for dim in (-2, -1):
        size = y.shape[dim] - 2 * margin
        before, after = y.narrow(dim, 0, margin).flip(dim), y.narrow(dim, margin + size, margin).flip(dim)
        rest = [0, 0] * (-1 - dim)
        y = y.narrow(dim, margin, size)
        y = y + functional.pad(before, [*rest, 0, size - margin])
        y = y + functional.pad(after, [*rest, size - margin, 0])
    return y
