"""Images: where they come from and how they are split."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from invreg.components.training_images import TrainingImages, check_measured
from invreg.errors import DataError
from invreg.schema.component import Component
from invreg.schema.kinds import base_of
from invreg.summaries import Summarized, Summary, brief
from invreg.text import count, plural

if TYPE_CHECKING:
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem


@dataclass(frozen=True, repr=False)
class ImageStack(Summarized):
    """Images of one size for validation or testing; or volumes, which have one axis more.

    Attributes:
        images: `[N, C, H, W]`, or `[N, C, D, H, W]`; float32, in [0, 1].
        names: N names, unique, under which results are listed.
    """

    images: Tensor
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.images.ndim not in (4, 5) or len(self.names) != self.images.shape[0]:
            raise DataError(
                f"{len(self.names)} names for a stack of shape {tuple(self.images.shape)}",
                where="ImageStack",
                expected="images [N, C, H, W] or volumes [N, C, D, H, W], and N names",
            )
        if not self.names:
            raise DataError("no images", where="ImageStack", expected="at least one image")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError(f"two images are called {twice!r}", where="ImageStack", expected="unique names")
        check_images(self.images, self.names)

    def __len__(self) -> int:
        return self.images.shape[0]

    def _summary(self) -> Summary:
        shape = "x".join(map(str, self.image_shape))
        return Summary(
            f"{type(self).__name__}: {plural(len(self), 'image')} {shape}", (), [("names", brief(self.names))]
        )

    @property
    def image_shape(self) -> Shape:
        """(C, H, W) of each image, or (C, D, H, W) of each volume."""
        return tuple(self.images.shape[1:])

    @property
    def contents(self) -> Sequence[Tensor]:
        """All values, as a fingerprint of the images sees them."""
        return [self.images]

    def select(self, positions: Sequence[int]) -> Self:
        """The images at these positions, with all that belongs to them."""
        chosen, values = list(positions), {one.name: getattr(self, one.name) for one in fields(self)}
        picked = {name: value[chosen] for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **picked, names=[self.names[index] for index in chosen])

    def measured(
        self,
        problem: Problem,
        split: str,
        seed: int,
        batch_size: int,
        device: torch.device,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Noisy measurements of the images, see [`invreg.components.problem.Problem.measure_split`][]."""
        return problem.measure_split(self.images, split, seed, batch_size, device, positions)


@dataclass(frozen=True, repr=False)
class MeasuredStack(ImageStack):
    """Images of one size for validation or testing, with their measurements.

    Attributes:
        measurements: `[N, ...range]`, float32.
    """

    measurements: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.measurements) != len(self.names):
            raise DataError(
                f"{len(self.measurements)} measurements for {len(self.names)} images",
                where="MeasuredStack",
                expected="one each",
            )
        for z, name in zip(self.measurements, self.names, strict=True):
            check_measured(z, name)

    @property
    def contents(self) -> Sequence[Tensor]:
        """All values, as a fingerprint of the images sees them."""
        return [self.images, self.measurements]

    def measured(
        self,
        problem: Problem,
        split: str,
        seed: int,
        batch_size: int,
        device: torch.device,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """The measurements, as they were measured."""
        return self.measurements


@dataclass(frozen=True, repr=False)
class Splits(Summarized):
    """The three splits of a data set. Validation chooses (weights, parameters); test is only reported."""

    train: TrainingImages
    val: ImageStack
    test: ImageStack

    def _summary(self) -> Summary:
        crop = "x".join(map(str, self.train.crop_shape))
        training = ("train", len(self.train.names), f"crops {crop}, {count(len(self.train))} in an epoch")
        others = [
            (name, len(stack), "x".join(map(str, stack.image_shape)))
            for name, stack in (("val", self.val), ("test", self.test))
        ]
        return Summary("Splits", ("split", "images", "size"), [training, *others])

    def fingerprint(self) -> dict[str, Any]:
        """Which images these are: names, sizes, and a hash of all pixels, as plain values."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in chain(self.val.contents, self.test.contents, self.train.contents):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return {
            "image_shape": list(self.test.image_shape),
            "train": {
                "images": list(self.train.names),
                "crop": list(self.train.crop),
                "crops_per_epoch": len(self.train),
            },
            "val": list(self.val.names),
            "test": list(self.test.names),
            "pixels": digest.hexdigest(),
        }


@base_of("dataset")
class ImageDataset(Component, ABC):
    """A source of images, split into training, validation and test images."""

    @abstractmethod
    def splits(self) -> Splits:
        """The three splits; the same for the same parameters, files and versions.

        Raises:
            DataError: if the images are missing, unreadable or unusable.
        """


class MeasuredDataset(ImageDataset):
    """A source of pairs of image and measurement: `TrainingPairs`, and a `MeasuredStack` for validation and testing.

    In a run, nothing is measured then: the operator and the noise of the spec say how these measurements came about.
    """


def check_images(images: Tensor, names: Sequence[str]) -> None:
    """Refuses images that are not float32 in [0, 1].

    Raises:
        DataError: naming the first image that is wrong, and how.
    """
    if images.dtype != torch.float32:
        raise DataError(f"images are {images.dtype}", where=f"image {names[0]!r}", expected="float32 in [0, 1]")
    for name, image in zip(names, images, strict=True):
        if not torch.isfinite(image).all():
            bad = int((~torch.isfinite(image)).sum())
            raise DataError(
                f"{bad} pixels are NaN or infinite",
                where=f"image {name!r}",
                expected="finite values in [0, 1]",
            )
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 1:
            raise DataError(
                f"values from {low:.4g} to {high:.4g}",
                where=f"image {name!r}",
                expected="values in [0, 1]",
                hint="scale the images",
            )
