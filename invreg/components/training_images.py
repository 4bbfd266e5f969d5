"""Random crops with flips and quarter turns, from images and volumes of any size, on any device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor

from invreg.components.stored_images import StoredImages
from invreg.computing.streams import generator, stream_key
from invreg.errors import DataError
from invreg.summaries import Summarized, Summary, brief
from invreg.text import count, plural, size_in_words

if TYPE_CHECKING:
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem


#: Stored images are copied to a GPU if they take at most this share of its free memory.
_SHARE_OF_GPU = 0.25


class _Crops(NamedTuple):
    """Where the crops of a batch are.

    Attributes:
        chosen: the image of each.
        corners: the pixel at which each begins, `[axes, B]`.
        orientations: a number of bits: for each axis whether it is flipped, and whether rows and columns are exchanged.
    """

    chosen: Tensor
    corners: Tensor
    orientations: Tensor


class TrainingImages(Summarized):
    """Training images in one flat buffer, from which batches of random crops are gathered.

    A batch is a pure function of (seed, step): nothing has to be stored to resume, every method of a run sees
    the same crops in the same order, and any worker or process can make any batch. The buffer moves to the
    GPU once; a step copies no image. Stored images stay in their file, and only crops are read, unless a GPU has
    room for all of them.

    An epoch visits each image as often as crops fit into it side by side, in random order, each time at a random
    place and in one of the eight orientations (flips and quarter turns). A volume has sixteen: its slices are flipped
    and turned as images are, and their order may be reversed. Slices stay slices, as their distance is often another
    one than that of pixels.

    Args:
        images: tensors `[C, H_i, W_i]`, or `[C, D_i, H_i, W_i]`; float32 in [0, 1], or uint8 in 0..255 (kept so, to
            save memory); or [`StoredImages`][invreg.components.stored_images.StoredImages] of such values.
        names: one name per image.
        crop: height and width of the crops; depth, height and width for volumes.

    Raises:
        DataError: if there is no image, an image is smaller than the crop, or its values are unusable.
    """

    def __init__(self, images: Sequence[Tensor], names: Sequence[str], crop: Sequence[int]) -> None:
        if not images:
            raise DataError("no training images", where="TrainingImages", expected="at least one image")
        if len(names) != len(images):
            raise DataError(f"{len(names)} names for {len(images)} images", where="TrainingImages", expected="one each")
        if len(crop) not in (2, 3) or min(crop) < 1:
            least = "x".join("1" * max(len(crop), 2))
            raise DataError(f"crops of {size_in_words(crop)}", where="TrainingImages", expected=f"at least {least}")
        shapes, dtypes = _shapes(images), _dtypes(images)
        for shape, dtype, name in zip(shapes, dtypes, names, strict=True):
            _check_training_image(shape, dtype, name, shapes[0], dtypes[0], crop)
        self.names = list(names)
        self.crop = tuple(map(int, crop))
        self.channels = int(shapes[0][0])
        self._sizes = torch.tensor([shape[1:] for shape in shapes])
        sizes = torch.tensor([math.prod(shape) for shape in shapes])
        self._starts = torch.cumsum(sizes, 0) - sizes
        self._pixels = _flat(images)
        self._device = self._pixels.device
        if self._pixels.dtype == torch.float32:
            low, high = _extremes(self._pixels)
            # One pass over everything; only if something is wrong (NaN compares false), look for where it is.
            if not (low >= 0 and high <= 1):
                _check_values(images, names)
        visits = (self._sizes // torch.tensor(self.crop)).prod(1)
        self._visits = torch.repeat_interleave(torch.arange(len(images)), visits)

    def __len__(self) -> int:
        """Crops in one epoch."""
        return len(self._visits)

    def _summary(self) -> Summary:
        crop = "x".join(map(str, self.crop_shape))
        title = (
            f"{type(self).__name__}: {plural(len(self.names), 'image')}, crops {crop}, {count(len(self))} in an epoch"
        )
        notes = [("names", brief(self.names)), ("memory", f"{self.nbytes / 2**20:.1f} MiB")]
        if isinstance(self._pixels, StoredImages):
            notes.append(("file", f"{self._pixels.path}, {self._pixels.nbytes / 2**20:.1f} MiB"))
        return Summary(title, (), notes)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self._device

    @property
    def nbytes(self) -> int:
        """Memory of the pixels; none for those that stay in a file."""
        return _memory(self._pixels)

    @property
    def crop_shape(self) -> Shape:
        """(C, H, W) of each crop, or (C, D, H, W)."""
        return (self.channels, *self.crop)

    def image(self, index: int) -> Tensor:
        """The whole image number `index`, `[C, H, W]` or `[C, D, H, W]`, float32 in [0, 1]."""
        shape = (self.channels, *self._sizes[index].tolist())
        if isinstance(self._pixels, StoredImages):
            return _to_unit(self._pixels[index].to(self.device))
        start = int(self._starts[index])
        flat = self._pixels[start : start + math.prod(shape)]
        return _to_unit(flat.reshape(shape))

    @property
    def measured_range(self) -> tuple[float, float] | None:
        """The smallest and the largest value of measurements that are there already; None where images are measured."""
        return None

    @property
    def contents(self) -> Iterator[Tensor]:
        """All values, as a fingerprint of the images sees them."""
        return map(self.image, range(len(self.names)))

    def to(self, device: torch.device | str) -> Self:
        """The same images with their batches on `device`, and their pixels, too, unless they stay in a file."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        moved._device, moved._pixels = torch.device(device), _moved(self._pixels, device)
        if isinstance(moved._pixels, Tensor):
            moved._device = moved._pixels.device  # "cuda" has become "cuda:0"
        return moved

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in one epoch; the last, incomplete one is filled up from the next epoch."""
        return max(1, math.ceil(len(self) / batch_size))

    def batch(self, seed: int, step: int, batch_size: int, part: slice = slice(None)) -> Tensor:
        """The crops of training step `step`, `[batch_size, C, h, w]` or `[batch_size, C, d, h, w]`, float32 in [0, 1].

        Args:
            seed: the run's seed for the order and the augmentation.
            step: number of the step, from 0.
            batch_size: size of the whole batch.
            part: the crops of it that are wanted (one process of several takes its share).
        """
        return _to_unit(self._gather(self._pixels, self.channels, self._crops(seed, step, batch_size, part)))

    def measured_batch(
        self,
        problem: Problem,
        seed: int,
        step: int,
        batch_size: int,
        generator: torch.Generator,
        part: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """The crops of a training step, as in `batch`, and their measurements `[batch_size, ...range]`.

        Args:
            problem: it measures the crops, with noise from `generator`.
            seed: the run's seed for the order and the augmentation.
            step: number of the step, from 0.
            batch_size: size of the whole batch.
            generator: on the device of the images.
            part: the crops of the batch that are wanted.
        """
        x = self.batch(seed, step, batch_size, part)
        return x, problem.measure(x, generator=generator)

    def _crops(self, seed: int, step: int, batch_size: int, part: slice) -> _Crops:
        chosen = self._images_visited(seed, step * batch_size, batch_size)
        rng = generator(stream_key(seed, "crops", step))
        axes = len(self.crop)
        *places, turns = torch.rand(axes + 1, batch_size, generator=rng, dtype=torch.float64)
        room = self._sizes[chosen] - torch.tensor(self.crop) + 1
        corners = (torch.stack(places) * room.T).long()
        # A rectangle turned by 90 degrees is another rectangle: only square crops use all eight symmetries.
        orientations = (turns * 2 ** (axes + (self.crop[-2] == self.crop[-1]))).long()
        return _Crops(chosen[part], corners[:, part], orientations[part])

    def _images_visited(self, seed: int, first: int, count: int) -> Tensor:
        """The images of `count` consecutive visits, counted through all epochs."""
        found = []
        while count > 0:
            epoch, position = divmod(first, len(self))
            order = _epoch_order(seed, epoch, len(self))[position : position + count]
            found.append(self._visits[order])
            first, count = first + len(order), count - len(order)
        return torch.cat(found)

    def _gather(self, pixels: Tensor | StoredImages, channels: int, crops: _Crops) -> Tensor:
        """Reads crops out of a flat buffer of images of these sizes, with so many channels.

        In the buffer, the pixel (i, j) of a crop lies at origin + i * down + j * across: an orientation is nothing but
        a choice of the corner to start from, of a sign for each axis, and of the axis that is read first.
        """
        axes = len(self.crop)
        chosen, corners, orientations = crops
        origin = self._starts[chosen] // self.channels * channels
        strides: list[Tensor] = []
        stride = torch.ones_like(origin)
        for axis in reversed(range(axes)):
            flip = (orientations >> axis & 1).bool()
            origin = origin + corners[axis] * stride + flip * (self.crop[axis] - 1) * stride
            strides.insert(0, torch.where(flip, -stride, stride))
            stride = stride * self._sizes[chosen, axis]
        *_, rows, columns = strides
        transpose = (orientations >> axes & 1).bool()
        strides[-2:] = torch.where(transpose, columns, rows), torch.where(transpose, rows, columns)
        # One small transfer; the indices of the pixels are computed where the pixels are.
        place = pixels.device
        index, *steps = torch.stack([origin, stride, *strides]).to(place).view(axes + 2, -1, *[1] * (axes + 1))
        for axis, (step, length) in enumerate(zip(steps, (channels, *self.crop), strict=True)):
            index = index + step * torch.arange(length, device=place).view(-1, *[1] * (axes - axis))
        if isinstance(pixels, StoredImages):
            return pixels.take(index).to(self.device)
        return pixels.index_select(0, index.flatten()).view(index.shape)


class TrainingPairs(TrainingImages):
    """Training images with their measurements.

    If each measurement has the sides of its image, both are cropped at the same place. Else images and
    measurements are used whole: the crop is the size of the images, and all measurements have one shape.

    Pairs are neither flipped nor turned, unless the operator is known to commute with that: the measurement of a turned
    image is not the turned measurement of the image.

    Args:
        images: as for `TrainingImages`.
        names: one name per image.
        crop: height and width of the crops; depth, height and width for volumes.
        measurements: one for each image, `[M, H_i, W_i]` (`[M, D_i, H_i, W_i]` for volumes) or of the shape of all
            measurements; float32. They may be stored, as images may.
        turns: whether pairs are flipped and turned, for operators that commute with that.

    Raises:
        DataError: as `TrainingImages`; and if measurements are missing, not finite, or of shapes that do not fit.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        names: Sequence[str],
        crop: Sequence[int],
        measurements: Sequence[Tensor],
        turns: bool = False,
    ) -> None:
        super().__init__(images, names, crop)
        if len(measurements) != len(images):
            raise DataError(
                f"{len(measurements)} measurements for {len(images)} images",
                where="TrainingPairs",
                expected="one each",
            )
        if not isinstance(measurements, StoredImages) or not all(map(math.isfinite, _extremes(measurements))):
            for z, name in zip(measurements, names, strict=True):
                check_measured(z, name)
        sizes, measured_sizes = _shapes(images), _shapes(measurements)
        self.in_place = all(z[1:] == x[1:] for x, z in zip(sizes, measured_sizes, strict=True))
        first = measured_sizes[0]
        for x, own, name in zip(sizes, measured_sizes, names, strict=True):
            if (own[0] != first[0]) if self.in_place else own != first:
                raise DataError(
                    f"a measurement of shape {own}",
                    where=f"image {name!r}",
                    expected=f"{first[0]} channels, as the first one has"
                    if self.in_place
                    else f"{first}, as the first",
                )
            if not self.in_place and x[1:] != self.crop:
                raise DataError(
                    f"a measurement of shape {own} for an image of {size_in_words(x[1:])}",
                    where=f"image {name!r}",
                    expected=f"images of {size_in_words(self.crop)}: where measurements have other sides than the "
                    "images, pairs are used whole",
                )
        self.turns = turns and self.in_place
        self.measurement_shape = (first[0], *self.crop) if self.in_place else first
        self._measured_size = first
        self._measured = _flat(measurements)

    @property
    def nbytes(self) -> int:
        """Memory of the pixels and the measurements."""
        return super().nbytes + _memory(self._measured)

    @property
    def measured_range(self) -> tuple[float, float]:
        """The smallest and the largest value of the measurements."""
        return _extremes(self._measured)

    @property
    def contents(self) -> Iterator[Tensor]:
        """All values, as a fingerprint of the images sees them."""
        measured = self._measured if isinstance(self._measured, StoredImages) else [self._measured]
        return chain(super().contents, measured)

    def to(self, device: torch.device | str) -> Self:
        """The same pairs on `device`."""
        moved = super().to(device)
        moved._measured = _moved(self._measured, device)
        return moved

    def measured_batch(
        self,
        problem: Problem,
        seed: int,
        step: int,
        batch_size: int,
        generator: torch.Generator,
        part: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """The crops of a training step and their measurements, both as they were measured."""
        crops = self._crops(seed, step, batch_size, part)
        x = _to_unit(self._gather(self._pixels, self.channels, crops))
        if self.in_place:
            return x, self._gather(self._measured, self._measured_size[0], crops)
        if isinstance(self._measured, StoredImages):
            return x, torch.stack([self._measured[index] for index in crops.chosen.tolist()]).to(self.device)
        chosen = crops.chosen.to(self.device)
        return x, self._measured.view(-1, *self._measured_size).index_select(0, chosen)

    def _crops(self, seed: int, step: int, batch_size: int, part: slice) -> _Crops:
        crops = super()._crops(seed, step, batch_size, part)
        return crops if self.turns else crops._replace(orientations=torch.zeros_like(crops.orientations))


def check_measured(z: Tensor, name: str) -> None:
    """Refuses a measurement that is not made of finite float32 numbers.

    Raises:
        DataError: naming the image.
    """
    if z.dtype != torch.float32 or not z.numel():
        raise DataError(
            f"a measurement of shape {tuple(z.shape)}, {z.dtype}",
            where=f"image {name!r}",
            expected="float32 and at least one value",
        )
    if not torch.isfinite(z).all():
        bad = int((~torch.isfinite(z)).sum())
        raise DataError(
            f"{bad} values of the measurement are NaN or infinite", where=f"image {name!r}", expected="finite values"
        )


def _shapes(images: Sequence[Tensor]) -> Sequence[tuple[int, ...]]:
    return images.shapes if isinstance(images, StoredImages) else [tuple(image.shape) for image in images]


def _dtypes(images: Sequence[Tensor]) -> Sequence[torch.dtype]:
    return [images.dtype] * len(images) if isinstance(images, StoredImages) else [image.dtype for image in images]


def _flat(images: Sequence[Tensor]) -> Tensor | StoredImages:
    return images if isinstance(images, StoredImages) else torch.cat([image.reshape(-1) for image in images])


def _extremes(values: Tensor | StoredImages) -> tuple[float, float]:
    """The smallest and the largest value; NaN if there is one."""
    if isinstance(values, StoredImages):
        return values.low, values.high
    low, high = torch.aminmax(values)
    return float(low), float(high)


def _memory(values: Tensor | StoredImages) -> int:
    return values.nbytes if isinstance(values, Tensor) else 0


def _moved(values: Tensor | StoredImages, device: torch.device | str) -> Tensor | StoredImages:
    """The values on a device, or still in their file: on the CPU, and where they would fill a GPU."""
    device = torch.device(device)
    if isinstance(values, Tensor):
        return values.to(device)
    if device.type == "cuda" and values.nbytes <= _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]:
        return values.load(device)
    return values


