"""Stacks of evaluation images refuse what would spoil a result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from invreg.components.dataset import ImageDataset, ImageStack, check_images
from invreg.errors import DataError


def stack(change: Callable[[Tensor], object] = lambda images: None) -> ImageStack:
    images = torch.linspace(0, 1, 3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    change(images)
    return ImageStack(images, ["a", "b", "c"])


def test_a_stack_knows_its_size() -> None:
    images = stack()
    assert len(images) == 3
    assert images.image_shape == (2, 4, 5)


def test_the_wrong_image_is_named() -> None:
    with pytest.raises(DataError, match="'b': 2 pixels are NaN or infinite"):
        stack(lambda images: images[1, 0, 0, :2].copy_(torch.tensor([float("nan"), float("inf")])))
    with pytest.raises(DataError, match=r"'c': values from .* to 255"):
        stack(lambda images: images[2, 1, 3, 3].fill_(255))
    with pytest.raises(DataError, match=r"'a': values from -0\.1"):
        stack(lambda images: images[0, 0, 0, 0].fill_(-0.1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.float16])
def test_only_float32(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match="float32"):
        check_images(torch.zeros(1, 1, 2, 2, dtype=dtype), ["a"])


@pytest.mark.parametrize(
    ("images", "names", "message"),
    [
        (torch.zeros(2, 1, 4, 4), ["a"], "1 names for a stack"),
        (torch.zeros(2, 4, 4), ["a", "b"], r"shape \(2, 4, 4\)"),
        (torch.zeros(3, 1, 4, 4), ["a", "b", "b"], "two images are called 'b'"),
        (torch.zeros(0, 1, 4, 4), [], "no images"),
    ],
)
def test_names_and_images_belong_together(images: Tensor, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageStack(images, names)


def test_a_dataset_needs_splits() -> None:
    with pytest.raises(TypeError, match="splits"):
        ImageDataset()  # type: ignore[abstract]
