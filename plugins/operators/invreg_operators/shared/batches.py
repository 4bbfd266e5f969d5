"""Checks of the input of operators."""

from __future__ import annotations

from torch import Tensor

from invreg import Shape, ShapeError

_SINGLE = "x[None] for a single one with its channels, x[None, None] for one without"
_TAKES_VOLUMES = "identity, convolution, gaussian_blur and implicit_diffusion take volumes, too"


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
            hint=_SINGLE if x.dim() < 4 else _TAKES_VOLUMES if x.dim() == 5 else None,
        )
    _check_floats(x, where)


def check_spatial_batch(x: Tensor, where: str) -> None:
    """Refuses everything but a batch of images or volumes of real floating-point numbers.

    Raises:
        ShapeError: if x has not four or five dimensions.
        TypeError: if its numbers are not floating-point ones.
    """
    if x.dim() not in (4, 5):
        raise ShapeError(
            f"a tensor of shape {tuple(x.shape)}",
            where=where,
            expected="a batch of images [B, C, H, W], or of volumes [B, C, D, H, W]",
            hint=_SINGLE if x.dim() < 4 else None,
        )
    _check_floats(x, where)


def _check_floats(x: Tensor, where: str) -> None:
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
            hint=_TAKES_VOLUMES if len(domain_shape) == 4 else None,
        )


def check_spatial(domain_shape: Shape, where: str) -> None:
    """Refuses shapes that are those of neither images nor volumes.

    Raises:
        ShapeError: if `domain_shape` is not (channels, height, width) or (channels, depth, height, width), or there are
            no pixels.
    """
    if len(domain_shape) not in (3, 4) or min(domain_shape[1:]) < 1:
        raise ShapeError(
            f"images of shape {tuple(domain_shape)}",
            where=where,
            expected="(channels, height, width), or (channels, depth, height, width), with at least one pixel",
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
