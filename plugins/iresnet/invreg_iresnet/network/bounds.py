"""Lipschitz bounds of a network, from rigorous bounds on the norms of its convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from invreg_iresnet.network.norms import grid_factor, grid_norm
from invreg_iresnet.network.residuals import Weights


@dataclass(frozen=True)
class LipschitzBounds:
    """What is proven of the Lipschitz constants of phi and of its inverse.

    The bounds hold in exact arithmetic for the weights as they are, on images of any size; they are computed in
    float64 and true up to its rounding. Distances are Euclidean.

    Attributes:
        residuals: s_i, an upper bound of Lip(f_i), for each subnetwork.
        padding: ||P||, the norm of the padding that comes before the inversion.
    """

    residuals: tuple[float, ...]
    padding: float

    @property
    def forward(self) -> float:
        """Lip(phi) <= prod (1 + s_i), equation (2.2) of the paper."""
        return math.prod(1 + s for s in self.residuals)

    @property
    def inverse(self) -> float:
        """Lip(phi^-1) <= prod 1 / (1 - s_i), equation (2.2) of the paper; infinite if some s_i is not below 1."""
        return math.prod(1 / (1 - s) if s < 1 else math.inf for s in self.residuals)

    @property
    def reconstruction(self) -> float:
        """Lip(R) <= ||P|| Lip(phi^-1) for the reconstruction from a measurement in X to an image."""
        return self.padding * self.inverse


def residual_bounds(weights: Weights, points: int) -> tuple[float, ...]:
    """s_i = c ||K_i||_grid ||W_i|| >= Lip(f_i), with the factor c = `grid_factor` from the grid to all frequencies.

    Args:
        weights: of all subnetworks.
        points: grid points per axis.
    """
    factor = grid_factor(weights.kernels.shape[-1], points)
    mixings = weights.mixings.detach().double()[..., 0, 0]
    mixing_norms = torch.linalg.matrix_norm(mixings, ord=2).tolist()
    return tuple(
        factor * grid_norm(kernel, points) * norm for kernel, norm in zip(weights.kernels, mixing_norms, strict=True)
    )
