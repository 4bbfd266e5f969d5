"""Random ellipse phantoms, the customary test images of tomography."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg.crops import TrainingImages
from invreg.dataset import ImageDataset, ImageStack, Splits
from invreg.streams import generator, stream_key
from invreg_datasets.parameters import ImageSize, require_positive


class Phantoms(ImageDataset):
    """Images of a random body with random ellipses in it; zero outside the largest disc in the image.

    With the unit square [-1, 1]^2 as the image domain,

        x = min(1, max(0, a_0 1_{E_0} + sum_k a_k 1_{E_k}))

    where E_0 is the body, a large ellipse near the middle, and E_1 ... E_K are small ellipses whose centres lie in it.
    Edges are smoothed over one pixel, as if each pixel were the mean over its area. Each image has random numbers
    of its own, so image 17 is the same whatever the number of images.

    Args:
        image_size: height and width of the images.
        train: number of training images; each is also shown flipped and turned.
        val: number of validation images.
        test: number of test images.
        ellipses: number K of small ellipses.
        seed: seed of all images.
    """

    def __init__(
        self,
        image_size: ImageSize = 96,
        train: Annotated[int, Field(ge=1, description="number of training images")] = 1000,
        val: Annotated[int, Field(ge=1, description="number of validation images")] = 16,
        test: Annotated[int, Field(ge=1, description="number of test images")] = 32,
        ellipses: Annotated[int, Field(ge=1, description="number of small ellipses in each image")] = 10,
        seed: Annotated[int, Field(ge=0, description="seed of all images")] = 0,
    ) -> None:
        require_positive(image_size=image_size, train=train, val=val, test=test, ellipses=ellipses)
        self.image_size = image_size
        self.counts = {"train": train, "val": val, "test": test}
        self.ellipses = ellipses
        self.seed = seed

    def splits(self) -> Splits:
        """The three splits; draws all images."""
        images, names = {}, {}
        for split, count in self.counts.items():
            keys = [stream_key(self.seed, "phantom", split, index) for index in range(count)]
            images[split] = torch.stack([draw_phantom(key, self.image_size, self.ellipses) for key in keys])
            names[split] = [f"{split}-{index}" for index in range(count)]
        size = (self.image_size, self.image_size)
        return Splits(
            TrainingImages(list(images["train"]), names["train"], size),
            ImageStack(images["val"], names["val"]),
            ImageStack(images["test"], names["test"]),
        )


def draw_phantom(key: int, size: int, ellipses: int) -> Tensor:
    """One phantom `[1, size, size]`, float32 in [0, 1], determined by `key`."""
    random = torch.rand(ellipses + 1, 6, generator=generator(key), dtype=torch.float64)
    radius, direction, first, second, turn, value = random.T
    radii = 0.05 + 0.25 * torch.stack([first, second], 1) ** 2
    amplitudes = torch.where(value < 0.5, -1.0, 1.0) * (0.1 + 0.6 * (value - 0.5).abs())
    centre_radius = 0.6 * radius.sqrt()
    # The first is the body: large, bright, and inside the unit disc together with its centre's offset.
    radii[0] = 0.6 + 0.3 * random[0, 2:4]
    centre_radius[0] = 0.1 * radius[0]
    amplitudes[0] = 0.2 + 0.4 * value[0]

    angle = 2 * torch.pi * direction
    centres = centre_radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    coverages = _coverage(centres, radii, torch.pi * turn, size)
    inside = coverages[0]
    image = amplitudes[0] * inside + inside * (amplitudes[1:, None, None] * coverages[1:]).sum(0)
    return image.clamp(0, 1).float()[None]


def _coverage(centres: Tensor, radii: Tensor, turns: Tensor, size: int) -> Tensor:
    """The share of each pixel that lies in each ellipse, `[K, size, size]`, to first order in the pixel's width."""
    grid = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    x, y = grid.view(1, 1, -1) - centres[:, 0, None, None], grid.view(1, -1, 1) - centres[:, 1, None, None]
    cos, sin = turns.cos()[:, None, None], turns.sin()[:, None, None]
    a, b = radii[:, 0, None, None], radii[:, 1, None, None]
    u, v = (cos * x + sin * y) / a, (cos * y - sin * x) / b
    level = (u**2 + v**2).sqrt()
    # The distance to the edge is (1 - level) / |grad level| to first order.
    slope = ((u / a) ** 2 + (v / b) ** 2).sqrt() / level.clamp_min(1e-9)
    return ((1 - level) / slope.clamp_min(1e-9) * size / 2 + 0.5).clamp(0, 1)
