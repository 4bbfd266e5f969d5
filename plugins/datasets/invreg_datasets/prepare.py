"""From decoded pixels to what a data set delivers: colour, scale, data type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from invreg_datasets.parameters import ColorName

# Luminance of linear ITU-R BT.709 primaries: the weights of scikit-image's rgb2gray.
_LUMINANCE = (0.2125, 0.7154, 0.0721)

Item = TypeVar("Item")


def to_unit(image: Tensor) -> Tensor:
    """uint8 in 0..255 as float32 in [0, 1]; float32 as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def to_color(image: Tensor, color: ColorName) -> Tensor:
    """`[C, H, W]` with C = 1 (grey) or 3 (rgb). The data type changes only where pixel values do."""
    if color == "rgb":
        return image.expand(3, -1, -1) if image.shape[0] == 1 else image
    if image.shape[0] == 1:
        return image
    weights = torch.tensor(_LUMINANCE).view(3, 1, 1)
    # The weights sum to one only up to rounding: white must not become whiter.
    return (to_unit(image) * weights).sum(0, keepdim=True).clamp_(0, 1)


def reduce_by(image: Tensor, factor: int) -> Tensor:
    """Area downsampling: each pixel is the mean of a factor x factor block; incomplete blocks are cut off."""
    if factor == 1:
        return image
    height, width = (side // factor * factor for side in image.shape[1:])
    if not height or not width:
        return to_unit(image[:, :0, :0])
    return functional.avg_pool2d(to_unit(image)[:, :height, :width], factor)


def resize_short_side(image: Tensor, size: int) -> Tensor:
    """Shrinks the image, keeping its proportions, until its shorter side has `size` pixels.

    The triangle filter is widened by the scale, so nothing aliases.
    """
    height, width = image.shape[1:]
    scale = size / min(height, width)
    if scale == 1:
        return image
    target = [max(size, round(height * scale)), max(size, round(width * scale))]
    resized = functional.interpolate(
        to_unit(image)[None], size=target, mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp_(0, 1)


def of_one_type(images: Sequence[Tensor]) -> list[Tensor]:
    """All images uint8 if they all are, else all float32."""
    return list(images) if all(image.dtype == torch.uint8 for image in images) else [to_unit(i) for i in images]


def load_all(load: Callable[[Item], Tensor], items: Sequence[Item]) -> list[Tensor]:
    """`load` applied to all items in threads (decoders release the interpreter lock); the first error wins."""
    with ThreadPoolExecutor(max_workers=min(16, cpu_count() or 1)) as pool:
        return list(pool.map(load, items))
