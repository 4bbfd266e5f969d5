"""Photon counts that are read out with Gaussian noise."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import Noise
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.poisson import PoissonNoise


class PoissonGaussianNoise(Noise):
    """Photon counts that a sensor reads out with Gaussian noise: Poisson(photons * z) / photons + std * n, n white.

    The mean is z, the variance z / photons + std²: shot noise and read-out noise of a camera. Nothing is clamped. Both
    are drawn in float32 for every dtype of z; z and the number of photons are limited as in the noise `poisson`.

    Source: Foi et al. 2008, IEEE Transactions on Image Processing 17, 1737-1754, section II.
    """

    def __init__(
        self,
        photons: Annotated[float, Field(description="expected number of photons where z = 1", gt=0)] = 1000.0,
        std: Annotated[
            float,
            Field(
                description="standard deviation of the read-out noise",
                ge=0,
                json_schema_extra={"unit": "the scale of z"},
            ),
        ] = 0.01,
    ) -> None:
        self.photons, self.std = photons, std
        self._counts, self._read_out = PoissonNoise(photons), GaussianNoise(std)

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`.

        Raises:
            DataError: if z has negative values, values that are not finite, or one of both kinds of noise is out of
                the range of its numbers.
        """
        return self._read_out.draw(self._counts.draw(z, generator), generator)
