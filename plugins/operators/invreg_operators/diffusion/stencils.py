"""Discretisations of the right-hand side of Perona-Malik diffusion, f(u) = div(g ∇u), with their derivatives.

g = 1 / (1 + |∇u|² / contrast²), pixels at distance 1, no flux across the edge of the image. The gradient is defined
between neighbouring pixels: `down[i, j]` is the difference from pixel (i, j) to (i + 1, j), `across[i, j]` that to
(i, j + 1), and the divergence is minus the adjoint of the gradient. Both parts have the shape of the image, with zeros
in the last row (of `down`) and the last column (of `across`), where there is no neighbour. The stencils differ in
where g is evaluated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad


def gradient(u: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and across."""
    below = torch.cat([u[..., 1:, :], u[..., -1:, :]], -2)
    right = torch.cat([u[..., 1:], u[..., -1:]], -1)
    return below.sub_(u), right.sub_(u)


def divergence(down: Tensor, across: Tensor) -> Tensor:
    """The divergence, inflow minus outflow of each pixel: minus the adjoint of `gradient`."""
    inflow = down + across
    inflow[..., 1:, :].sub_(down[..., :-1, :])
    inflow[..., 1:].sub_(across[..., :-1])
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
        """f'(u)* v: the same as `jvp` where f is the gradient of an energy."""
        return self.jvp(v)


class Forward(Stencil):
    """g at the pixel, from its forward differences: one g for the edge below and the edge to the right.

    f is minus the gradient of the energy sum of contrast² / 2 log(1 + |∇u|² / contrast²), so f' is symmetric:
    f'(u) v = div(g (∇v - 2 g / contrast² (∇u . ∇v) ∇u)).
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.g = _conductivity(self.down, self.across, steepness)

    def value(self) -> Tensor:
        return divergence(self.g * self.down, self.g * self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        product = torch.addcmul(self.down * down, self.across, across).mul_(self.g)
        factor = -2 * self.steepness
        return divergence(
            torch.addcmul(down, product, self.down, value=factor).mul_(self.g),
            torch.addcmul(across, product, self.across, value=factor).mul_(self.g),
        )


class Edge(Stencil):
    """g between two pixels, from their difference alone, as in Perona & Malik 1990.

    f is a gradient here too: f' weights each difference p with d(g p)/dp = g (2 g - 1).
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.g_down = self.down.square().mul_(steepness).add_(1).reciprocal_()
        self.g_across = self.across.square().mul_(steepness).add_(1).reciprocal_()

    def value(self) -> Tensor:
        return divergence(self.g_down * self.down, self.g_across * self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        return divergence(
            (2 * self.g_down).sub_(1).mul_(self.g_down).mul_(down),
            (2 * self.g_across).sub_(1).mul_(self.g_across).mul_(across),
        )


class HalfPoint(Stencil):
    """g between two pixels, from their difference and the mean of the four nearest differences across it.

    This f is not a gradient, and f' is not symmetric.
    """

    def __init__(self, u: Tensor, steepness: float) -> None:
        super().__init__(u, steepness)
        self.beside_down, self.beside_across = _across_to_down(self.across), _down_to_across(self.down)
        self.g_down = _conductivity(self.down, self.beside_down, steepness)
        self.g_across = _conductivity(self.across, self.beside_across, steepness)

    def value(self) -> Tensor:
        return divergence(self.g_down * self.down, self.g_across * self.across)

    def jvp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        slope_down, slope_across = self._slopes()
        change_down = self.down * down + self.beside_down * _across_to_down(across)
        change_across = self.across * across + self.beside_across * _down_to_across(down)
        return divergence(
            self.g_down * down + slope_down * change_down, self.g_across * across + slope_across * change_across
        )

    def vjp(self, v: Tensor) -> Tensor:
        down, across = gradient(v)
        slope_down, slope_across = self._slopes()
        change_down, change_across = slope_down * down, slope_across * across
        return divergence(
            self.g_down * down + self.down * change_down + _across_to_down(self.beside_across * change_across),
            self.g_across * across + self.across * change_across + _down_to_across(self.beside_down * change_down),
        )

    def _slopes(self) -> tuple[Tensor, Tensor]:
        """How the fluxes down and across change with half of |∇u|²."""
        factor = -2 * self.steepness
        return (
            self.g_down.square().mul_(self.down).mul_(factor),
            self.g_across.square().mul_(self.across).mul_(factor),
        )


def _conductivity(first: Tensor, second: Tensor, steepness: float) -> Tensor:
    return torch.addcmul(first.square(), second, second).mul_(steepness).add_(1).reciprocal_()


def _across_to_down(across: Tensor) -> Tensor:
    """Means of the four differences across around each place of `down`; zero beyond the image."""
    pixels = across.clone()
    pixels[..., 1:].add_(across[..., :-1])
    return pad(pixels[..., :-1, :] + pixels[..., 1:, :], (0, 0, 0, 1)).mul_(0.25)


def _down_to_across(down: Tensor) -> Tensor:
    """Means of the four differences down around each place of `across`: the adjoint of `_across_to_down`."""
    pixels = down.clone()
    pixels[..., 1:, :].add_(down[..., :-1, :])
    return pad(pixels[..., :-1] + pixels[..., 1:], (0, 1)).mul_(0.25)
