"""Patches of a fixed size out of larger images."""

from __future__ import annotations

from collections.abc import Iterator

from invreg_datasets.prepare import Pixels


def centre_crop(image: Pixels, size: int) -> Pixels:
    """The size x size pixels in the middle of an image `[C, H, W]` that is at least as large."""
    top, left = ((side - size) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def centred_grid(image: Pixels, size: int) -> Iterator[tuple[int, int, Pixels]]:
    """As many disjoint size x size patches as fit side by side, their grid centred: (row, column, patch)."""
    height, width = image.shape[1:]
    top, left = (height % size) // 2, (width % size) // 2
    for row in range(height // size):
        for column in range(width // size):
            y, x = top + row * size, left + column * size
            yield row, column, image[:, y : y + size, x : x + size]
