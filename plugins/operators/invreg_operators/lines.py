"""Sums over the pixels between lines, with all areas computed when they are needed, where a C compiler is found."""

from __future__ import annotations

import ctypes
import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invreg import compiled_library
from invreg_operators.parallel_beams import Geometry, Part, mirrored, parts

_SOURCE = Path(__file__).with_name("lines.c")
_NAMES = {torch.float32: "product_float", torch.float64: "product_double"}
# Numbers for each pixel and bin that share what is computed; more would leave the cache.
_LANES = 64


class Lines(NamedTuple):
    """Lines through an image, and where the numbers of mirrored images and of their views lie.

    Attributes:
        height: pixels of a column of the mirrored images.
        width: pixels of a row.
        images: for each mirrored image where its first pixel, the next row and the next column are in the image that it
            mirrors, `[mirrored, 3]`.
        table: for each table of lines its first line, its bins, the most pixels that a bin meets in a row (or 3), the
            most that a line crosses there (or 2), and the first and the last row (left out) of those in which the lines
            lie in order from left to right, `[tables, 6]`.
        views: for each table and mirrored image where its first bin and the next one are in the sinogram, and how many
            there are, `[tables, mirrored, 3]`.
        distances: for each table what shares are divided by in the first row, which grows by 1 for each row: the
            distance of a source of fan beams; 0 for parallel beams, which divides by nothing.
        places: where the upper end of each line is in the first row of pixels, in pixels from the left.
        slopes: how far the lower end of each line, in a row, is on its right.
        scales: what the share of a pixel in the bin between a line and the next one is multiplied by.
    """

    height: int
    width: int
    images: Tensor
    table: Tensor
    views: Tensor
    distances: Tensor
    places: Tensor
    slopes: Tensor
    scales: Tensor

    def add_product(self, x: Tensor, y: Tensor, *, transposed: bool) -> None:
        """Writes the integrals of x `[n, H * W]` into y `[n, angles * bins]`, or adds the transpose of y to x."""
        product = _product(x.dtype)
        assert product is not None  # noqa: S101 (for mypy: whoever comes here has asked)
        at_once = max(1, _LANES // len(self.images))
        images, *tables = (part.data_ptr() for part in self if isinstance(part, Tensor))
        for first in range(0, len(x), at_once):
            some, of_them = x[first : first + at_once], y[first : first + at_once]
            sizes = len(some), x.shape[1], y.shape[1], len(self.images)
            of_image = images, self.height, self.width, len(self.table)
            if product(transposed, some.data_ptr(), of_them.data_ptr(), *sizes, *of_image, *tables):
                raise MemoryError("no memory for a row of beams")


def can_compute(x: Tensor) -> bool:
    """Whether products with such numbers can be computed here."""
    return x.device.type == "cpu" and _product(x.dtype) is not None


@cache
def _product(dtype: torch.dtype) -> Any:
    if dtype not in _NAMES:
        return None
    library = compiled_library(_SOURCE, "radon: computed by torch, several times slower than by its compiled loops")
    if library is None:
        return None
    function = getattr(library, _NAMES[dtype])
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_int, pointer, pointer, *[number] * 4, pointer, *[number] * 3, *[pointer] * 6]
    return function


@lru_cache(maxsize=16)
def lines_of(geometry: Geometry) -> list[Lines]:
    """The lines between the bins of parallel beams."""
    with torch.inference_mode(False):
        return [_lines(geometry, part) for part in parts(geometry)]


def _lines(geometry: Geometry, part: Part) -> Lines:
    half_bins = (geometry.detectors + 1) // 2
    edges = (torch.arange(half_bins + 1, dtype=torch.float64) - geometry.detectors / 2) * geometry.bin_width
    angles = torch.tensor(part.angles, dtype=torch.float64)
    cos, slope = angles.cos()[:, None], angles.tan()[:, None]
    # The edge t at the height y is at x = (t - y sin) / cos, and the first row is (height - 1) / 2 high, half a pixel
    # below its upper side.
    places = edges / cos + part.width / 2 - slope * (part.height / 2)
    meets = [geometry.bin_width / math.cos(angle) + math.tan(angle) for angle in part.angles]
    table = [
        # What is a whole number is rounded either way.
        [k * (half_bins + 1), half_bins, max(math.floor(meet + 1e-9) + 2, 3), 2, 0, part.height]
        for k, meet in enumerate(meets)
    ]
    numbers = torch.arange(geometry.height * geometry.width).view(geometry.height, geometry.width, 1)
    # A half turn of the image reverses the bins: half of them are enough.
    turned = [image.flip(0, 1) if half else image for image, half in _each_half(numbers, part)]
    images = [
        [int(image[0, 0]), int(image[1:2, 0].sum() - image[0, 0]), int(image[0, 1:2].sum() - image[0, 0])]
        for image in turned
    ]
    views = torch.zeros(len(angles), len(images), 3, dtype=torch.int64)
    for number, view in part.views.items():
        row = number * geometry.detectors
        for half in (False, True):
            reverse = half != view.reversed
            count = geometry.detectors - half_bins if half else half_bins
            start = row + geometry.detectors - 1 if reverse else row
            views[view.angle, 2 * view.image + half] = torch.tensor([start, -1 if reverse else 1, count])
    scales = torch.full_like(places, geometry.pixel / geometry.bin_width)
    slopes = slope.expand_as(places).contiguous()
    return Lines(
        part.height,
        part.width,
        torch.tensor(images),
        torch.tensor(table),
        views,
        torch.zeros(len(angles), dtype=torch.float64),
        places.contiguous(),
        slopes,
        scales,
    )


def _each_half(numbers: Tensor, part: Part) -> list[tuple[Tensor, bool]]:
    return [(mirrored(numbers, mirroring), half) for mirroring in part.images for half in (False, True)]
