"""The convex ridge regularizer: learned filters, and convex potentials of what they respond."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Distance of the knots of σ, for responses that are multiplied by the scale.
SPACING = 0.01
# Points of the grid for each degree of the trigonometric polynomial whose maximum is bounded.
_DENSITY = 8
# The weights at the start: size of the noise, neighbours that differences are taken with, decay of the slopes.
_NOISE, _DIRECTIONS, _FALL = 0.02, ((0, 1), (1, 0), (1, 1), (1, -1)), 0.4
# Rounding of the normalisation in float32.
_SLACK = 1e-5


@dataclass(frozen=True)
class Ridge:
    """R_μ(x) = 1/μ Σ_i <1, ψ_i(μ (W x)_i)> for certain weights; its gradient is W* σ(μ W x), σ_i = ψ_i'.

    ψ_i is even and convex: σ_i is odd, continuous, linear between the knots j Δ with the slopes s_ij > 0, and constant
    beyond the last one. W continues each channel of an image by mirror reflection and convolves it twice.

    The filters have norm 1 at most: max over ω of Σ_i |K_i(ω)|² <= 1 for the composed filters K_i. A mirrored image is
    one period of an image with four times its squared norm, so ||W||² <= 4 for images with borders.

    Attributes:
        first: filters with mean zero, `[hidden, 1, k, k]`.
        second: filters, `[filters, hidden, k, k]`.
        slopes: s, `[filters, knots]`.
        scale: μ.
    """

    first: Tensor
    second: Tensor
    slopes: Tensor
    scale: float

    @property
    def margin(self) -> int:
        """By how many pixels an image is continued on each side."""
        return self.first.shape[-1] - 1

    def responses(self, x: Tensor) -> Tensor:
        """W x, `[B C, filters, H, W]`, for images `[B, C, H, W]`."""
        images = _mirrored(x.flatten(0, 1)[:, None], self.margin)
        return functional.conv2d(functional.conv2d(images, self.first), self.second)

    def transposed(self, responses: Tensor, like: Tensor) -> Tensor:
        """W* y, in the shape of `like`."""
        images = _convolved_back(_convolved_back(responses, self.second), self.first)
        return _folded(images, self.margin).reshape(like.shape)

    def value(self, x: Tensor) -> Tensor:
        """R_μ(x), `[B]`."""
        t = (self.scale * self.responses(x)).abs()
        piece = self._located(t)
        knots = SPACING * torch.arange(self.slopes.shape[1] + 1, device=t.device, dtype=t.dtype)
        reached = functional.pad(SPACING * self.slopes.cumsum(1), (1, 0))
        # ψ at the knots is a sum of trapezia below σ.
        start = functional.pad((SPACING * (reached[:, :-1] + reached[:, 1:]) / 2).cumsum(1), (1, 0))
        positive = [functional.pad(each, (start.shape[1], 0)) for each in (start, knots.expand_as(start))]
        begun, knot = (_at(each, piece) for each in positive)
        intercept, slope = self._lines()
        values = begun + (t - knot) * (_at(intercept, piece) + _at(slope, piece) * (t + knot) / 2)
        return values.reshape(len(x), -1).sum(1) / self.scale

    def gradient(self, x: Tensor) -> Tensor:
        """W* σ(μ W x), `[B, C, H, W]`."""
        t = self.scale * self.responses(x)
        piece, (intercept, slope) = self._located(t), self._lines()
        return self.transposed(_at(intercept, piece) + _at(slope, piece) * t, x)

    def curvature(self, x: Tensor) -> Tensor:
        """μ σ'(μ W x), for `second_derivative`."""
        return self.scale * _at(self._lines()[1], self._located(self.scale * self.responses(x)))

    def second_derivative(self, curvature: Tensor, v: Tensor) -> Tensor:
        """μ W* diag(σ'(μ W x)) W v, with the `curvature` at x."""
        return self.transposed(curvature * self.responses(v), v)

    def lipschitz(self) -> float:
        """A bound of the Lipschitz constant of the gradient: μ max s ||W||², with ||W||² <= 4."""
        return 4 * self.scale * float(self.slopes.detach().max())

    def _lines(self) -> tuple[Tensor, Tensor]:
        """Intercepts and slopes of the pieces of σ from left to right, `[filters, 2 knots + 2]` each."""
        slope = functional.pad(self.slopes, (0, 1))
        knots = SPACING * torch.arange(slope.shape[1], device=slope.device, dtype=slope.dtype)
        intercept = functional.pad(SPACING * self.slopes.cumsum(1), (1, 0)) - slope * knots
        return torch.cat([-intercept.flip(1), intercept], 1), torch.cat([slope.flip(1), slope], 1)

    @torch.no_grad()
    def _located(self, t: Tensor) -> Tensor:
        """The pieces that responses `[N, filters, H, W]` are in, as positions in a table of all filters."""
        filters, knots = self.slopes.shape
        rows = torch.arange(filters, device=t.device, dtype=torch.int32).view(1, -1, 1, 1) * (2 * knots + 2)
        # NaN, which lies in no piece, comes through by t itself.
        return (t / SPACING).floor_().clamp_(-knots - 1, knots).nan_to_num_().int().add_(rows + knots + 1)


