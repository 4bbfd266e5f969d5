"""Saturation: a sensor that cannot count further."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from invreg_operators.pointwise.pointwise import Pointwise


class Saturation(Pointwise):
    """Every value is cut off at a level, as by a sensor whose wells are full,

        f(t) = min(t, level),   or with a `knee` w > 0   f(t) = t - w log(1 + exp((t - level) / w)),

    on images `[B, C, H, W]`. The knee is a smooth minimum: it lies below min(t, level), by at most w log 2 (at the
    level), and tends to it as w tends to 0. f'(t) = 1 / (1 + exp((t - level) / w)); without a knee f' is 1 up to the
    level and 0 above. F is nonexpansive. What is above the level is lost: there the derivative is zero.
    """

    where = "saturation"

    def __init__(
        self,
        level: Annotated[
            float,
            Field(
                description="the largest value that is measured; images have values in [0, 1]",
                gt=0,
                json_schema_extra={"unit": "the grey scale"},
            ),
        ] = 0.7,
        knee: Annotated[
            float,
            Field(
                description="width w of the bend below the level; 0 is a sharp one",
                ge=0,
                le=10,
                json_schema_extra={"unit": "the grey scale"},
            ),
        ] = 0.0,
    ) -> None:
        super().__init__()
        self.level, self.knee = level, knee

    def value(self, x: Tensor) -> Tensor:
        """f(x), for x of any shape."""
        if not self._is_smooth(x):
            # Not clamp, whose derivative at the level depends on the version of torch.
            return torch.where(x > self.level, self.level, x)
        return x - self.knee * softplus((x - self.level) / self.knee, threshold=40)

    def slope(self, x: Tensor) -> Tensor:
        """f'(x), for x of any shape."""
        if not self._is_smooth(x):
            return (x <= self.level).to(x.dtype)
        return torch.sigmoid((self.level - x) / self.knee)

    def extra_repr(self) -> str:
        return f"level={self.level:g}, knee={self.knee:g}"

    def _is_smooth(self, x: Tensor) -> bool:
        """Whether there is a knee that numbers of this precision can tell from a sharp one."""
        return self.knee > torch.finfo(x.dtype).eps * self.level
