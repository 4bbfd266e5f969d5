"""The pixelwise part of an iteration and of a look, compiled where a C compiler is found; elsewhere torch does it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invreg import compiled_library

_SOURCE = Path(__file__).with_name("step.c")
_TYPES = {torch.float32: "float", torch.float64: "double"}


def compiled_step(dtype: torch.dtype) -> Callable[..., None] | None:
    """The compiled step for arrays of this dtype on the CPU, or None if there is none."""
    return _compiled("step", dtype, 13, 5, 6)


def compiled_gap(dtype: torch.dtype) -> Callable[..., None] | None:
    """The compiled sums of the gap for arrays of this dtype on the CPU, or None if there is none."""
    return _compiled("gap", dtype, 7, 4, 1)


def _compiled(name: str, dtype: torch.dtype, pointers: int, sizes: int, numbers: int) -> Callable[..., None] | None:
    if dtype not in _TYPES:
        return None
    library = compiled_library(_SOURCE, "tv: computed by torch, several times slower than by its compiled step")
    if library is None:
        return None
    function: Any = getattr(library, f"{name}_{_TYPES[dtype]}")
    function.restype = None
    function.argtypes = [ctypes.c_void_p] * pointers + [ctypes.c_longlong] * sizes + [ctypes.c_double] * numbers
    return function  # type: ignore[no-any-return]


def address(values: Tensor | None) -> int | None:
    """Where a contiguous tensor lies in memory."""
    return None if values is None else values.data_ptr()
