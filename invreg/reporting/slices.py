"""All slices of a volume in a report: sheets of slices, of which its script shows one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from invreg.reporting.pictures import MOST_EXACT, QUALITY, ShownImage, as_channels, data_uri, raster

#: The axes along which one moves, in the order of a shape `[C, D, H, W]`.
AXES = ("depth", "height", "width")

#: A slice in a sheet begins at a multiple of these pixels: blocks of a JPEG then hold pixels of one slice only.
CELL = 8
#: Of one volume, the slices of all its pictures have at most so many bytes; if not, fewer slices are kept.
MOST_BYTES_EACH = 4_000_000
#: All slices in a report have at most so many bytes; volumes beyond are shown by their three middle slices.
MOST_BYTES = 8_000_000
# Browsers of phones draw no larger images.
_MOST_PIXELS = 16_000_000
# Qualities of JPEG that are tried until the slices of a volume fit.
_QUALITIES = (QUALITY, 75)


@dataclass(frozen=True)
class Slices:
    """The slices of a volume that are in a report.

    Attributes:
        shape: `(D, H, W)` of the volume.
        kept: axis to the positions of its slices, the middle one among them; empty if all are there, as slices of the
            depth, from which the others are drawn.
        sheets: title of a picture to axis to data URI.
    """

    shape: tuple[int, int, int]
    kept: Mapping[str, Sequence[int]]
    sheets: Mapping[str, Mapping[str, str]]

    @property
    def size(self) -> int:
        """Of all data URIs, in bytes."""
        return sum(len(uri) for sheets in self.sheets.values() for uri in sheets.values())


def with_slices(rows: Sequence[ShownImage], columns: Mapping[str, NDArray[np.generic]]) -> list[ShownImage]:
    """Rows of pictures, and where these are volumes, their slices.

    Pictures of another shape than the last column, which has reconstructions, stay as they are: no slice of theirs is
    the same one.

    Args:
        rows: as `side_by_side` gives them.
        columns: title to `[N, C, H, W]`, or `[N, C, D, H, W]`; bytes, or floating point in [0, 1].
    """
    if not rows or (last := list(columns.values())[-1]).ndim != 5:
        return list(rows)
    volumes = {title: column for title, column in columns.items() if column.shape[2:] == last.shape[2:]}
    exact = len(rows) * len(volumes) * math.prod(last.shape[2:]) <= MOST_EXACT
    shown: list[ShownImage] = []
    left = MOST_BYTES
    for position, row in enumerate(rows):
        slices = slices_of({title: column[position] for title, column in volumes.items()}, exact) if left else None
        if slices is None or slices.size > left:
            left = 0  # the first volumes, and not those that happen to be small
            slices = None
        else:
            left -= slices.size
        shown.append(replace(row, slices=slices))
    return shown


def slices_of(volumes: Mapping[str, NDArray[np.generic]], exact: bool) -> Slices | None:
    """The slices of volumes of one shape: all of them if they are small enough, and evenly spaced ones otherwise.

    Args:
        volumes: title to `[C, D, H, W]`.
        exact: whether each voxel is kept as it is (PNG) where all are kept, or not (JPEG).

    Returns:
        None if not even one slice of each axis is small enough.
    """
    channels = {title: as_channels(volume) for title, volume in volumes.items()}
    shape: tuple[int, int, int] = next(iter(channels.values())).shape[1:]
    size = math.inf
    for quality in (None, *_QUALITIES) if exact else _QUALITIES:
        found = _encoded(channels, shape, {}, quality)
        if found is not None and (size := found.size) <= MOST_BYTES_EACH:
            return found
    # Three sheets in place of one, so every third slice has the size of all.
    stride = 3 if math.isinf(size) else max(3, math.ceil(3 * size / MOST_BYTES_EACH))
    while True:
        kept = {axis: range((n // 2) % stride, n, stride) for axis, n in zip(AXES, shape, strict=True)}
        found = _encoded(channels, shape, kept, _QUALITIES[-1])
        if found is not None and found.size <= MOST_BYTES_EACH:
            return found
        if stride > max(shape):
            return None
        excess = 1.0 if found is None else found.size / MOST_BYTES_EACH
        stride = math.ceil(max(1.2, excess) * stride)


def _encoded(
    volumes: Mapping[str, NDArray[np.uint8]],
    shape: tuple[int, int, int],
    kept: Mapping[str, Sequence[int]],
    quality: int | None,
) -> Slices | None:
    """The slices as sheets; None if a browser could not draw one of them."""
    sheets: dict[str, dict[str, str]] = {}
    for title, volume in volumes.items():
        sheets[title] = {}
        for axis, slices in _along(volume, kept):
            if math.prod(_cells(slices)) > _MOST_PIXELS:
                return None
            sheets[title][axis] = data_uri(raster(_sheet(slices)), quality)
    return Slices(shape, kept, sheets)


def _along(volume: NDArray[np.uint8], kept: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Axis and slices `[C, n, h, w]`, turned as in `as_pictures`: `[H, W]`, `[D, W]`, `[H, D]`."""
    if not kept:
        yield AXES[0], volume
        return
    yield AXES[0], volume[:, list(kept["depth"])]
    yield AXES[1], volume[:, :, list(kept["height"])].transpose(0, 2, 1, 3)
    yield AXES[2], volume[..., list(kept["width"])].transpose(0, 3, 2, 1)


def _sheet(slices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Slices `[C, n, h, w]` row by row in one image `[C, H, W]`, nearly a square; edges fill up their cells."""
    channels, (count, high, wide) = len(slices), _cells(slices)
    across = max(1, min(count, round(math.sqrt(count * high / wide))))
    down = -(-count // across)
    whole = (channels, down * across, high, wide)
    cells = np.pad(slices, [(0, size - there) for size, there in zip(whole, slices.shape, strict=True)], mode="edge")
    grid = cells.reshape(channels, down, across, high, wide).transpose(0, 1, 3, 2, 4)
    return grid.reshape(channels, down * high, across * wide)


def _cells(slices: NDArray[np.uint8]) -> tuple[int, int, int]:
    """How many cells of which height and width slices `[C, n, h, w]` take."""
    count, *sides = slices.shape[1:]
    high, wide = (-(-side // CELL) * CELL for side in sides)
    return count, high, wide
