"""Images in a file on disk, of which only what is asked for is read."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Bytes that are read at a time where a whole file is wanted.
_PIECE = 2**26


class StoredImages(Sequence[Tensor]):
    """Images of any sizes in one file, one after the other, for `TrainingImages` and `TrainingPairs`.

    Made by [`invreg.imaging.gathering.gather_images`][] where images are too many for the memory. The file is mapped
    for each access and let go of after it: what has been read counts as cache of the system, not as memory of the
    process.

    Args:
        path: the file: all values, as they are in memory. It stays open, and readable if it is deleted.
        dtype: of the values.
        shapes: of the images, in their order.
        low: the smallest value, where white is 1; NaN if there is one.
        high: the largest value, likewise.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it has another size.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        path: Path,
        dtype: Literal["uint8", "float32"],
        shapes: Sequence[tuple[int, ...]],
        low: float,
        high: float,
    ) -> None:
        self.path, self.shapes, self.low, self.high = path, shapes, low, high
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._type = np.dtype(dtype)
        self._starts = [0, *accumulate(map(math.prod, shapes))]
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        expected = self._starts[-1] * self._type.itemsize
        if (size := os.fstat(self._file).st_size) != expected:
            raise ValueError(f"{path} has {size} bytes instead of {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._type.name, self.shapes, self.low, self.high)

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self._starts[-1] * self._type.itemsize

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        flat = self._values()[self._starts[number] : self._starts[number + 1]]
        return torch.from_numpy(flat.reshape(self.shapes[number]).copy())

    def take(self, positions: Tensor) -> Tensor:
        """The values at these positions in the file, counted in values, on the CPU."""
        return torch.from_numpy(self._values().take(positions.numpy()))

    def load(self, device: torch.device) -> Tensor:
        """All values, flat, on a device; a part at a time passes through the memory of the CPU."""
        found = torch.empty(self._starts[-1], dtype=self.dtype, device=device)
        step = _PIECE // self._type.itemsize
        for start in range(0, len(found), step):
            piece = self._values()[start : start + step]
            found[start : start + step] = torch.from_numpy(piece.copy())
        return found

    def _values(self) -> NDArray[Any]:
        # A new map for each access: one that is kept would fill the process with pages, until the system needs them.
        return np.frombuffer(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ), self._type)
