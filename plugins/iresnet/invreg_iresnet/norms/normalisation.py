"""The norms by which kernels are divided in training."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from invreg_iresnet.axes import per_image
from invreg_iresnet.norms.grid_norms import amplification, most_amplified_waves
from invreg_iresnet.norms.power_iteration import power_iteration

# Grid points per axis for each half kernel width m = (k - 1)/2: 16 for 5x5 kernels. By the Bernstein-Szego factor a
# norm is missed by at most 17 %; by experience by less than 2.4 %, and the grid moves.
_DENSITY = 8

# Side of the images, and volumes, on which the power iteration runs. The norm on such images is a few percent below
# that on images of 100 pixels, which adds little to what one iteration misses.
_POWER_SIZES = {2: 32, 3: 16}

#: How norms are found in training: on a grid of frequencies, or by power iteration as in the paper.
NormalisationName = Literal["grid", "power_iteration"]


class Normalisation(Protocol):
    """Norms of all convolutions of a stack, differentiable with respect to the kernels."""

    def __call__(self, kernels: Tensor, mixings: Tensor) -> tuple[Tensor, Tensor]:
        """Norms `[N]` of the convolutions K and of the mixings; each call may move on what it keeps."""
        ...


class GridNormalisation(nn.Module):
    """Largest singular values of the symbols over a grid of frequencies, which moves by half a cell with every call.

    So a training cannot exploit the gaps of a fixed grid.

    Args:
        kernel_size: k.
    """

    shifted_grid: Tensor

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.points = grid_points(kernel_size, _DENSITY)
        # Saved with the weights: a training that goes on from a checkpoint uses the grids that it would have used.
        self.register_buffer("shifted_grid", torch.tensor(False))

    def forward(self, kernels: Tensor, mixings: Tensor) -> tuple[Tensor, Tensor]:
        waves = most_amplified_waves(kernels, self.points, shifted=bool(self.shifted_grid))
        self.shifted_grid.logical_not_()
        return amplification(kernels, waves), mixing_norms(mixings)


class PowerNormalisation(nn.Module):
    """One power iteration for each convolution K, started where the last one ended, as in the paper.

    The estimate is below the norm (with a warm start by up to 14 %, by experience), so a network normalised in this way
    has no bound in training; `finalise` gives it one.

    Args:
        subnetworks: N.
        channels: M.
        axes: spatial axes of the kernels.

    Source: Arndt & Nickel 2024, section 4.1.
    """

    vectors: Tensor

    def __init__(self, subnetworks: int, channels: int, axes: int = 2) -> None:
        super().__init__()
        vectors = torch.randn(subnetworks, channels, *axes * (_POWER_SIZES[axes],))
        self.register_buffer("vectors", vectors / per_image(vectors.flatten(1).norm(dim=1), vectors))

    def forward(self, kernels: Tensor, mixings: Tensor) -> tuple[Tensor, Tensor]:
        norms, vectors = power_iteration(kernels, self.vectors.to(kernels.dtype))
        self.vectors.copy_(vectors)
        return norms, mixing_norms(mixings)


def make_normalisation(
    name: NormalisationName, subnetworks: int, channels: int, kernel_size: int, axes: int = 2
) -> GridNormalisation | PowerNormalisation:
    """The normalisation with this name."""
    if name == "grid":
        return GridNormalisation(kernel_size)
    return PowerNormalisation(subnetworks, channels, axes)


def mixing_norms(mixings: Tensor) -> Tensor:
    """Norms `[N]` of convolutions with one tap, `[N, M, H, 1, 1]`: one frequency suffices."""
    return amplification(mixings, most_amplified_waves(mixings, 1))


def grid_points(kernel_size: int, density: int) -> int:
    """Grid points per axis for a density of so many points for each half kernel width."""
    return max(density, density * (kernel_size // 2))
