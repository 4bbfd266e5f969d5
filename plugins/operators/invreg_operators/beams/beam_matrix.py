"""The whole sparse matrix of parallel beams, for geometries that are small enough."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_operators.beams.parallel_beams import Geometry

# Bytes of a matrix and its transpose that are kept: at 128 x 128 pixels and 60 angles, that is twice as fast for many
# images as what strips.py does for larger ones, which is to make them in parts.
_KEPT = 40 * 2**20
# Of a pixel's area; what is less is rounding.
_NEGLIGIBLE = 1e-14


def is_small(geometry: Geometry, dtype: torch.dtype) -> bool:
    """Whether the matrix of this geometry may be kept as a whole."""
    return 2 * _entries(geometry) * (dtype.itemsize + 4) <= _KEPT


@lru_cache(maxsize=64)
def _entries(geometry: Geometry) -> float:
    theta = _angles(geometry)
    bins = (theta.cos().abs() + theta.sin().abs()) / geometry.bin_width + 1
    return geometry.height * geometry.width * float(bins.sum())


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
    # Not inference tensors, even if first needed in inference mode: gradients pass through them later.
    with torch.inference_mode(False), torch.no_grad():
        return Matrix(*(_moved(part, dtype, device) for part in _build(geometry)))


def _build(geometry: Geometry) -> Matrix:
    pixels, bins = geometry.height * geometry.width, geometry.detectors
    bin_index, shares = _shares(geometry, _angles(geometry))
    rows = bin_index + bins * torch.arange(geometry.angles)[:, None, None]
    columns = torch.arange(pixels)[None, :, None].expand_as(rows)
    kept = shares > _NEGLIGIBLE
    row, column, value = rows[kept], columns[kept], shares[kept] * (geometry.pixel / geometry.bin_width)
    shape = geometry.angles * bins, pixels
    return Matrix(_compressed(row, column, value, shape), _compressed(column, row, value, shape[::-1]))


def _angles(geometry: Geometry) -> Tensor:
    return math.radians(geometry.start) + geometry.step * torch.arange(geometry.angles, dtype=torch.float64)


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
    edges = ((first + torch.arange(touched + 1)).double() - half) * width - center
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
    return _csr(starts.int(), column[order].int(), value[order], shape)


def _moved(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    parts = matrix.crow_indices().to(device), matrix.col_indices().to(device), matrix.values().to(device, dtype)
    return _csr(*parts, (matrix.shape[0], matrix.shape[1]))


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    quiet_about_rows()
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


@lru_cache(maxsize=1)
def quiet_about_rows() -> None:
    """PyTorch warns once that compressed rows are in beta; only products with dense matrices are used here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
