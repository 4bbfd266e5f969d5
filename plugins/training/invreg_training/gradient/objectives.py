"""Losses, as modules: so processes that train together average their gradients."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from invreg import LearnsDenoiser, LearnsForwardMap, PulledBackOperator, Reconstructor, ShapeError
from invreg_training.gradient.penalties import Divergence, LogDeterminant, with_tangent


class ReconstructionLoss(nn.Module):
    """mean (R(z) - x)² over a batch and its pixels.

    Source: Arndt & Nickel 2024, equation (4.1).
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return _mean_square(self.reconstructor(z), x, "reconstructions", self.reconstructor)


class ApproximationLoss(nn.Module):
    """mean (phi(x) - z)² over a batch and its pixels, for the forward map phi of a reconstructor.

    Where phi stands for P A, such as A*A / ||A||², the measurement is brought to X in the same way: P z for z.

    Source: Arndt & Nickel 2024, section 4 ("approximation training"); of the penalties, see there.

    Args:
        reconstructor: with a forward map.
        penalty: of the derivative of phi, or None.
    """

    def __init__(self, reconstructor: Reconstructor, penalty: Divergence | LogDeterminant | None = None) -> None:
        super().__init__()
        self.reconstructor, self.penalty = reconstructor, penalty

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        learned = cast(LearnsForwardMap, self.reconstructor)
        target = learned.target_operator
        if isinstance(target, PulledBackOperator):
            z = target.pull_back(z)
        if self.penalty is None:
            return _mean_square(learned.forward_map(x), z, "forward maps", self.reconstructor)
        value, tangent, v = with_tangent(learned, x)
        misfit = _mean_square(value, z, "forward maps", self.reconstructor)
        return misfit + self.penalty(self.reconstructor, x, value, tangent, v)


class DenoisingLoss(nn.Module):
    """mean (D(x + s n) - x)² over a batch and its pixels, for the denoiser D of a reconstructor and white noise n.

    The measurement is not looked at. n comes from torch's generator, which the trainer sets for each step.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        denoising = cast(LearnsDenoiser, self.reconstructor)
        noisy = x + denoising.denoiser_std * torch.randn_like(x)
        return _mean_square(denoising.denoise(noisy), x, "denoised images", self.reconstructor)


def _mean_square(found: Tensor, wanted: Tensor, what: str, reconstructor: Reconstructor) -> Tensor:
    # Without this, tensors of different shapes would be broadcast against each other in silence.
    if found.shape != wanted.shape:
        raise ShapeError(
            f"{type(reconstructor).__name__} gives {what} of shape {tuple(found.shape)}",
            where="trainer",
            expected=f"shape {tuple(wanted.shape)}",
        )
    return (found - wanted).square().mean()
