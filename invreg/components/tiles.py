"""Reconstruction of images that are too large for memory, piece by piece."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from invreg.components.operator import Operator
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregWarning, ShapeError, SpecError

#: Bytes that the reconstruction of one image may take; with the libraries, a process stays below 4 GiB.
MOST_MEMORY = 3 * 2**30

# Tiles start at multiples of this, so that networks with several scales see the same grid as in the whole image. The
# halo is at least two of them; sides of tiles are at most 32 of them without the halo.
_GRID = 32


def reconstruct_within(reconstructor: Reconstructor, z: Tensor, memory: float = MOST_MEMORY) -> Tensor:
    """R(z), or, where one image would take more than `memory`, what `reconstruct_in_tiles` makes of it.

    The memory is that of the method's `memory_per_pixel`; one that does not say it reconstructs the whole. So does one
    for an operator that is not known to be local, or whose measurements are not images. The halo of the tiles is the
    radius of the operator and of the method, where that has one, and 64 pixels at least.

    Args:
        reconstructor: a method that is set up.
        z: measurements `[B, ...range]`.
        memory: bytes for one image.

    Warns:
        InvregWarning: if tiles are used, with their size.
    """
    per_pixel = reconstructor.memory_per_pixel
    if per_pixel is None or not is_too_large(reconstructor, z, memory):
        return reconstructor(z)
    operator = reconstructor.problem.operator
    radius = operator.stencil_radius or 0
    halo = _on_grid(max(radius, reconstructor.reconstruction_radius or 0, 2 * _GRID))
    side = int((memory / 2 / per_pixel) ** 0.5) - 2 * halo - _GRID
    tile_size = max(min(side // _GRID, 32), 1) * _GRID
    height, width = z.shape[-2:]
    message = (
        f"images of {height}x{width} pixels are reconstructed in tiles of {tile_size} with a halo of {halo}: "
        f"at once, one would take about {per_pixel * height * width / 2**30:.1f} GiB, more than {memory / 2**30:.1f}"
    )
    warnings.warn(message, InvregWarning, stacklevel=2)
    return reconstruct_in_tiles(reconstructor, operator, z, tile_size, halo, batch_size=1)


def is_too_large(reconstructor: Reconstructor, z: Tensor, memory: float) -> bool:
    """Whether one image would take more memory than this, and tiles are possible."""
    per_pixel = reconstructor.memory_per_pixel
    if z.ndim != 4 or per_pixel is None or per_pixel * z.shape[-2] * z.shape[-1] <= memory:
        return False
    operator = reconstructor.problem.operator
    shape = tuple(z.shape[1:])
    return operator.stencil_radius is not None and tuple(operator.range_shape(shape)) == shape


def _on_grid(length: int) -> int:
    return -(-length // _GRID) * _GRID


def reconstruct_in_tiles(
    reconstructor: Reconstructor,
    operator: Operator,
    z: Tensor,
    tile_size: int = 256,
    halo: int = 32,
    batch_size: int = 4,
) -> Tensor:
    """R(z), put together from the reconstructions of overlapping tiles.

    The image is cut into squares of `tile_size` pixels. Each is reconstructed together with `halo` further pixels on
    every side where the image goes on, and these are cut off again. Memory is needed for `batch_size` enlarged tiles at
    once, for any number and size of images; the result is on the device of z.

    It is an approximation of R(z): the inverse of an operator is not local, even if the operator is. What lies beyond
    the halo is missing, and tiles that are smaller than the others see another border than the image has. The error
    falls with the halo; `benchmarks/tiles.py` measures it. Nothing that is certified of R is certified of this map.

    Args:
        reconstructor: a method that is set up, and takes images of other sizes.
        operator: the forward operator, X -> X, of known `stencil_radius`.
        z: measurements `[B, C, H, W]`.
        tile_size: side of the squares; if the image is not larger, there is one tile and the result is R(z).
        halo: at least the radius of the operator.
        batch_size: tiles at once.

    Raises:
        SpecError: if the operator is not known to be local, or a number is out of its range.
        ShapeError: if z is not a batch of images in X.
    """
    _check(operator, z, tile_size, halo, batch_size)
    result: Tensor | None = None
    with torch.no_grad():
        for tiles in _batches(list(_tiles(z.shape, tile_size, halo)), batch_size):
            pieces = torch.stack([z[one.index, :, one.seen[0], one.seen[1]] for one in tiles])
            images = reconstructor(pieces)
            if images.shape[-2:] != pieces.shape[-2:]:
                raise ShapeError(
                    f"reconstructions of shape {tuple(images.shape)} of tiles of shape {tuple(pieces.shape)}",
                    where="reconstruct_in_tiles",
                    expected="images of the same size as the measurements",
                )
            if result is None:
                result = images.new_empty((len(z), images.shape[1], *z.shape[2:]), device=z.device)
            for one, image in zip(tiles, images, strict=True):
                result[one.index, :, one.own[0], one.own[1]] = image[:, one.inner[0], one.inner[1]].to(z.device)
    assert result is not None  # noqa: S101 (for mypy: there is a batch, since there is a tile)
    return result


@dataclass(frozen=True)
class _Tile:
    """Rows and columns of one tile.

    Attributes:
        index: of the image in the batch.
        own: what it contributes, in the image.
        seen: the same with the halo.
        inner: what it contributes, counted within `seen`.
    """

    index: int
    own: tuple[slice, slice]
    seen: tuple[slice, slice]
    inner: tuple[slice, slice]

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(side.stop - side.start for side in self.seen)


def _tiles(shape: torch.Size, tile_size: int, halo: int) -> Iterator[_Tile]:
    count, _, height, width = shape
    for index in range(count):
        for rows in _sections(height, tile_size, halo):
            for columns in _sections(width, tile_size, halo):
                own, seen, inner = zip(rows, columns, strict=True)
                yield _Tile(index, own, seen, inner)


def _sections(length: int, tile_size: int, halo: int) -> list[tuple[slice, slice, slice]]:
    """Own, seen and inner parts of the tiles along one axis.

    The seen parts have the full length of a tile with both halos, also at the ends, where they reach farther inwards:
    then no tile is small, and nearly all can be reconstructed in one batch.
    """
    full = min(length, tile_size + 2 * halo)
    grid = _GRID if tile_size % _GRID == 0 and halo % _GRID == 0 else 1
    found = []
    for start in range(0, length, tile_size):
        stop = min(start + tile_size, length)
        first = min(max(start - halo, 0), length - full) // grid * grid
        last = length if first + full + grid > length else first + full
        found.append((slice(start, stop), slice(first, last), slice(start - first, stop - first)))
    return found


def _batches(tiles: list[_Tile], batch_size: int) -> Iterator[list[_Tile]]:
    """Tiles of one size together."""
    for size in sorted({tile.size for tile in tiles}):
        alike = [tile for tile in tiles if tile.size == size]
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]


def _check(operator: Operator, z: Tensor, tile_size: int, halo: int, batch_size: int) -> None:
    radius = operator.stencil_radius
    if z.ndim != 4 or tuple(operator.range_shape(tuple(z.shape[1:]))) != tuple(z.shape[1:]):
        raise ShapeError(
            f"measurements of shape {tuple(z.shape)}",
            where="reconstruct_in_tiles",
            expected="[B, C, H, W], of an operator from X to X",
            hint="where measurements are not images, a piece of them is not the measurement of a piece",
        )
    if radius is None:
        raise SpecError(
            f"{type(operator).__name__}, of which no stencil radius is known",
            where="reconstruct_in_tiles",
            expected="a local operator: a tile must be the measurement of its surroundings",
            hint="reconstruct the whole image, or define `stencil_radius` if the operator is local",
        )
    for name, value, least in (("tile_size", tile_size, 1), ("halo", halo, radius), ("batch_size", batch_size, 1)):
        if value < least:
            meaning = ", the radius of the operator" if name == "halo" else ""
            raise SpecError(f"{name} {value}", where="reconstruct_in_tiles", expected=f"at least {least}{meaning}")
