"""Parallel beams through an image of square pixels: exact strip integrals, as sparse matrices."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# Entries of the matrix that are built at once: some temporary tensors of this size are in memory.
_ENTRIES_AT_ONCE = 4_000_000
# Of a pixel's area; what is less is rounding.
_NEGLIGIBLE = 1e-14


@dataclass(frozen=True)
class Geometry:
    """The geometry of the beams: angles in degrees, detector bins, and the size of the image.

    Lengths are in longer sides of the image. The origin lies in the centre of the image and of the detector, x points
    right and y up. Beam position t at the angle theta is the line x cos(theta) + y sin(theta) = t.

    Attributes:
        angles: number of angles, evenly spaced from `start` on; `stop` would be the next one.
        start: the first angle.
        stop: the end of the range.
        detectors: number of bins.
        bin_width: of a bin, in pixels.
        height: pixels of a column of the image.
        width: pixels of a row.
    """

    angles: int
    start: float
    stop: float
    detectors: int
    bin_width: float
    height: int
    width: int

    @property
    def step(self) -> float:
        """Between two angles, in radians."""
        return math.radians(self.stop - self.start) / self.angles

    @property
    def pixel(self) -> float:
        """Side of a pixel, in longer sides of the image."""
        return 1 / max(self.height, self.width)


class Matrix(NamedTuple):
    """A sparse matrix and its transpose, both in compressed rows: products with either are fast and repeatable."""

    forward: Tensor
    transposed: Tensor


@lru_cache(maxsize=6)
def beam_matrix(geometry: Geometry, dtype: torch.dtype, device: torch.device) -> Matrix:
    """The matrix of the Radon transform, `[angles * detectors, height * width]`.

    An entry is the area that a pixel shares with the strip of a bin, divided by the width of the strip: with it, an
    image that is constant on each pixel is integrated exactly, and each bin holds the mean of the line integrals over
    its width. The matrix is kept for the next call, for the last few geometries.
    """
    if dtype != torch.float64 or device.type != "cpu":
        exact = beam_matrix(geometry, torch.float64, torch.device("cpu"))
        # Not inference tensors, even if first needed in inference mode: gradients pass through them later.
        with torch.inference_mode(False):
            return Matrix(*(_moved(part, dtype, device) for part in exact))
    with torch.inference_mode(False), torch.no_grad():
        return _build(geometry)


def _build(geometry: Geometry) -> Matrix:
    pixels, bins = geometry.height * geometry.width, geometry.detectors
    theta = math.radians(geometry.start) + geometry.step * torch.arange(geometry.angles, dtype=torch.float64)
    at_once = max(_ENTRIES_AT_ONCE // (pixels * (int(math.sqrt(2) / geometry.bin_width) + 2)), 1)
    rows, columns, values = [], [], []
    for start in range(0, geometry.angles, at_once):
        chosen = theta[start : start + at_once]
        bin_index, shares = _shares(geometry, chosen)
        row = bin_index + bins * torch.arange(start, start + len(chosen))[:, None, None]
        column = torch.arange(pixels)[None, :, None].expand_as(row)
        kept = shares > _NEGLIGIBLE
        rows.append(row[kept])
        columns.append(column[kept])
        values.append(shares[kept] * (geometry.pixel / geometry.bin_width))
    row, column, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    shape = geometry.angles * bins, pixels
    return Matrix(_compressed(row, column, value, shape), _compressed(column, row, value, shape[::-1]))


def _shares(geometry: Geometry, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The bins that each pixel lies in `[angles, pixels, S]`, and the share of its area in each.

    Seen along the beams, a pixel is a trapezoid: the convolution of two boxes, as wide as its sides projected onto the
    detector. Shares are differences of its integral. Here the unit of length is a pixel.
    """
    across = torch.arange(geometry.width, dtype=torch.float64) - (geometry.width - 1) / 2
    up = (geometry.height - 1) / 2 - torch.arange(geometry.height, dtype=torch.float64)
    cos, sin = theta.cos()[:, None, None], theta.sin()[:, None, None]
    center = (cos * across + sin * up[:, None]).flatten(1)[..., None]
    wide, narrow = torch.maximum(cos.abs(), sin.abs()), torch.minimum(cos.abs(), sin.abs())
    touched = min(int(math.sqrt(2) / geometry.bin_width) + 2, geometry.detectors)
    half, width = geometry.detectors / 2, geometry.bin_width
    first = ((center - (wide + narrow) / 2) / width + half).floor().long()
    first = first.clamp(0, geometry.detectors - touched)
    edges = (first + torch.arange(touched + 1) - half) * width - center
    left_of_edges = _trapezoid_integral(edges, wide, narrow)
    return first + torch.arange(touched), left_of_edges.diff(dim=-1)


def _trapezoid_integral(t: Tensor, wide: Tensor, narrow: Tensor) -> Tensor:
    """The integral from -infinity to t of the convolution of two boxes of area one with these widths."""
    distance = t.abs()
    # At an angle of 0 or 90 degrees the slopes have no width; the value there does not matter.
    narrow = narrow.clamp_min(1e-30)
    missing = ((wide + narrow) / 2 - distance).clamp_min(0)
    on_slope = 0.5 - missing.clamp(max=narrow) ** 2 / (2 * wide * narrow)
    from_center = torch.where(distance <= (wide - narrow) / 2, distance / wide, on_slope)
    return 0.5 + t.sign() * from_center


def _compressed(row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    order = torch.argsort(row * shape[1] + column)
    counts = torch.bincount(row, minlength=shape[0])
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    # Products with short indices are twice as fast on a CPU.
    short = torch.int32 if len(value) < 2**31 else torch.int64
    return _csr(starts.to(short), column[order].to(short), value[order], shape)


def _moved(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    parts = matrix.crow_indices().to(device), matrix.col_indices().to(device), matrix.values().to(device, dtype)
    return _csr(*parts, (matrix.shape[0], matrix.shape[1]))


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch warns that compressed rows are in beta; only products with dense matrices are used here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
