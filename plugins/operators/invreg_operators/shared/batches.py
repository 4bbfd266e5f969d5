"""Checks of the input of operators."""

from __future__ import annotations

from torch import Tensor

from invreg import Shape, ShapeError


def check_batch(x: Tensor, where: str, expected: str = "images [B, C, H, W]") -> None:
    """Refuses everything but a batch of images (or what is `expected`) of real floating-point numbers.

    Raises:
        ShapeError: if x has not four dimensions.
        TypeError: if its numbers are not floating-point ones.
    """
    if x.dim() != 4:
        raise ShapeError(
            f"a tensor of shape {tuple(x.shape)}",
            where=where,
            expected=f"a batch of {expected}",
            hint="x[None] for a single one with its channels, x[None, None] for one without" if x.dim() < 4 else None,
        )
    if not x.is_floating_point():
        raise TypeError(f"{where}: images of {x.dtype}; expected floating-point numbers, such as x.float()")


def check_images(domain_shape: Shape, where: str) -> None:
    """Refuses shapes that are not those of images.

    Raises:
        ShapeError: if `domain_shape` is not (channels, height, width), or the image has no pixels.
    """
    if len(domain_shape) != 3 or min(domain_shape[1:]) < 1:
        raise ShapeError(
            f"images of shape {tuple(domain_shape)}",
            where=where,
            expected="(channels, height, width) with at least one pixel",
        )


def check_direction(x: Tensor, h: Tensor, where: str) -> None:
    """Refuses directions that are not those of images x.

    Raises:
        ShapeError: if x and h have different shapes.
    """
    if h.shape != x.shape:
        raise ShapeError(
            f"a direction of shape {tuple(h.shape)} at images of shape {tuple(x.shape)}",
            where=where,
            expected="the same shape",
        )
