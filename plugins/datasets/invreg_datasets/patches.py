"""Patches of a fixed size out of larger images."""

from __future__ import annotations

from collections.abc import Iterator

from invreg import Pixels


def centre_crop(image: Pixels, size: int, block: int = 1) -> Pixels:
    """The size x size blocks of pixels in the middle of an image `[C, H, W]` that has at least as many.

    Blocks are counted from the upper left; incomplete ones at the end do not count.
    """
    top, left = ((side // block - size) // 2 * block for side in image.shape[1:])
    return image[:, top : top + size * block, left : left + size * block]


def centred_grid(image: Pixels, size: int) -> Iterator[tuple[int, int, Pixels]]:
    """As many disjoint size x size patches as fit side by side, their grid centred: (row, column, patch)."""
    height, width = image.shape[1:]
    top, left = (height % size) // 2, (width % size) // 2
    for row in range(height // size):
        for column in range(width // size):
            y, x = top + row * size, left + column * size
            yield row, column, image[:, y : y + size, x : x + size]
