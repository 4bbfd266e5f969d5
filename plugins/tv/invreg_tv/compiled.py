"""The pixelwise part of an iteration, compiled where a C compiler is found; elsewhere torch computes the same."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invreg import compiled_library

_SOURCE = Path(__file__).with_name("step.c")
_NAMES = {torch.float32: "step_float", torch.float64: "step_double"}


def compiled_step(dtype: torch.dtype) -> Callable[..., None] | None:
    """The compiled step for arrays of this dtype on the CPU, or None if there is none."""
    if dtype not in _NAMES:
        return None
    library = compiled_library(_SOURCE, "tv: computed by torch, several times slower than by its compiled step")
    if library is None:
        return None
    function: Any = getattr(library, _NAMES[dtype])
    function.restype = None
    function.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_longlong] * 5 + [ctypes.c_double] * 5
    return function  # type: ignore[no-any-return]


def address(values: Tensor | None) -> int | None:
    """Where a contiguous tensor lies in memory."""
    return None if values is None else values.data_ptr()
