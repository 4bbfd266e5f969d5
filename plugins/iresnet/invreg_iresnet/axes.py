"""Images and volumes: operations that read the number of spatial axes off the shape of a tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import Shape, ShapeError

#: How many spatial axes the images of a network may have: [C, H, W] and [C, D, H, W].
SUPPORTED = (2, 3)


def spatial_sides(image_shape: Shape, where: str) -> tuple[int, ...]:
    """The sides of images, (H, W), or of volumes, (D, H, W).

    Raises:
        ShapeError: for another number of axes.
    """
    _, *sides = image_shape
    if len(sides) not in SUPPORTED:
        raise ShapeError(
            f"images of shape {list(image_shape)}",
            where=where,
            expected="[C, H, W], or [C, D, H, W] for volumes",
        )
    return tuple(sides)


def convolved(x: Tensor, kernel: Tensor, bias: Tensor | None = None, *, padding: int = 0, groups: int = 1) -> Tensor:
    """The convolution of states `[B, M, *spatial]` with a kernel of as many axes."""
    convolve = F.conv2d if kernel.ndim == 4 else F.conv3d
    return convolve(x, kernel, bias, padding=padding, groups=groups)


def pixels_last(x: Tensor) -> Tensor:
    """`[B, M, *spatial]` as `[B, *spatial, M]`, a view."""
    return x.movedim(1, -1)


def channels_first(x: Tensor) -> Tensor:
    """`[B, *spatial, M]` as `[B, M, *spatial]`, a view."""
    return x.movedim(-1, 1)


def rows(x: Tensor) -> Tensor:
    """`[B, M, *spatial]` as one row per pixel; a view in the layout of `in_channels_last`."""
    return x.movedim(1, -1).flatten(0, -2)


def in_channels_last(x: Tensor) -> Tensor:
    """The same numbers in the layout in which CPUs and GPUs convolve fastest."""
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def per_channel(values: Tensor, axes: int) -> Tensor:
    """Numbers of channels `[M]` (or of several, `[..., M]`), to be broadcast over that many spatial axes."""
    return values[(..., *axes * (None,))]


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """One number for each image of a batch, to be broadcast over the images x."""
    return values[(..., *(x.ndim - 1) * (None,))]


def but_first(x: Tensor) -> tuple[int, ...]:
    """All axes but that of the batch."""
    return tuple(range(1, x.ndim))
