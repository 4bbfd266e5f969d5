"""Additive white Gaussian noise."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import Noise
from invreg_operators.noise.checks import check_real, check_size_of_noise


class GaussianNoise(Noise):
    """Additive white Gaussian noise, unclamped: z + std * n, n standard normal in each entry.

    The noise is drawn in float32 for every dtype of z, so measurements in float32 and float64 get the same.
    """

    def __init__(
        self,
        std: Annotated[
            float,
            Field(
                description="standard deviation; images have values in [0, 1]",
                ge=0,
                examples=[0.01],
                json_schema_extra={"unit": "the scale of z"},
            ),
        ],
    ) -> None:
        self.std = std

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`.

        Raises:
            DataError: if z is not made of real floating-point numbers, or its dtype cannot hold noise of this size.
        """
        check_real(z, "gaussian")
        check_size_of_noise(z, self.std, "gaussian")
        noise = torch.randn(z.shape, dtype=torch.float32, device=z.device, generator=generator)
        return z.add(noise.to(z.dtype), alpha=self.std)

    def __repr__(self) -> str:
        return f"GaussianNoise(std={self.std})"
