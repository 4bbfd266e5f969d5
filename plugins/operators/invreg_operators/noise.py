"""Noise models."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import DataError, Noise

#: Values this little below zero are rounding errors of a non-negative measurement.
_ROUNDING = 1e-5


class NoNoise(Noise):
    """Clean measurements: z itself."""

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.clone()


class GaussianNoise(Noise):
    """Additive white Gaussian noise, unclamped: z + std * n, n standard normal in each entry.

    The noise is drawn in float32 whatever the dtype of z, so measurements in float32 and float64 get the same.
    """

    def __init__(
        self,
        std: Annotated[
            float,
            Field(
                description="standard deviation; images have values in [0, 1]",
                ge=0,
                json_schema_extra={"unit": "the scale of z"},
            ),
        ],
    ) -> None:
        self.std = std

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        _check_real(z, "gaussian")
        noise = torch.randn(z.shape, dtype=torch.float32, device=z.device, generator=generator)
        return z.add(noise.to(z.dtype), alpha=self.std)

    def __repr__(self) -> str:
        return f"GaussianNoise(std={self.std})"


class PoissonNoise(Noise):
    """Photon counts, scaled back to the intensities of z: Poisson(photons * z) / photons.

    The mean is z, the standard deviation sqrt(z / photons): the more photons, the less noise. Counts are drawn in
    float32 whatever the dtype of z.
    """

    def __init__(
        self, photons: Annotated[float, Field(description="expected number of photons where z = 1", gt=0)] = 1000.0
    ) -> None:
        self.photons = photons

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`; values down to -1e-5 count as rounding errors of 0.

        Raises:
            DataError: if z has smaller values, or values that are not finite: they are no intensities.
        """
        _check_real(z, "poisson")
        rate = z.to(torch.float32) * self.photons
        low, high = (float(rate.min()), float(rate.max())) if z.numel() else (0.0, 0.0)
        if not (low >= -_ROUNDING * self.photons and high < math.inf):
            raise DataError(
                f"measurements from {low / self.photons:.4g} to {high / self.photons:.4g}",
                where="poisson",
                expected="finite values >= 0: intensities, proportional to numbers of photons",
                hint="gaussian noise, or an operator with non-negative values",
            )
        counts = torch.poisson(rate.clamp_(min=0), generator=generator)
        return counts.to(z.dtype).div_(self.photons)

    def __repr__(self) -> str:
        return f"PoissonNoise(photons={self.photons})"


def _check_real(z: Tensor, where: str) -> None:
    if not z.is_floating_point():
        raise TypeError(f"{where}: measurements of {z.dtype}; expected real floating-point numbers")
