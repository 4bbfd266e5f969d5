"""Random crops with flips and quarter turns, from images of any size, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from invreg.errors import DataError
from invreg.streams import generator, stream_key


class TrainingImages:
    """Training images in one flat buffer, from which batches of random crops are gathered.

    A batch is a pure function of (seed, step): nothing has to be stored to resume, every method of a run sees
    the same crops in the same order, and any worker or process can make any batch. The buffer moves to the
    GPU once; a step copies no image.

    An epoch visits each image as often as crops fit into it side by side, in random order, each time at a random
    place and in one of the eight orientations (flips and quarter turns).

    Args:
        images: tensors `[C, H_i, W_i]`, float32 in [0, 1], or uint8 in 0..255 (kept so, to save memory).
        names: one name per image.
        crop: height and width of the crops.

    Raises:
        DataError: if there is no image, an image is smaller than the crop, or its values are unusable.
    """

    def __init__(self, images: Sequence[Tensor], names: Sequence[str], crop: tuple[int, int]) -> None:
        if not images:
            raise DataError("no training images", where="TrainingImages", expected="at least one image")
        height, width = crop
        for image, name in zip(images, names, strict=True):
            _check_training_image(image, name, images[0], crop)
        self.names = list(names)
        self.crop = (int(height), int(width))
        self.channels = int(images[0].shape[0])
        self._heights = torch.tensor([image.shape[1] for image in images])
        self._widths = torch.tensor([image.shape[2] for image in images])
        sizes = torch.tensor([image.numel() for image in images])
        self._starts = torch.cumsum(sizes, 0) - sizes
        self._pixels = torch.cat([image.reshape(-1) for image in images])
        visits = (self._heights // height) * (self._widths // width)
        self._visits = torch.repeat_interleave(torch.arange(len(images)), visits)

    def __len__(self) -> int:
        """Crops in one epoch."""
        return len(self._visits)

    @property
    def device(self) -> torch.device:
        return self._pixels.device

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of each crop."""
        return (self.channels, *self.crop)

    def image(self, index: int) -> Tensor:
        """The whole image number `index`, `[C, H, W]`, float32 in [0, 1]."""
        height, width = int(self._heights[index]), int(self._widths[index])
        start = int(self._starts[index])
        flat = self._pixels[start : start + self.channels * height * width]
        return _to_unit(flat.reshape(self.channels, height, width))

    def to(self, device: torch.device | str) -> TrainingImages:
        """The same images with their pixels on `device`."""
        moved = object.__new__(TrainingImages)
        moved.__dict__.update(self.__dict__)
        moved._pixels = self._pixels.to(device)
        return moved

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in one epoch; the last, incomplete one is filled up from the next epoch."""
        return max(1, math.ceil(len(self) / batch_size))

    def batch(self, seed: int, step: int, batch_size: int, part: slice = slice(None)) -> Tensor:
        """The crops of training step `step`, `[batch_size, C, h, w]`, float32 in [0, 1].

        Args:
            seed: the run's seed for the order and the augmentation.
            step: number of the step, from 0.
            batch_size: size of the whole batch.
            part: the crops of it that are wanted (one process of several takes its share).
        """
        visits = range(step * batch_size, (step + 1) * batch_size)
        chosen = torch.tensor([self._visit(seed, visit) for visit in visits])
        rng = generator(stream_key(seed, "crops", step))
        random = torch.rand(3, batch_size, generator=rng, dtype=torch.float64)
        height, width = self.crop
        tops = (random[0] * (self._heights[chosen] - height + 1)).long()
        lefts = (random[1] * (self._widths[chosen] - width + 1)).long()
        # A rectangle turned by 90 degrees is another rectangle: only square crops use all eight symmetries.
        orientations = (random[2] * (8 if height == width else 4)).long()
        return self._gather(chosen[part], tops[part], lefts[part], orientations[part])

    def _visit(self, seed: int, visit: int) -> int:
        epoch, position = divmod(visit, len(self))
        return int(self._visits[_epoch_order(seed, epoch, len(self))[position]])

    def _gather(self, chosen: Tensor, tops: Tensor, lefts: Tensor, orientations: Tensor) -> Tensor:
        height, width = self.crop
        rows = torch.arange(height).view(1, height, 1)
        columns = torch.arange(width).view(1, 1, width)
        flip_rows, flip_columns, transpose = ((orientations >> bit & 1).bool().view(-1, 1, 1) for bit in range(3))
        rows = torch.where(flip_rows, height - 1 - rows, rows)
        columns = torch.where(flip_columns, width - 1 - columns, columns)
        stride = self._widths[chosen].view(-1, 1, 1)
        upright = rows * stride + columns
        index = torch.where(transpose, upright.transpose(1, 2), upright) if height == width else upright
        index = index + (self._starts[chosen] + tops * self._widths[chosen] + lefts).view(-1, 1, 1)
        planes = torch.arange(self.channels).view(1, -1, 1, 1) * (self._heights * self._widths)[chosen].view(-1, 1, 1, 1)
        index = index.unsqueeze(1) + planes
        return _to_unit(self._pixels[index.to(self.device)])


def _check_training_image(image: Tensor, name: str, first: Tensor, crop: tuple[int, int]) -> None:
    where = f"image {name!r}"
    if image.ndim != 3 or image.shape[0] != first.shape[0] or image.dtype != first.dtype:
        raise DataError(
            f"shape {tuple(image.shape)}, {image.dtype}",
            where=where,
            expected=f"[C, H, W] with C = {first.shape[0]}, {first.dtype}, as the first image has it",
        )
    if image.shape[1] < crop[0] or image.shape[2] < crop[1]:
        raise DataError(
            f"{image.shape[1]}x{image.shape[2]} pixels, smaller than the {crop[0]}x{crop[1]} crop",
            where=where,
            expected="images at least as large as the crop",
            hint="a smaller crop, less downsampling, or leave this image out",
        )
    if image.dtype == torch.uint8:
        return
    if image.dtype != torch.float32 or not torch.isfinite(image).all():
        raise DataError("values that are NaN, infinite or not float32", where=where, expected="finite float32 in [0, 1]")
    if image.min() < 0 or image.max() > 1:
        raise DataError(f"values from {image.min():.4g} to {image.max():.4g}", where=where, expected="values in [0, 1]")


def _to_unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, length: int) -> Tensor:
    return torch.randperm(length, generator=generator(stream_key(seed, "order", epoch)))
