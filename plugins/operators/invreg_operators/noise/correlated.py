"""Gaussian noise with correlated neighbours."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import DataError, Noise
from invreg_operators.noise.checks import check_real, check_size_of_noise
from invreg_operators.shared.axes import along_axes

#: Where the Gaussian is cut off, in standard deviations.
_CUT = 4.0


class CorrelatedNoise(Noise):
    """Additive Gaussian noise whose neighbours are correlated, unclamped: z + std * g * n, n white,

    with g a Gaussian of standard deviation `width` on each axis, cut off at 4 widths, with sum of g² = 1. So each value
    has the deviation std, and values at the distance d the correlation exp(-d² / (4 width²)), up to what pixels make of
    the Gaussian. The noise is stationary up to the edge: n goes on beyond it. Channels are independent; rows and
    columns are the last two axes of z, and a volume `[B, C, D, H, W]` has a third one before them. It is drawn in
    float32 for every dtype of z.
    """

    def __init__(
        self,
        std: Annotated[
            float,
            Field(
                description="standard deviation of each value; images have values in [0, 1]",
                ge=0,
                json_schema_extra={"unit": "the scale of z"},
            ),
        ],
        width: Annotated[
            float,
            Field(
                description="standard deviation of the Gaussian that white noise is filtered with",
                ge=0.01,
                le=256,
                json_schema_extra={"unit": "pixels"},
            ),
        ] = 1.5,
    ) -> None:
        self.std, self.width = std, width

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`.

        Raises:
            DataError: if z is not made of real floating-point numbers, has no rows and columns, or its dtype cannot
                hold noise of this size.
        """
        check_real(z, "correlated")
        check_size_of_noise(z, self.std, "correlated")
        if z.dim() < 3:
            raise DataError(
                f"measurements of shape {tuple(z.shape)}",
                where="correlated",
                expected="a batch with rows and columns, [B, ..., H, W]",
                hint="the noise gaussian",
            )
        axes = max(z.dim() - 2, 2)
        filters = [_filter(n, self.width, z.device) for n in z.shape[-axes:]]
        size = (*z.shape[:-axes], *(one.shape[1] for one in filters))
        white = torch.randn(size, dtype=torch.float32, device=z.device, generator=generator)
        return z.add(along_axes(white, filters).to(z.dtype), alpha=self.std)


@lru_cache(maxsize=16)
def _filter(n: int, width: float, device: torch.device) -> Tensor:
    """g on one axis, as a matrix `[n, n + 2 r]` from white noise that goes on r pixels beyond both ends."""
    with torch.inference_mode(False):
        reach = math.ceil(_CUT * width)
        values = torch.tensor(
            [math.exp(-((a / width) ** 2) / 2) for a in range(-reach, reach + 1)], dtype=torch.float64
        )
        values /= values.norm()
        matrix = torch.zeros(n, n + 2 * reach, dtype=torch.float64)
        for row in range(n):
            matrix[row, row : row + len(values)] = values
        return matrix.to(device, torch.float32)
