"""The check that every operator here makes on what it is given."""

from __future__ import annotations

from torch import Tensor

from invreg.errors import ShapeError


def check_batch(x: Tensor, where: str) -> None:
    """Refuses everything but a batch of images of real floating-point numbers.

    Raises:
        ShapeError: if x has not four dimensions.
        TypeError: if its numbers are not floating-point ones.
    """
    if x.dim() != 4:
        raise ShapeError(
            f"a tensor of shape {tuple(x.shape)}",
            where=where,
            expected="a batch of images [B, C, H, W]",
            hint="image[None] for a single image [C, H, W], image[None, None] for [H, W]" if x.dim() < 4 else None,
        )
    if not x.is_floating_point():
        raise TypeError(f"{where}: images of {x.dtype}; expected floating-point numbers, such as x.float()")
