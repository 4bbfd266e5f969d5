"""The residual functions f_i of all subnetworks, with their Lipschitz constraint."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invreg_iresnet.initialisation import high_pass_start
from invreg_iresnet.norms import amplification, most_amplified_waves

# Grid points per axis for each half kernel width m = (k - 1)/2: 16 and 32 for 5x5 kernels. By the Bernstein-Szego
# factor a norm is missed by at most 17 % and 4 %; by experience by less than 2.4 % and 0.6 %, and in training the
# grid moves.
_TRAINING_DENSITY, _FINE_DENSITY = 8, 16

_START_THRESHOLD = 0.02

# Thresholds are positive and differ by factors, so their logarithm is what is learned. One unit of the parameter is
# three units of the logarithm: with the rate of the biases, that lets a threshold move by an order of magnitude in a
# training.
_LOG_THRESHOLD_UNIT = 3.0


class Weights(NamedTuple):
    """Weights for use: those of all subnetworks, stacked, with the norms that they must have.

    Attributes:
        kernels: `[N, H, M, k, k]`, of norm 1.
        hidden_biases: `[N, H]`.
        mixings: `[N, M, H, 1, 1]`, of norm L_i at most.
        output_biases: `[N, M]`.
        thresholds: `[N]`, positive.
    """

    kernels: Tensor
    hidden_biases: Tensor
    mixings: Tensor
    output_biases: Tensor
    thresholds: Tensor


class ResidualStack(nn.Module):
    """N residual functions f_i = W_i S_i K_i on states with M channels, of Lipschitz constant L_i.

    K_i is a zero-padded k x k convolution to H hidden channels with bias, S_i the soft shrinkage with one learned
    threshold and W_i a 1x1 convolution back to M channels with bias. The parameters are free; what is used are their
    projections: K_i divided by its norm and W_i scaled down to norm L_i where it exceeds that. Norms and projections
    are part of the computation that gradients are taken of. As S_i is nonexpansive, Lip(f_i) <= ||W_i|| ||K_i|| <=
    L_i.

    Norms are the largest singular values of the symbols over a grid of frequencies (see `invreg_iresnet.norms`). In
    training the grid is coarse and moves by half a cell with every step, so that weights do not learn to hide between
    its points; in evaluation it is finer, and looked through again only after a parameter has changed.

    Args:
        subnetworks: N.
        channels: M.
        hidden: H.
        kernel_size: k, odd.
        bound: L_i, below 1 for residual functions that are contractions.

    Source: Arndt & Nickel 2024, section 4.1.
    """

    shifted_grid: Tensor

    def __init__(self, subnetworks: int, channels: int, hidden: int, kernel_size: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        kernels, mixings = high_pass_start(subnetworks, channels, hidden, kernel_size, bound)
        self.kernels = nn.Parameter(kernels)
        self.hidden_biases = nn.Parameter(torch.zeros(subnetworks, hidden))
        self.mixings = nn.Parameter(mixings)
        self.output_biases = nn.Parameter(torch.zeros(subnetworks, channels))
        start = torch.tensor(_START_THRESHOLD).log() / _LOG_THRESHOLD_UNIT
        self.log_thresholds = nn.Parameter(start.repeat(subnetworks))
        # Saved with the weights: a training that goes on from a checkpoint uses the grids that it would have used.
        self.register_buffer("shifted_grid", torch.tensor(False))
        self._waves_of: tuple[Tensor, Tensor, tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.kernels)

    def extra_repr(self) -> str:
        _, hidden, channels, size, _ = self.kernels.shape
        return f"{len(self)} x [{channels} -> {hidden} -> {channels}], kernel_size={size}, bound={self.bound:.4g}"

    def weights(self) -> Weights:
        """The weights with their norms, differentiable with respect to the parameters.

        In training mode, every call takes the other grid.
        """
        return self._projected(*self._moving_waves()) if self.training else self.evaluation_weights()

    def evaluation_weights(self) -> Weights:
        """The weights as evaluation uses them, whatever the mode."""
        return self._projected(*self._fine_waves())

    def _projected(self, kernel_waves: Tensor, mixing_waves: Tensor) -> Weights:
        tiny = torch.finfo(self.kernels.dtype).tiny
        kernel_norms = amplification(self.kernels, kernel_waves).clamp_min(tiny)
        mixing_norms = amplification(self.mixings, mixing_waves).clamp_min(tiny)
        return Weights(
            kernels=self.kernels / _per_subnetwork(kernel_norms),
            hidden_biases=self.hidden_biases,
            mixings=self.mixings * _per_subnetwork((self.bound / mixing_norms).clamp_max(1)),
            output_biases=self.output_biases,
            thresholds=torch.exp(self.log_thresholds * _LOG_THRESHOLD_UNIT),
        )

    def _moving_waves(self) -> tuple[Tensor, Tensor]:
        points = self._grid_points(_TRAINING_DENSITY)
        waves = most_amplified_waves(self.kernels, points, shifted=bool(self.shifted_grid))
        self.shifted_grid.logical_not_()
        return waves, most_amplified_waves(self.mixings, 1)

    @torch.inference_mode(False)  # what is kept must be usable outside inference mode, too
    def _fine_waves(self) -> tuple[Tensor, Tensor]:
        if self._waves_of is not None:
            kernels, mixings, waves = self._waves_of
            # Compared by content: no way of changing a parameter can be missed, and it takes microseconds.
            if _same(kernels, self.kernels) and _same(mixings, self.mixings):
                return waves
        points = self._grid_points(_FINE_DENSITY)
        # One by one, because the symbols of all kernels of a large network would not fit into memory.
        waves = (
            torch.cat([most_amplified_waves(kernel[None], points) for kernel in self.kernels]),
            most_amplified_waves(self.mixings, 1),
        )
        self._waves_of = self.kernels.detach().clone(), self.mixings.detach().clone(), waves
        return waves

    def _grid_points(self, density: int) -> int:
        return max(density, density * (self.kernels.shape[-1] // 2))


def residual(x: Tensor, weights: Weights, index: int, dtype: torch.dtype) -> Tensor:
    """f_i(x) for one subnetwork, differentiable in all ways; convolutions in `dtype`, the result in that of x.

    Args:
        x: states, `[B, M, H, W]`.
        weights: of all subnetworks.
        index: i, from 0.
        dtype: of the convolutions.
    """
    kernel, hidden_bias, mixing, output_bias, threshold = (stack[index].to(dtype) for stack in weights)
    hidden = F.conv2d(x.to(dtype), kernel, hidden_bias, padding=kernel.shape[-1] // 2)
    hidden = hidden - hidden.clamp(-threshold, threshold)
    return F.conv2d(hidden, mixing, output_bias).to(x.dtype)


def _per_subnetwork(values: Tensor) -> Tensor:
    return values[:, None, None, None, None]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
