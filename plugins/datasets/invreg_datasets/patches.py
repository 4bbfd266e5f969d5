"""Patches of a fixed size out of larger images."""

from __future__ import annotations

from collections.abc import Iterator

from invreg import Pixels


def centre_crop(image: Pixels, size: int | tuple[int, int], block: int = 1) -> Pixels:
    """The blocks of pixels in the middle of an image `[C, H, W]` that has at least as many.

    `size` is the side of a square, or height and width. Blocks are counted from the upper left; incomplete ones at the
    end do not count.
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = ((side // block - own) // 2 * block for side, own in zip(image.shape[1:], (height, width), strict=True))
    return image[:, top : top + height * block, left : left + width * block]


def centred_grid(image: Pixels, size: int) -> Iterator[tuple[int, int, Pixels]]:
    """As many disjoint size x size patches as fit side by side, their grid centred: (row, column, patch)."""
    height, width = image.shape[1:]
    top, left = (height % size) // 2, (width % size) // 2
    for row in range(height // size):
        for column in range(width // size):
            y, x = top + row * size, left + column * size
            yield row, column, image[:, y : y + size, x : x + size]
