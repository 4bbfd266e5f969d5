"""Images as people have them, made into the splits that a training needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg.components.dataset import ImageDataset, ImageStack, Splits
from invreg.components.training_images import TrainingImages
from invreg.errors import DataError
from invreg.models.arrays import as_tensor, on_scale
from invreg.plugins.registry import Registry

#: Sides of the training crops, where nothing else is asked for: at most this.
_CROP = 96

_KINDS = {1: "a grey image", 3: "a colour image"}

_EXPECTED = (
    "images [N, H, W] or [N, C, H, W] (NumPy or torch, floating point in [0, 1], or 8 or 16 bits), a list of images of "
    "several sizes, or a data set"
)


def splits_of(
    images: Any, val: Any = None, crop: int | tuple[int, int] | None = None, registry: Registry | None = None
) -> Splits:
    """Training and validation images; the validation images stand in for the test images, which no training sees.

    Args:
        images: `Splits` or a data set, which bring their validation images along; else an array or a list of images.
        val: images of one size, for validation; a tenth of the images if None, the last ones.
        crop: height and width of the training crops; as large as all images allow, at most 96, if None.
        registry: knows data sets by name.

    Raises:
        DataError: if they are not images, or too few.
    """
    if isinstance(images, str | Mapping):
        images = (registry or Registry.installed()).build("dataset", images, "images")
    if isinstance(images, ImageDataset):
        images = images.splits()
    if isinstance(images, Splits):
        for name, given in (("val", val), ("crop", crop)):
            if given is not None:
                raise DataError(
                    f"{name} beside a data set, which has its own", where=name, expected=f"no {name}, or images alone"
                )
        return Splits(images.train, images.val, images.val)
    found = _as_images(images, "images")
    if val is None:
        if len(found) < 2:
            raise DataError("one image alone", where="images", expected="at least two, or val=")
        kept = max(1, len(found) // 10)
        found, val = found[:-kept], _cut(found[-kept:])
    stack = val if isinstance(val, ImageStack) else _stack(val)
    if crop is None:
        side = min(_CROP, *(min(image.shape[1:]) for image in found))
        crop = (side, side)
    size = (crop, crop) if isinstance(crop, int) else (int(crop[0]), int(crop[1]))
    return Splits(TrainingImages(found, [f"image {i}" for i in range(len(found))], size), stack, stack)


def _as_images(given: Any, where: str) -> list[Tensor]:
    """Images `[C, H, W]`: float32 in [0, 1], or all of 8 bits."""
    if isinstance(given, np.ndarray | Tensor):
        if given.ndim not in (3, 4):
            raise DataError(f"an array of shape {tuple(given.shape)}", where=where, expected=_EXPECTED)
        given = list(given)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DataError(f"an instance of {type(given).__name__}", where=where, expected=_EXPECTED)
    if not given:
        raise DataError("no images", where=where, expected=_EXPECTED)
    images = [_as_image(image, f"{where}[{index}]") for index, image in enumerate(given)]
    other = next((index for index, image in enumerate(images) if len(image) != len(images[0])), None)
    if other is not None:
        first, second = (_KINDS.get(len(image), f"{len(image)} channels") for image in (images[0], images[other]))
        raise DataError(
            f"{first} in {where}[0], and {second} in {where}[{other}]",
            where=where,
            expected="grey images alone, or colour images alone",
            hint="the mean of the colours as grey: image.mean(axis=-1)",
        )
    if any(image.dtype != torch.uint8 for image in images):
        images = [image / 255 if image.dtype == torch.uint8 else image for image in images]
    return images


def _as_image(given: Any, where: str) -> Tensor:
    image = as_tensor(given, where, _EXPECTED).cpu()
    if image.ndim not in (2, 3):
        raise DataError(f"an array of shape {tuple(image.shape)}", where=where, expected=_EXPECTED)
    image = image[None] if image.ndim == 2 else image
    if image.shape[0] not in (1, 3) and image.shape[2] in (1, 3):  # channels last
        image = image.movedim(2, 0)
    # Those of 8 bits stay as they are, which saves memory.
    image = image if image.dtype == torch.uint8 else on_scale(image, where, _EXPECTED, []).float()
    return image.contiguous()


def _cut(images: list[Tensor]) -> list[Tensor]:
    """The middle of each image, as large as the smallest one is."""
    height, width = (min(image.shape[axis] for image in images) for axis in (1, 2))
    tops = [(image.shape[1] - height) // 2 for image in images]
    lefts = [(image.shape[2] - width) // 2 for image in images]
    return [
        image[:, top : top + height, left : left + width] for image, top, left in zip(images, tops, lefts, strict=True)
    ]


def _stack(given: Any) -> ImageStack:
    images = _as_images(given, "val")
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise DataError(
            f"images of shape {shapes[0]} and {shapes[-1]}", where="val", expected="validation images of one shape"
        )
    stack = torch.stack(images)
    stack = stack.float() / 255 if stack.dtype == torch.uint8 else stack
    return ImageStack(stack, [f"image {index}" for index in range(len(images))])
