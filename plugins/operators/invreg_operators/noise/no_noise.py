"""Clean measurements."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import Noise


class NoNoise(Noise):
    """Clean measurements: z itself."""

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.clone()
