"""Salt and pepper: values that failed."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import DataError, Noise
from invreg_operators.noise.checks import check_real


class SaltAndPepperNoise(Noise):
    """Failed values: each is replaced, with the given probability and independently of the others,

    by `high` with the probability `salt`, and by `low` otherwise.

    All others stay what they are. Each channel is drawn alone. The numbers are drawn in float32 for every dtype of z.
    """

    def __init__(
        self,
        probability: Annotated[float, Field(description="share of the values that are replaced", ge=0, le=1)] = 0.05,
        salt: Annotated[float, Field(description="share of `high` among them", ge=0, le=1)] = 0.5,
        low: Annotated[float, Field(description="value of pepper", json_schema_extra={"unit": "the scale of z"})] = 0.0,
        high: Annotated[float, Field(description="value of salt", json_schema_extra={"unit": "the scale of z"})] = 1.0,
    ) -> None:
        self.probability, self.salt, self.low, self.high = probability, salt, low, high

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """See `Noise.draw`.

        Raises:
            DataError: if z is not made of real floating-point numbers, or its dtype cannot hold `low` or `high`.
        """
        check_real(z, "salt_and_pepper")
        if max(abs(self.low), abs(self.high)) > torch.finfo(z.dtype).max:
            held = str(z.dtype).removeprefix("torch.")
            raise DataError(
                f"low = {self.low:g} and high = {self.high:g} for measurements in {held}",
                where="salt_and_pepper",
                expected="values that the numbers can hold",
                hint="images have values in [0, 1]",
            )
        uniform = torch.rand(z.shape, dtype=torch.float32, device=z.device, generator=generator)
        whitened = uniform < self.probability * self.salt
        failed = uniform < self.probability
        return z.masked_fill(failed, self.low).masked_fill(whitened, self.high)
