"""Ridge regularizers: learned filters, and potentials of what they respond."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from invreg_stable.filters import cosines, norm_bound, responses, transposed

#: Distance of the knots of σ, for responses that are multiplied by the scale.
SPACING = 0.01
# Slopes and the scale are stored as logarithms divided by these: a step of Adam by 0.003 changes slopes by 3 percent.
_RATE, _SCALE_RATE = 10.0, 3.0
# The weights at the start: the decay of the slopes from knot to knot, the noise of the filters, and by how much σ falls
# to its last knot where it may.
_FALL, _NOISE, _DECLINE = 0.7, 0.01, 1 / 3


@dataclass(frozen=True)
class Ridge:
    """R_μ(x) = 1/μ Σ_i <1, ψ_i(μ (W x)_i)> for certain weights; its gradient is W* σ(μ W x), σ_i = ψ_i'.

    ψ_i is even: σ_i is odd, continuous, linear between the knots j Δ with the slopes s_ij, and constant beyond the last
    one. It is convex if no slope is negative. W continues each channel of an image by mirror reflection.

    Attributes:
        kernels: filters with mean zero and a norm of 1 at most, `[filters, k, k]`.
        slopes: s, `[filters, knots]`.
        scale: μ, a tensor without dimensions.
    """

    kernels: Tensor
    slopes: Tensor
    scale: Tensor

    def responses(self, x: Tensor) -> Tensor:
        """W x, `[B C, filters, H, W]`, for images `[B, C, H, W]`."""
        return responses(x, self.kernels)

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
        return transposed(_at(intercept, piece) + _at(slope, piece) * t, self.kernels, x)

    def curvature(self, x: Tensor) -> Tensor:
        """μ σ'(μ W x), for `second_derivative`."""
        return self.scale * _at(self._lines()[1], self._located(self.scale * self.responses(x)))

    def second_derivative(self, curvature: Tensor, v: Tensor) -> Tensor:
        """μ W* diag(σ'(μ W x)) W v, with the `curvature` at x."""
        return transposed(curvature * self.responses(v), self.kernels, v)

    def lipschitz(self) -> float:
        """A bound of the Lipschitz constant of the gradient: μ ||D W||², D² the steepest slope of each filter."""
        return self._bent(self.slopes.abs())

    def weak_convexity(self) -> float:
        """A number r for which R_μ + ½ r ||x||² is convex: as `lipschitz`, of the slopes that are negative; or 0."""
        return self._bent((-self.slopes).clamp(min=0))

    @torch.no_grad()
    def _bent(self, slopes: Tensor) -> float:
        steepest = slopes.amax(1).sqrt()[:, None, None]
        return float(self.scale) * float(norm_bound(steepest * self.kernels)) ** 2 if steepest.any() else 0.0

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


class RidgeWeights(nn.Module):
    """The weights of a convex ridge regularizer, without constraints, and what is made of them.

    It starts with the filters of a cosine transform, and with the smoothed absolute value for all potentials: R(x) is
    then about Σ_i |W_i x|.

    Args:
        filters: ridges.
        kernel_size: k.
        knots: knots of σ at each side of zero.
    """

    def __init__(self, filters: int, kernel_size: int, knots: int) -> None:
        super().__init__()
        noise = _NOISE * torch.randn(filters, 1, kernel_size, kernel_size)
        self.kernels = nn.Parameter(cosines(filters, kernel_size)[:, None] + noise)
        fall = -_FALL * torch.arange(knots, dtype=noise.dtype)
        self.log_slopes = nn.Parameter(
            (fall - fall.logsumexp(0) - torch.tensor(SPACING).log()).div(_RATE).repeat(filters, 1)
        )
        self.log_scale = nn.Parameter(torch.zeros(()))

    def ridge(self, scale: float) -> Ridge:
        """The regularizer: filters normalised, slopes positive, with the scale at the start times a learned one."""
        return Ridge(
            normalised(self.kernels), (_RATE * self.log_slopes).exp(), scale * (_SCALE_RATE * self.log_scale).exp()
        )


class WeakRidgeWeights(RidgeWeights):
    """As `RidgeWeights`, for slopes that may be negative, down to a modulus of weak convexity.

    The slopes are differences of positive numbers, of which the second begin so that σ has fallen by a third of its
    height at the last knot.
    """

    def __init__(self, filters: int, kernel_size: int, knots: int) -> None:
        super().__init__(filters, kernel_size, knots)
        falling = torch.full((filters, knots), _DECLINE / (knots * SPACING))
        self.log_falls = nn.Parameter(falling.log() / _RATE)

    def ridge(self, scale: float, modulus: float = 1.0) -> Ridge:
        """The regularizer, for which R + ½ modulus ||x||² is convex."""
        rising = super().ridge(scale)
        falls = (_RATE * self.log_falls).exp()
        steepest = falls.amax(1).sqrt()[:, None, None]
        reached = rising.scale * norm_bound(steepest * rising.kernels) ** 2
        allowed = (modulus / reached).clamp(max=1)
        return Ridge(rising.kernels, rising.slopes - allowed * falls, rising.scale)


def normalised(kernels: Tensor) -> Tensor:
    """Filters `[filters, k, k]` with mean zero and a norm of 1 at most, of weights `[filters, 1, k, k]`."""
    centred = kernels[:, 0] - kernels[:, 0].mean((-2, -1), keepdim=True)
    return centred / norm_bound(centred)