def _at(table: Tensor, piece: Tensor) -> Tensor:
    return table.reshape(-1).index_select(0, piece.reshape(-1)).view(piece.shape)


def _convolved_back(y: Tensor, kernel: Tensor) -> Tensor:
    """The adjoint of a convolution without padding; several times as fast as conv_transpose2d on a CPU."""
    return functional.conv2d(y, kernel.flip(-2, -1).transpose(0, 1), padding=kernel.shape[-1] - 1)


class RidgeWeights(nn.Module):
    """The weights of a ridge regularizer, without constraints, and what is made of them.

    It starts near a smoothed total variation: differences between neighbours in four directions, with a little noise by
    which the ridges differ, and slopes that fall off from zero.

    Args:
        filters: ridges.
        hidden: filters of the first convolution.
        kernel_size: k of both convolutions; they compose to filters of 2 k - 1.
        knots: knots of σ at each side of zero.
    """

    def __init__(self, filters: int, hidden: int, kernel_size: int, knots: int) -> None:
        super().__init__()
        first = _NOISE * torch.randn(hidden, 1, kernel_size, kernel_size)
        second = _NOISE * torch.randn(filters, hidden, kernel_size, kernel_size)
        centre = kernel_size // 2
        for number in range(hidden):
            down, across = _DIRECTIONS[number % len(_DIRECTIONS)]
            first[number, 0, centre, centre] -= 1
            first[number, 0, centre + down, centre + across] += 1
        for number in range(filters):
            second[number, number % hidden, centre, centre] += 1
        self.first, self.second = nn.Parameter(first), nn.Parameter(second)
        fall = torch.arange(knots, dtype=first.dtype) * _FALL
        self.log_slopes = nn.Parameter(-fall.repeat(filters, 1))

    def ridge(self, scale: float) -> Ridge:
        """The regularizer: filters normalised, slopes positive."""
        first = self.first - self.first.mean((-2, -1), keepdim=True)
        second = self.second / filter_norm_bound(first, self.second)
        return Ridge(first, second, self.log_slopes.exp(), scale)


def filter_norm_bound(first: Tensor, second: Tensor) -> Tensor:
    """A bound of the norm of two convolutions, one after the other, on images without borders.

    The square of the norm is the maximum of Σ_i |K_i(ω)|², a trigonometric polynomial of degree d = 2 (k - 1) in both
    frequencies. It is at most the largest of its values on a grid of n points in each, divided by cos²(π d / n).

    Source: Ehlich & Zeller 1964, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86.

    Args:
        first: `[hidden, 1, k, k]`.
        second: `[filters, hidden, k, k]`.
    """
    degree = max(2 * (first.shape[-1] - 1), 1)
    points = _DENSITY * degree
    inner, outer = (torch.fft.rfft2(kernel, s=(points, points)) for kernel in (first[:, 0], second))
    composed = (outer * inner).sum(1)
    largest = (composed.real.square() + composed.imag.square()).sum(0).max()
    return largest.sqrt() * (1 + _SLACK) / math.cos(math.pi * degree / points)


def _mirrored(x: Tensor, margin: int) -> Tensor:
    """Continued by mirror reflection about the edges of its outer pixels."""
    for dim in (-2, -1):
        size = x.shape[dim]
        before, after = x.narrow(dim, 0, margin).flip(dim), x.narrow(dim, size - margin, margin).flip(dim)
        x = torch.cat([before, x, after], dim)
    return x


def _folded(y: Tensor, margin: int) -> Tensor:
    """The adjoint of `_mirrored`."""
    for dim in (-2, -1):
        size = y.shape[dim] - 2 * margin
        before, after = y.narrow(dim, 0, margin).flip(dim), y.narrow(dim, margin + size, margin).flip(dim)
        rest = [0, 0] * (-1 - dim)
        y = y.narrow(dim, margin, size)
        y = y + functional.pad(before, [*rest, 0, size - margin])
        y = y + functional.pad(after, [*rest, size - margin, 0])
    return y
