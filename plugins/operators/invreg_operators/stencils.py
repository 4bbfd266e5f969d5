"""Discretisations of the right-hand side of Perona-Malik diffusion, f(u) = div(g ∇u), with their derivatives.

g = 1 / (1 + |∇u|² / contrast²), pixels at distance 1, no flux across the edge of the image. The gradient lives on
the edges between neighbouring pixels, as differences `down` `[..., H-1, W]` and `across` `[..., H, W-1]`, and the
divergence is minus the adjoint of the gradient. The stencils differ in where g is evaluated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad


def gradient(u: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and across."""
    return u[..., 1:, :] - u[..., :-1, :], u[..., 1:] - u[..., :-1]


def divergence(down: Tensor, across: Tensor) -> Tensor:
    """What flows into each pixel minus what flows out: minus the adjoint of `gradient`."""
    inflow = pad(down, (0, 0, 0, 1))
    inflow[..., 1:, :].sub_(down)
    inflow[..., :-1].add_(across)
    inflow[..., 1:].sub_(across)
    return inflow


class Stencil(ABC):
    """f and its derivative at one point.

    Args:
        u: the point, `[..., H, W]`.
        steepness: 1 / contrast².
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        self.steepness = steepness
        self.down, self.across = gradient(u)

    @abstractmethod
    def value(self) -> Tensor:
        """f(u)."""

    @abstractmethod
    def jvp(self, v: Tensor) -> Tensor:
        """f'(u) v."""

    def vjp(self, v: Tensor) -> Tensor:
        """f'(u)* v. The same as `jvp` where f is the gradient of an energy."""
        return self.jvp(v)


class Forward(Stencil):
    """g at the pixel, from its forward differences: one g for the edge below and the edge to the right.

    f is minus the gradient of the energy sum of contrast² / 2 log(1 + |∇u|² / contrast²), so f' is symmetric:
    f'(u) v = div(g ∇v - 2 g² / contrast² ∇u (∇u . ∇v)).
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.g = self._dot(self.down, self.across).mul_(steepness).add_(1).reciprocal_()

    def value(self) -> Tensor:
        return self._weighted_divergence(self.down, self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        factor = self._dot(down, across).mul_(self.g).mul_(-2 * self.steepness)
        return self._weighted_divergence(
            torch.addcmul(down, factor[..., :-1, :], self.down), torch.addcmul(across, factor[..., :-1], self.across)
        )

    def _dot(self, down: Tensor, across: Tensor) -> Tensor:
        """∇u . (down, across) at the pixels."""
        dot = pad(self.down * down, (0, 0, 0, 1))
        dot[..., :-1].add_(self.across * across)
        return dot

    def _weighted_divergence(self, down: Tensor, across: Tensor) -> Tensor:
        return divergence(self.g[..., :-1, :] * down, self.g[..., :-1] * across)


class Edge(Stencil):
    """g on the edge, from the one difference across it, as in Perona & Malik 1990.

    Each edge is a world of its own: f' weights it with d(g p)/dp = g (2 g - 1).
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.g_down = self.down.square().mul_(steepness).add_(1).reciprocal_()
        self.g_across = self.across.square().mul_(steepness).add_(1).reciprocal_()

    def value(self) -> Tensor:
        return divergence(self.g_down * self.down, self.g_across * self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        return divergence(down * self.g_down * (2 * self.g_down - 1), across * self.g_across * (2 * self.g_across - 1))


class HalfPoint(Stencil):
    """g on the edge, from the difference across it and the mean of the four nearest differences along it.

    This f is no gradient, and f' is not symmetric.
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.along_down, self.along_across = _turn_across(self.across), _turn_down(self.down)
        self.g_down = _conductivity(self.down, self.along_down, steepness)
        self.g_across = _conductivity(self.across, self.along_across, steepness)

    def value(self) -> Tensor:
        return divergence(self.g_down * self.down, self.g_across * self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        change_down = self.down * down + self.along_down * _turn_across(across)
        change_across = self.across * across + self.along_across * _turn_down(down)
        return divergence(
            self.g_down * down + self._slope_down() * change_down,
            self.g_across * across + self._slope_across() * change_across,
        )

    def vjp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        steep_down, steep_across = self._slope_down() * down, self._slope_across() * across
        return divergence(
            self.g_down * down + self.down * steep_down + _turn_across(self.along_across * steep_across),
            self.g_across * across + self.across * steep_across + _turn_down(self.along_down * steep_down),
        )

    def _slope_down(self) -> Tensor:
        """The change of the flux down with half of |∇u|²."""
        return -2 * self.steepness * self.g_down.square() * self.down

    def _slope_across(self) -> Tensor:
        return -2 * self.steepness * self.g_across.square() * self.across


def _conductivity(normal: Tensor, tangential: Tensor, steepness: float) -> Tensor:
    return normal.square().add_(tangential.square()).mul_(steepness).add_(1).reciprocal_()


def _turn_across(across: Tensor) -> Tensor:
    """Means of the four differences across that surround an edge down; zero beyond the image."""
    padded = pad(across, (1, 1))
    pixels = padded[..., 1:] + padded[..., :-1]
    return (pixels[..., 1:, :] + pixels[..., :-1, :]).mul_(0.25)


def _turn_down(down: Tensor) -> Tensor:
    """Means of the four differences down that surround an edge across: the adjoint of `_turn_across`."""
    padded = pad(down, (0, 0, 1, 1))
    pixels = padded[..., 1:, :] + padded[..., :-1, :]
    return (pixels[..., 1:] + pixels[..., :-1]).mul_(0.25)
