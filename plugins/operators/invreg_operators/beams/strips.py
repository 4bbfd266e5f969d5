"""Areas that pixels share with the strips of beams: a sparse matrix and its transpose, made block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_operators.beams.beam_matrix import quiet_about_rows
from invreg_operators.beams.parallel_beams import Geometry, Part, parts

# Bytes of blocks that are kept for the next call, for a geometry. The others are made anew each time.
_KEPT = 19_500_000
# Entries that are made at once: enough for few and long loops, while tensors stay in the cache of a processor.
_AT_ONCE = 262_144


class Block(NamedTuple):
    """Some rows and columns of a sparse matrix, in compressed rows.

    Attributes:
        row: where its rows begin in the matrix.
        column: where its columns begin.
        shape: of the block.
        starts: of the rows among the entries.
        columns: of the entries.
        values: of the entries at these columns, at the next ones, and so on.
    """

    row: int
    column: int
    shape: tuple[int, int]
    starts: Tensor
    columns: Tensor
    values: tuple[Tensor, ...]

    def add_product(self, x: Tensor, total: Tensor) -> None:
        """Adds the block times its rows of x to its rows of the total."""
        quiet_about_rows()
        rows, columns = total[self.row : self.row + self.shape[0]], self.columns.int()
        for first, values in enumerate(self.values, self.column):
            matrix = torch.sparse_csr_tensor(self.starts, columns, values, self.shape, check_invariants=False)
            torch.addmm(rows, matrix, x[first : first + self.shape[1]], out=rows)

    def compact(self, inside: Callable[[Tensor], Tensor]) -> Block:
        """The block with all values at columns of their own, which are short, and without zeros.

        Args:
            inside: which columns are not padding.
        """
        count = len(self.values)
        values = torch.stack([part.view(self.shape[0], -1) for part in self.values], dim=2)
        columns = self.columns.view(self.shape[0], -1, 1) + torch.arange(count, device=values.device)
        kept = (values != 0) & inside(columns)
        starts = torch.nn.functional.pad(kept.flatten(1).sum(1).cumsum(0), (1, 0)).int()
        shape = self.shape[0], self.shape[1] + count - 1
        short = torch.int16 if shape[1] <= 2**15 else torch.int32
        return Block(self.row, self.column, shape, starts, columns[kept].to(short), (values[kept],))

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return sum(part.nbytes for part in (self.starts, self.columns, *self.values))


class Cut(NamedTuple):
    """What a block covers: angles at which the ends of cells cross others alike, and rows of the image.

    Attributes:
        angles: the first and the one after the last.
        rows: the first and the one after the last.
        steps: the most cells from one end to the next.
        reach: the most cells that one end crosses.
        entries: about so many that are not zero.
    """

    angles: tuple[int, int]
    rows: tuple[int, int]
    steps: int
    reach: int
    entries: float


class Blocks:
    """The blocks of a matrix, of which the first ones are kept.

    Args:
        cuts: what the blocks cover.
        make: makes a block, a compact one if it shall be kept.
        room: about so many entries are kept.
    """

    def __init__(self, cuts: list[Cut], make: Callable[[Cut, bool], Block], room: float) -> None:
        self.cuts, self.make = cuts, make
        # Which ones is known from the start: sums of compact blocks are rounded differently.
        self.keeps = sum(total <= room for total in accumulate(cut.entries for cut in cuts))
        self.kept: dict[int, Block] = {}

    @property
    def padding(self) -> int:
        """Columns of zeros that x needs on both sides of a row of cells."""
        return max(cut.steps + cut.reach for cut in self.cuts)

    def __iter__(self) -> Iterator[Block]:
        for number, cut in enumerate(self.cuts):
            block = self.kept.get(number)
            if block is None:
                # Not inference tensors, even if first needed in inference mode: gradients pass through them later.
                with torch.inference_mode(False), torch.no_grad():
                    block = self.make(cut, number < self.keeps)
                if number < self.keeps:
                    self.kept[number] = block
            yield block


class Strips:
    """The matrix of the areas for a part of the geometry, and its transpose.

    The unit of length is a pixel. In a row of the image, the edge of a strip is a sloped line across pixels; seen on
    the detector, a side of a pixel is a sloped line across bins. What a strip and a pixel share is the difference
    of what lies on the left of two such lines: `_shared` computes it for the matrix and for its transpose.

    A half turn of the image reverses the bins. So the matrix has rows for the first half of the bins only, and its
    transpose has rows for the upper half of the image. Columns are padded: no bin and no pixel has cells outside.

    Attributes:
        blocks: of the matrix, `[angles * half_bins, height * (padding + width + padding)]`: the share of the area of
            a pixel that lies in the strip of a bin.
        transposed: blocks of the transpose, `[half_height * width, angles * (padding + bins + padding)]`, where the
            columns of an angle are divided by bin_width / cos(angle), the pixels that a bin covers in a row.
    """

    def __init__(self, geometry: Geometry, part: Part, dtype: torch.dtype, device: torch.device, kept: int) -> None:
        self.part, self.bins, self.bin_width = part, geometry.detectors, geometry.bin_width
        self.dtype, self.device = dtype, device
        self.half_bins, self.half_height = (self.bins + 1) // 2, (part.height + 1) // 2
        self.cos, self.sin = (
            torch.tensor([f(angle) for angle in part.angles], dtype=torch.float64, device=device)
            for f in (math.cos, math.sin)
        )
        angles = [(math.cos(angle), math.sin(angle), self.bin_width) for angle in part.angles]
        # Each row of pixels meets so many bins.
        meets = [part.width * ((c + s) / w + 1) for c, s, w in angles]
        # Blocks have so few columns that these are short numbers.
        rows, at_once = min(2**15 // (part.width + 16), 64), 2**15 // (self.bins + 16)
        half = [count / 2 for count in meets]
        ahead = _cuts([(w / c, s / c) for c, s, w in angles], part.height, self.half_bins, half, most_rows=rows)
        back = _cuts([(c / w, s / w) for c, s, w in angles], self.half_height, part.width, meets, most_angles=at_once)
        room = kept / (dtype.itemsize + 2.2)
        # The matrix takes longer to make than the transpose, so its blocks come first.
        self.blocks = Blocks(ahead, self._block, room)
        self.transposed = Blocks(back, self._transposed_block, room - sum(cut.entries for cut in ahead))

    def _block(self, cut: Cut, compact: bool) -> Block:
        (first, last), (top, bottom) = cut.angles, cut.rows
        cos, sin = self.cos[first:last, None, None], self.sin[first:last, None, None]
        edges = (self._range(0, self.half_bins + 1) - self.bins / 2) * self.bin_width
        up = (self.part.height - 1) / 2 - self._range(top, bottom)
        # The edge t at the height y is at x = (t - y sin) / cos. [angles, edges, rows]
        ends = (edges[:, None] / cos + (self.part.width / 2 - sin / cos / 2)) - up * (sin / cos)
        padding, rows = self.blocks.padding, (last - first) * self.half_bins
        column = top * (self.part.width + 2 * padding)
        return self._made(
            ends, sin / cos, cut, self.part.width, padding, (first * self.half_bins, column), rows, compact
        )

    def _transposed_block(self, cut: Cut, compact: bool) -> Block:
        (first, last), (top, bottom) = cut.angles, cut.rows
        cos, sin = self.cos[first:last] / self.bin_width, self.sin[first:last] / self.bin_width
        sides = self._range(0, self.part.width + 1) - self.part.width / 2
        up = (self.part.height - 1) / 2 - self._range(top, bottom)
        # The point (x, y) is seen at t = x cos + y sin. [rows, sides, angles]
        ends = (sides[:, None] * cos + (self.bins / 2 - sin / 2)) + (up[:, None] * sin)[:, None]
        padding, rows = self.transposed.padding, (bottom - top) * self.part.width
        column = first * (self.bins + 2 * padding)
        return self._made(ends, sin, cut, self.bins, padding, (top * self.part.width, column), rows, compact)

    def _range(self, first: int, last: int) -> Tensor:
        return torch.arange(first, last, dtype=torch.float64, device=self.device)

    def _made(
        self,
        ends: Tensor,
        slope: Tensor,
        cut: Cut,
        cells: int,
        padding: int,
        corner: tuple[int, int],
        rows: int,
        compact: bool,
    ) -> Block:
        """The block at this corner, for ends `[X, ends, Y]`: X and the ends make rows, Y is along the columns."""
        first, shares = _shared(ends, slope.to(self.dtype), cut.steps, cut.reach, self.dtype)
        count, stride = ends.shape[2], cells + 2 * padding
        # Far outside there is nothing but zeros, wherever they are.
        first = first.clamp_(-padding, cells)
        first += torch.arange(padding, padding + count * stride, stride, dtype=torch.int32, device=self.device)
        starts = torch.arange(0, rows * count + 1, count, dtype=torch.int32, device=self.device)
        shape = rows, count * stride - len(shares) + 1
        block = Block(*corner, shape, starts, first.flatten(), tuple(share.flatten() for share in shares))
        if not compact:
            return block
        return block.compact(lambda columns: (columns % stride >= padding) & (columns % stride < padding + cells))


@lru_cache(maxsize=4)
def strips_of(geometry: Geometry, dtype: torch.dtype, device: torch.device) -> list[Strips]:
    """The strips of all parts of a geometry, which are kept for the next call, for the last few geometries."""
    found = parts(geometry)
    return [Strips(geometry, part, dtype, device, _KEPT // len(found)) for part in found]


def _cuts(
    angles: list[tuple[float, float]],
    height: int,
    ends: int,
    entries: list[float],
    most_rows: int | None = None,
    most_angles: int | None = None,
) -> list[Cut]:
    """Cuts with as many rows as they may have, then as many angles as fit; without a limit for rows the other way.

    Args:
        angles: for each, the distance of neighbouring ends and their slope, both in cells.
        height: rows.
        ends: in each row.
        entries: in each row, for each angle.
        most_rows: of a cut.
        most_angles: of a cut.
    """
    # A distance that is a whole number of cells is rounded either way.
    kinds = [(math.floor(distance + 1e-9) + 1, math.ceil(slope - 1e-9) + 1) for distance, slope in angles]
    cuts = []
    begin = 0
    for (steps, reach), alike in groupby(kinds):
        end = begin + len(list(alike))
        fits = max(_AT_ONCE // ((steps + reach) * (ends + 1)), 1)
        tall = 1 if most_rows is None else max(min(most_rows, height), 1)
        at_once = max(min(fits // tall, end - begin, most_angles or fits), 1)
        rows = max(min(fits // at_once, height, most_rows or fits), 1)
        for first in range(begin, end, at_once):
            last = min(first + at_once, end)
            for top in range(0, height, rows):
                bottom = min(top + rows, height)
                count = (bottom - top) * sum(entries[first:last])
                cuts.append(Cut((first, last), (top, bottom), steps, reach, count))
        begin = end
    return cuts


def _shared(ends: Tensor, slope: Tensor, steps: int, reach: int, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """What lies between neighbouring ends, of each cell that they cross. Overwrites the ends.

    Cell m lies between m and m + 1. The ends advance along the second axis; an end crosses evenly from its position to
    position + slope, so that on its left there is, of the cells m = 0, 1, ... from its first one on,

        M_m - M_(m+1),   M_0 = r + slope/2,   M_m = max(r + slope - m, 0)² / (2 slope),

    where r is the position in the first cell.

    Returns:
        first: the first cell `[X, ends - 1, Y]`.
        shares: of this cell, of the next one, and so on, each `[X, ends - 1, Y]`.
    """
    floor = ends.floor()
    r, cell = ends.sub_(floor).to(dtype), floor.to(dtype)
    # At right angles a line has no slope; there, the value does not matter.
    slope = slope.clamp_min(1e-30)
    left = [(r + (slope - m)).clamp_min_(0).square_().mul_(0.5 / slope) for m in range(1, reach)]
    left = [r.add_(slope / 2), *left]
    for m in range(reach - 1):
        left[m].sub_(left[m + 1])
    # The next end is either that many cells further on, or one less.
    far = (cell[:, 1:] - cell[:, :-1]).sub_(steps - 1)
    one, zero = far.new_ones(()).expand_as(far), far.new_zeros(()).expand_as(far)

    def left_of_next(m: int) -> Tensor:
        return one if m < 0 else left[m][:, 1:] if m < reach else zero

    shares = []
    for m in range(steps + reach):
        share = one if m < steps - 1 else torch.lerp(left_of_next(m - steps + 1), left_of_next(m - steps), far)
        shares.append(share - left[m][:, :-1] if m < reach else share)
    return floor[:, :-1].int(), shares
