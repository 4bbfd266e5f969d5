"""Random phantoms of ellipses and ellipsoids, the customary test images of tomography."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from invreg import (
    ImageDataset,
    ImageStack,
    LeftOut,
    SpecError,
    Splits,
    TrainingImages,
    generator,
    require_memory,
    stream_key,
)
from invreg_datasets.ellipsoids import draw_volume
from invreg_datasets.parameters import Side
from invreg_datasets.prepare import load_all, to_stack

_MOST = 10_000_000


class Phantoms(ImageDataset):
    """Images of a random body with random ellipses in it; zero outside the largest disc in the image.

    With the unit square [-1, 1]^2 as the image domain,

        x = min(1, max(0, 1_{E_0} (a_0 + sum_k a_k 1_{E_k})))

    where E_0 is the body, a large ellipse near the middle, and E_1 ... E_K are small ellipses whose centres lie in it.
    Edges are smoothed over one pixel, as if each pixel were the mean over its area. Each image has random numbers
    of its own, so image 17 is the same whatever the number of images.

    Volumes are made likewise: of ellipsoids in the cube [-1, 1]^3, zero outside the largest ball, see
    [`draw_volume`][invreg_datasets.ellipsoids.draw_volume].
    """

    def __init__(
        self,
        image_size: Annotated[
            Side | tuple[Side, Side, Side],
            Field(
                description="height and width of all images, one number; for volumes [depth, height, width]",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = 96,
        train: Annotated[
            int,
            Field(ge=1, le=_MOST, description="number of training images; each is also shown flipped and turned"),
        ] = 1000,
        val: Annotated[int, Field(ge=1, le=_MOST, description="number of validation images")] = 16,
        test: Annotated[int, Field(ge=1, le=_MOST, description="number of test images")] = 32,
        ellipses: Annotated[
            int, Field(ge=1, le=10_000, description="number K of small ellipses, or ellipsoids, in each image")
        ] = 10,
        seed: Annotated[int, Field(ge=0, description="seed of all images")] = 0,
        train_size: Annotated[
            Side | tuple[Side, Side] | tuple[Side, Side, Side] | None,
            LeftOut(),
            Field(
                description="sides of the random training crops, one number for all; none: whole images",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
    ) -> None:
        self.image_size = image_size
        self.train_size = train_size
        self._check_crop()
        self.counts = {"train": train, "val": val, "test": test}
        self.ellipses = ellipses
        self.seed = seed
        count = train + val + test
        # Once as drawn, once in the buffer of the data set.
        size = 2 * 4 * math.prod(self.sides) * count
        require_memory(size, f"{count:,} images of {'x'.join(map(str, self.sides))} pixels", "image_size")

    @property
    def sides(self) -> tuple[int, ...]:
        """(H, W), or (D, H, W)."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def crop(self) -> tuple[int, ...]:
        """The sides of the training crops."""
        size = self.train_size
        return self.sides if size is None else (size,) * len(self.sides) if isinstance(size, int) else size

    def _check_crop(self) -> None:
        if len(self.crop) != len(self.sides) or any(
            own > side for own, side in zip(self.crop, self.sides, strict=True)
        ):
            told, whole = ("x".join(map(str, sides)) for sides in (self.crop, self.sides))
            raise SpecError(
                f"crops of {told} out of images of {whole}", where="train_size", expected=f"{whole} at most"
            )

    def splits(self) -> Splits:
        """The three splits; draws all images."""
        images, names = {}, {}
        for split, count in self.counts.items():
            keys = [stream_key(self.seed, "phantom", split, index) for index in range(count)]
            images[split] = to_stack(load_all(self._draw, keys))
            names[split] = [f"{split}-{index}" for index in range(count)]
        return Splits(
            TrainingImages(list(images["train"]), names["train"], self.crop),
            ImageStack(images["val"], names["val"]),
            ImageStack(images["test"], names["test"]),
        )

    def _draw(self, key: int) -> NDArray[np.float32]:
        if isinstance(self.image_size, int):
            return draw_phantom(key, self.image_size, self.ellipses)
        return draw_volume(key, self.image_size, self.ellipses)


def draw_phantom(key: int, size: int, ellipses: int) -> NDArray[np.float32]:
    """One phantom `[1, size, size]`, float32 in [0, 1], determined by `key`."""
    random = torch.rand(ellipses + 1, 6, generator=generator(key), dtype=torch.float64).numpy()
    radius, direction, first, second, turn, value = random.T
    radii = 0.05 + 0.25 * np.stack([first, second], axis=1) ** 2
    distances = 0.6 * np.sqrt(radius)
    amplitudes = np.where(value < 0.5, -1, 1) * (0.1 + 0.6 * np.abs(value - 0.5))
    # The first is the body: its distance from the middle and its larger radius add up to one at most.
    radii[0] = 0.6 + 0.3 * random[0, 2:4]
    distances[0] = 0.1 * radius[0]
    amplitudes[0] = 0.2 + 0.4 * value[0]

    angles = 2 * np.pi * direction
    x, y = distances * np.cos(angles), distances * np.sin(angles)
    body, image = np.zeros((size, size)), np.zeros((size, size))
    for number in range(ellipses + 1):
        window, coverage = _ellipse(x[number], y[number], radii[number], np.pi * turn[number], size)
        if number == 0:
            body[window] = coverage
        image[window] += amplitudes[number] * body[window] * (coverage if number else 1)
    return np.clip(image, 0, 1).astype(np.float32)[None]


def _ellipse(
    x: float, y: float, radii: NDArray[np.float64], turn: float, size: int
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """The part of the image that an ellipse lies in, and the share of each pixel there that it covers.

    The shares are right to first order in the pixel's width.
    """
    pixel = 2 / size
    reach = radii.max() + pixel
    rows, columns = (
        slice(max(0, int((centre - reach + 1) / pixel)), max(0, int((centre + reach + 1) / pixel) + 1))
        for centre in (y, x)
    )
    grid = (np.arange(size) + 0.5) * pixel - 1
    down, across = grid[rows, None] - y, grid[None, columns] - x
    a, b = radii
    cos, sin = np.cos(turn), np.sin(turn)
    u, v = (cos / a) * across + (sin / a) * down, (cos / b) * down - (sin / b) * across
    # The edge is where level = 1; its distance is (1 - level) / |grad level| to first order, and
    # |grad level| = slope / level.
    level, slope = np.sqrt(u * u + v * v), np.sqrt((u / a) ** 2 + (v / b) ** 2)
    distance = (1 - level) * level / np.maximum(slope, 1e-9)
    # In the very centre level and slope vanish together; it lies inside.
    return (rows, columns), np.where(level < 0.5, 1, np.clip(distance / pixel + 0.5, 0, 1))
