"""Gamma correction: the tone curve of cameras and displays."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import SpecError
from invreg_operators.pointwise.pointwise import Pointwise

#: The smallest offset for exponents below 1.
_LEAST = 1e-4


class Gamma(Pointwise):
    """The power law of cameras and displays on every value,

        f(t) = ((t + c)^gamma - c^gamma) / ((1 + c)^gamma - c^gamma) for t >= 0,   f(-t) = -f(t),

    on images `[B, C, H, W]`, with c the `offset`: t^gamma for c = 0. f maps [0, 1] to itself, with f(0) = 0 and
    f(1) = 1. The offset bounds the slope at black, as the standards for television have it: with an exponent below 1
    and none, f'(0) would be infinite, which is refused. For gamma > 1 and no offset f'(0) = 0.

    Source: Poynton 2012, Digital Video and HD, 2nd edition.
    """

    where = "gamma"

    def __init__(
        self,
        exponent: Annotated[float, Field(description="gamma; 2.2 decodes, 1 / 2.2 encodes", ge=0.05, le=20)] = 2.2,
        offset: Annotated[
            float,
            Field(
                description="c; positive for exponents below 1", ge=0, le=1, json_schema_extra={"unit": "grey values"}
            ),
        ] = 0.0,
    ) -> None:
        super().__init__()
        if exponent < 1 and offset < _LEAST:
            raise SpecError(
                f"an offset of {offset:g} for the exponent {exponent:g}",
                where="offset",
                expected=f"at least {_LEAST:g} for exponents below 1: the slope at black would be infinite",
                hint="offset: 0.05",
            )
        self.exponent, self.offset = exponent, offset
        self._at_black = offset**exponent
        self._range = (1 + offset) ** exponent - self._at_black

    def value(self, x: Tensor) -> Tensor:
        """f(x), for x of any shape."""
        # The derivative at 0 comes from one of the two parts: that of relu is zero there, that of where is not.
        return (self._power(torch.where(x < 0, 0, x)) - self._power((-x).relu())) / self._range

    def slope(self, x: Tensor) -> Tensor:
        """f'(x), for x of any shape."""
        return (x.abs() + self.offset) ** (self.exponent - 1) * (self.exponent / self._range)

    def extra_repr(self) -> str:
        return f"exponent={self.exponent:g}, offset={self.offset:g}"

    def _power(self, x: Tensor) -> Tensor:
        return (x + self.offset) ** self.exponent - self._at_black
