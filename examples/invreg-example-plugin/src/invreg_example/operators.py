"""What a moving camera does to a scene."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

import invreg

Length = Annotated[
    int, Field(ge=1, description="length of the path", json_schema_extra={"unit": "pixels"}), invreg.Odd()
]
Fade = Annotated[float, Field(ge=0, le=1, description="what is left of the edge from one pixel beyond it to the next")]


class MovingAverage(invreg.LinearOperator):
    """The mean over a horizontal path; k pixels beyond its edge, a row continues as its last pixel times fade^k."""

    def __init__(self, length: Length = 7, fade: Fade = 0.5) -> None:
        super().__init__()
        self.length, self.fade, self.radius = length, fade, length // 2

    def forward(self, x: Tensor) -> Tensor:
        left, right = self._tails(x)
        return torch.cat([left * x[..., :1], x, right * x[..., -1:]], -1).unfold(-1, self.length, 1).mean(-1)

    def adjoint(self, y: Tensor) -> Tensor:
        left, right = self._tails(y)
        spread = pad(y, (self.length - 1, self.length - 1)).unfold(-1, self.length, 1).mean(-1)
        before, x, after = spread.split([self.radius, y.shape[-1], self.radius], -1)
        first, last = (left * before).sum(-1, keepdim=True), (right * after).sum(-1, keepdim=True)
        return x + pad(first, (0, x.shape[-1] - 1)) + pad(last, (x.shape[-1] - 1, 0))

    def _tails(self, like: Tensor) -> tuple[Tensor, Tensor]:
        right = self.fade ** torch.arange(1, self.radius + 1, dtype=like.dtype, device=like.device)
        return right.flip(0), right