def _check_training_image(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    name: str,
    first_shape: tuple[int, ...],
    first_dtype: torch.dtype,
    crop: Sequence[int],
) -> None:
    where = f"image {name!r}"
    if len(shape) != 1 + len(crop) or shape[0] != first_shape[0] or dtype != first_dtype:
        axes = "C, H, W" if len(crop) == 2 else "C, D, H, W"
        raise DataError(
            f"shape {shape}, {dtype}",
            where=where,
            expected=f"[{axes}] with C = {first_shape[0]}, {first_dtype}, as the first image has it",
        )
    if any(side < least for side, least in zip(shape[1:], crop, strict=True)):
        raise DataError(
            f"{size_in_words(shape[1:])}, smaller than the {'x'.join(map(str, crop))} crop",
            where=where,
            expected="images at least as large as the crop",
            hint="a smaller crop, less downsampling, or leave this image out",
        )
    if dtype not in (torch.uint8, torch.float32):
        raise DataError(f"values of type {dtype}", where=where, expected="float32 in [0, 1], or uint8")


def _check_values(images: Sequence[Tensor], names: Sequence[str]) -> None:
    for image, name in zip(images, names, strict=True):
        if not torch.isfinite(image).all():
            raise DataError("values that are NaN or infinite", where=f"image {name!r}", expected="values in [0, 1]")
        if image.min() < 0 or image.max() > 1:
            raise DataError(
                f"values from {image.min():.4g} to {image.max():.4g}",
                where=f"image {name!r}",
                expected="values in [0, 1]",
            )


def _to_unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, length: int) -> Tensor:
    return torch.randperm(length, generator=generator(stream_key(seed, "order", epoch)))
