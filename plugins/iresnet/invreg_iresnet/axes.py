"""Images and volumes: operations that read the number of spatial axes off the shape of a tensor."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import Shape, ShapeError

#: How many spatial axes the images of a network may have: [C, H, W] and [C, D, H, W].
SUPPORTED = (2, 3)

# Channels x depth x height up to which torch convolves a single volume by its general code.
_SMALL = 20_480


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
    if kernel.ndim == 4:
        return F.conv2d(x, kernel, bias, padding=padding, groups=groups)
    if groups == 1 and is_slow(x, kernel):
        return _in_halves(x, kernel, bias, padding)
    return F.conv3d(x, kernel, bias, padding=padding, groups=groups)


def is_slow(x: Tensor, kernel: Tensor) -> bool:
    """Whether torch leaves a volume to a general code, several times slower: a small one, alone in its batch.

    That is the rule of torch (`ConvParams::use_mkldnn`) for when oneDNN is worth it, where the width does not count.
    Programs are made for batches of any size.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype != torch.float32 or x.shape[0] != 1:
        return False
    return math.prod(x.shape[:-1]) <= _SMALL and 1 < kernel.shape[-1] <= 3 and x.shape[2] >= 2 * kernel.shape[2]


def _in_halves(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """The same of one volume, as that of its two halves along the depth: 3 times as fast where it is slow."""
    size = kernel.shape[2]
    depth = x.shape[2] + 2 * padding - size + 1
    half = -(-depth // 2)
    padded = F.pad(x, (0, 0, 0, 0, padding, padding + 2 * half - depth))
    parts = torch.cat([padded[:, :, : half + size - 1], padded[:, :, half:]])
    found = F.conv3d(parts, kernel, bias, padding=(0, padding, padding))
    return torch.cat([found[:1], found[1:, :, : depth - half]], dim=2)


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
