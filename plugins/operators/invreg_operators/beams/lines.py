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
from invreg_operators.beams.beam_matrix import quiet_about_rows
from invreg_operators.beams.parallel_beams import Geometry, Part, mirrored, parts

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
            distance of the source of fan beams; infinite for parallel beams, whose shares are not divided.
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
        product = _product(x.dtype) if can_compute(x) else None
        if product is None:
            for number in range(len(self.table)):
                self._add_by_torch(number, x, y, transposed)
            return
        at_once = max(1, _LANES // len(self.images))
        images, *tables = (part.data_ptr() for part in self if isinstance(part, Tensor))
        for first in range(0, len(x), at_once):
            some, of_them = x[first : first + at_once], y[first : first + at_once]
            sizes = len(some), x.shape[1], y.shape[1], len(self.images)
            of_image = images, self.height, self.width, len(self.table)
            if product(transposed, some.data_ptr(), of_them.data_ptr(), *sizes, *of_image, *tables):
                raise MemoryError("no memory for a row of beams")

    def _add_by_torch(self, number: int, x: Tensor, y: Tensor, transposed: bool) -> None:
        """The same for one table of lines, by a sparse matrix that is made anew."""
        first, bins, cells, _, top, bottom = self.table[number].tolist()
        lines = slice(first, first + bins + 1)
        places, slopes, scales = (part[lines].to(x.device) for part in (self.places, self.slopes, self.scales))
        rows = torch.arange(top, bottom, dtype=torch.float64, device=x.device)
        # [lines, rows]
        left_ends = (places + slopes.clamp(max=0))[:, None] + rows * slopes[:, None]
        start = left_ends[:-1].floor()
        shares = torch.stack([_left_of(left_ends, slopes, start + m) for m in range(cells)], dim=2)
        distance = float(self.distances[number])
        if math.isfinite(distance):
            shares /= (distance + rows)[:, None]
        shares = (shares * scales[:-1, None, None]).to(x.dtype)
        across = self.width + 2 * cells
        columns = start.clamp(-cells, self.width).long()[..., None] + torch.arange(cells, 2 * cells, device=x.device)
        columns += (torch.arange(top, bottom, device=x.device) * across)[:, None]
        counts = torch.arange(bins + 1, dtype=torch.int32, device=x.device) * (len(rows) * cells)
        quiet_about_rows()
        matrix = torch.sparse_csr_tensor(
            counts, columns.flatten().int(), shares.flatten(), (bins, self.height * across), check_invariants=False
        )
        lanes = [
            (self._grid(*of_image).to(x.device), begin + stride * torch.arange(count, device=x.device))
            for of_image, (begin, stride, count) in zip(self.images.tolist(), self.views[number].tolist(), strict=True)
            if count
        ]
        if transposed:
            values = [torch.nn.functional.pad(y[:, there], (0, bins - len(there))) for _, there in lanes]
            found = (matrix.mT @ torch.cat(values).mT.contiguous()).mT.unflatten(1, (self.height, across))
            for (pixels, _), back in zip(lanes, found[..., cells : cells + self.width].chunk(len(lanes)), strict=True):
                x[:, pixels] += back
        else:
            images = [torch.nn.functional.pad(x[:, pixels], (cells, cells)).flatten(1) for pixels, _ in lanes]
            found = (matrix @ torch.cat(images).mT.contiguous()).mT
            for (_, there), values_there in zip(lanes, found.chunk(len(lanes)), strict=True):
                y[:, there] = values_there[:, : len(there)]

    def _grid(self, offset: int, down: int, right: int) -> Tensor:
        """Where the pixels of a mirrored image are in the image that it mirrors, `[H, W]`."""
        return offset + down * torch.arange(self.height)[:, None] + right * torch.arange(self.width)


def _left_of(left_ends: Tensor, slopes: Tensor, cells: Tensor) -> Tensor:
    """What lies of each cell between a line and the next one, `[bins, rows]`, for left ends `[bins + 1, rows]`."""

    def left(ends: Tensor, slope: Tensor) -> Tensor:
        r, slope = ends - cells, slope.abs()[:, None]
        # The mean over the row of the part of the cell on the left; where the line is upright, it is that part.
        integral = [(r + slope - edge).clamp(min=0).square() - (r - edge).clamp(min=0).square() for edge in (0, 1)]
        sloped = (integral[0] - integral[1]) / (2 * slope.clamp(min=1e-6))
        return torch.where(slope > 1e-6, sloped, (r + slope / 2).clamp(0, 1))

    return left(left_ends[1:], slopes[1:]) - left(left_ends[:-1], slopes[:-1])


def position(image: Tensor) -> list[int]:
    """Where a mirrored image `[H, W, 1]` of numbers begins, and how far it is to its next row and column."""
    first = int(image[0, 0])
    return [first, int(image[min(1, len(image) - 1), 0]) - first, int(image[0, min(1, image.shape[1] - 1)]) - first]


def can_compute(x: Tensor) -> bool:
    """Whether products with such numbers can be computed here."""
    return x.device.type == "cpu" and _product(x.dtype) is not None


@cache
def _product(dtype: torch.dtype) -> Any:
    if dtype not in _NAMES:
        return None
    library = compiled_library(_SOURCE, "radon and fan_beam: by torch, several times slower than by compiled loops")
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
    images = [position(image) for image in turned]
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
        torch.full((len(angles),), torch.inf, dtype=torch.float64),
        places.contiguous(),
        slopes,
        scales,
    )


def _each_half(numbers: Tensor, part: Part) -> list[tuple[Tensor, bool]]:
    return [(mirrored(numbers, mirroring), half) for mirroring in part.images for half in (False, True)]
