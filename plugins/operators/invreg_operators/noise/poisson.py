"""Photon counts."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import DataError, Noise
from invreg_operators.noise.checks import check_real

#: Values this little below zero are rounding errors of a non-negative measurement.
_ROUNDING = 1e-5
#: Counts are drawn as 32-bit integers on GPUs; beyond this number, noise is below 3e-5 of the signal.
_MOST_PHOTONS = 1e9


class PoissonNoise(Noise):
    """Photon counts, scaled back to the intensities of z: Poisson(photons * z) / photons.

    The mean is z, the standard deviation sqrt(z / photons): the more photons, the less noise. Counts are drawn in
    float32 for every dtype of z. There may be 10^9 expected photons per value at most.
    """

    def __init__(
        self, photons: Annotated[float, Field(description="expected number of photons where z = 1", gt=0)] = 1000.0
    ) -> None:
        self.photons = photons

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`; values down to -1e-5 count as rounding errors of 0.

        Raises:
            DataError: if z has smaller values, or values that are not finite: they are not intensities. Also if counts,
                or the value of one photon, are out of range.
        """
        check_real(z, "poisson")
        low, high = (float(z.min()), float(z.max())) if z.numel() else (0.0, 0.0)
        if not (low >= -_ROUNDING and high < math.inf):
            raise DataError(
                f"measurements from {low:.4g} to {high:.4g}",
                where="poisson",
                expected="finite values >= 0: intensities, proportional to numbers of photons",
                hint="gaussian noise, or an operator with non-negative values",
            )
        if high * self.photons > _MOST_PHOTONS:
            raise DataError(
                f"{high * self.photons:.4g} expected photons for a value of {high:.4g}",
                where="poisson",
                expected=f"at most {_MOST_PHOTONS:g}: with more, no noise is left",
                hint="fewer photons, or the noise none",
            )
        if 1 / self.photons > torch.finfo(z.dtype).max:
            raise DataError(
                f"photons = {self.photons:g} for measurements in {str(z.dtype).removeprefix('torch.')}",
                where="poisson",
                expected="a finite value of one photon, 1 / photons",
                hint="more photons",
            )
        rate = z.to(torch.float32) * self.photons
        counts = torch.poisson(rate.clamp_(min=0), generator=generator)
        # Half precision holds counts up to 65504 only: they are divided before they are cast.
        counts = counts.to(torch.promote_types(z.dtype, torch.float32))
        return counts.div_(self.photons).to(z.dtype)

    def __repr__(self) -> str:
        return f"PoissonNoise(photons={self.photons})"
