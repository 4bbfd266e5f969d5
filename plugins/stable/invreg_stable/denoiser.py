"""A denoiser that is averaged for all weights: a chain of firmly nonexpansive layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invreg_stable.filters import ROUNDING, cosines, norm_bound, responses, transposed
from invreg_stable.ridge import normalised

# Thresholds are stored as logarithms divided by this; the filters begin with this noise.
_RATE, _NOISE = 10.0, 0.01


class Layer(NamedTuple):
    """T(x) = x - W* c(W x), c(t) = t between -b and b, and ±b beyond.

    With ||W|| <= 1, T = Id - Φ' for a convex Φ whose derivative is nonexpansive, so T is firmly nonexpansive (Baillon &
    Haddad 1977).

    Attributes:
        kernels: filters with mean zero and norm 1 at most, `[filters, k, k]`.
        thresholds: b, `[filters, 1, 1]`.
    """

    kernels: Tensor
    thresholds: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        found = responses(x, self.kernels)
        return x - transposed(torch.clamp(found, -self.thresholds, self.thresholds), self.kernels, x)


class AveragedDenoiser(nn.Module):
    """D = P T_N ... T_1, P the projection to [0, 1], each T a `Layer` with weights of its own.

    N + 1 firmly nonexpansive maps, one after the other, are averaged: D = (1 - α) Id + α Q with a nonexpansive Q and
    α = (N + 1) / (N + 2). So D is nonexpansive, and D^k(x) converges.

    It begins as thresholding of the coefficients of a cosine transform of all windows, spread over the layers.

    Source: Combettes & Yamada 2015, J. Math. Anal. Appl. 425, proposition 2.5, for α.

    Args:
        layers: N.
        filters: filters of each layer.
        kernel_size: k.
        threshold: by how much, about, all layers together shrink responses of filters of norm 1.
    """

    def __init__(self, layers: int, filters: int, kernel_size: int, threshold: float) -> None:
        super().__init__()
        start = cosines(filters, kernel_size)[:, None]
        self.kernels = nn.ParameterList(nn.Parameter(start + _NOISE * torch.randn_like(start)) for _ in range(layers))
        log = torch.tensor(threshold / (kernel_size * layers)).log() / _RATE
        self.log_thresholds = nn.ParameterList(nn.Parameter(log.repeat(filters)) for _ in range(layers))

    @property
    def averagedness(self) -> float:
        """α."""
        return (len(self.kernels) + 1) / (len(self.kernels) + 2)

    def layers(self) -> list[Layer]:
        """The layers, with their filters normalised."""
        return [
            Layer(normalised(kernels), (_RATE * thresholds).exp()[:, None, None])
            for kernels, thresholds in zip(self.kernels, self.log_thresholds, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """D(x), `[B, C, H, W]`, each channel alone."""
        return denoised(x, self.layers())

    @torch.no_grad()
    def norms(self) -> list[float]:
        """Bounds of the norms of all W, in float64, where no room is needed for rounding."""
        return [float(norm_bound(normalised(kernels).double())) / (1 + ROUNDING) for kernels in self.kernels]


def denoised(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """D(x) of certain layers."""
    for layer in layers:
        x = layer(x)
    return x.clamp(0, 1)
