"""Operators that act on rows and columns alone, as two products with small matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def along_axes(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """left x rightᵀ for every image x `[..., H, W]`, with left `[H', H]` and right `[W', W]`.

    Physics keeps the precision of the images, also inside a network that runs under autocast.
    """
    with torch.autocast(x.device.type, enabled=False):
        return left @ x @ right.mT
