"""Residual functions on a CPU, compiled where a C compiler is found; see `residual.c`.

For networks of few channels, an evaluation by torch waits for memory longer than it computes: shrinkage, mixing, sums
and norms are passes of their own. Here all of them are made for a row of an image while it is in the cache.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import compiled_library
from invreg_iresnet.network.subnetwork import Subnetwork

_SOURCE = Path(__file__).with_name("residual.c")
_REALS = {torch.float32: "float", torch.float64: "double"}
_OTHERWISE = "invertible networks: computed by torch, more slowly than by compiled code"

# Arguments of the functions: pointers, a number in evaluate, and the ranges.
_RANGES = (ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int)
_ARGUMENTS = {
    "evaluate": (*[ctypes.c_void_p] * 7, ctypes.c_double, *[ctypes.c_void_p] * 4, *_RANGES),
    "adjoint": (*[ctypes.c_void_p] * 9, *_RANGES),
    "answer": (*[ctypes.c_void_p] * 5, *_RANGES),
    "gradients": (*[ctypes.c_void_p] * 8, *_RANGES),
}

# Images of fewer pixels are not worth the seconds that compiling takes, and threads are not worth fewer rows.
_PIXELS, _ROWS = 2048, 8


class Step(NamedTuple):
    """What a step x -> g(x) gives.

    Attributes:
        value: g(x), or an empty tensor if it was not asked for.
        further: g(x) + C (g(x) - x), if a matrix C was given.
        norms: those of g(x) - x and g(x) for each image, `[2, B]` in float64, if they were asked for.
    """

    value: Tensor
    further: Tensor | None
    norms: Tensor | None


class CompiledSubnetwork:
    """A residual function f = W S K with fixed weights, on states `[B, M, H, W]` with channels last."""

    def __init__(self, subnetwork: Subnetwork, library: ctypes.CDLL) -> None:
        self._of, self._library = subnetwork, library
        self._lanes: int = library.lanes()
        hidden, channels, size, _ = subnetwork.kernel.shape
        self._shape = hidden, channels, size
        self._group = max(1, self._lanes // channels)  # pixels that share a register
        self._mixing = subnetwork.mixing.flatten(1).contiguous()
        self._hidden_bias = subnetwork.hidden_bias.contiguous()

    def room(self, x: Tensor) -> Tensor:
        """A tensor for the hidden activations at x."""
        layout = torch.channels_last
        return torch.empty(len(x), self._shape[0], *x.shape[2:], dtype=x.dtype, memory_format=layout)

    def evaluate(
        self,
        x: Tensor,
        base: Tensor,
        hidden: Tensor | None = None,
        ahead: Tensor | None = None,
        *,
        look: bool = True,
        give: bool = True,
    ) -> Step:
        """The step to base + f(x).

        Args:
            x: where f is evaluated.
            base: what is added.
            hidden: gets the hidden activations.
            ahead: C; transposed.
            look: whether norms are asked for.
            give: whether g(x) is.
        """
        kernel, mixing, output_bias = self._forward
        given = (_last(x), _last(base), kernel, self._hidden_bias, mixing, output_bias)
        return self._step("evaluate", given, ahead, (self._of.threshold,), (hidden,), look, give)

    def adjoint(
        self,
        w: Tensor,
        hidden: Tensor,
        base: Tensor,
        ahead: Tensor | None = None,
        *,
        look: bool = True,
        give: bool = True,
    ) -> Step:
        """The step to base + f'(x)* w, at the x with these hidden activations; the rest as in `evaluate`."""
        given = (_last(w), hidden, _last(base), self._adjoint, self._pulling)
        return self._step("adjoint", given, ahead, (), (), look, give)

    def answer(self, x: Tensor, value: Tensor, ahead: Tensor, taps: Tensor) -> Tensor:
        """The answer g(x) + C r + D r with r = g(x) - x, for a step from x.

        Args:
            x: where f was evaluated.
            value: g(x).
            ahead: C, transposed.
            taps: the 5 x 5 kernels of D, one for each channel.
        """
        x, value = _last(x), _last(value)
        packed, kernels, found = (
            self._packed(self._grouped(ahead.to(x.dtype))[None]),
            taps.to(x.dtype).permute(1, 2, 0).contiguous(),
            torch.empty_like(x),
        )
        given = [one.data_ptr() for one in (x, value, packed, kernels, found)]
        many, (height, width) = len(x), x.shape[-2:]
        _in_parts(many * height, _ROWS, lambda first, last: self._library.answer(*given, first, last, height, width))
        return found

    def gradients(self, x: Tensor, hidden: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        """What `Subnetwork.weight_gradients` gives."""
        x, w = _last(x), _last(w)
        many, (height, width), (channels, inner, size) = len(x), x.shape[-2:], self._shape
        found = [
            w.new_empty(many, *one)
            for one in ((size, size, inner, channels), (inner, channels), (channels,), (channels,))
        ]
        given = [one.data_ptr() for one in (x, w, hidden, self._pulling, *found)]
        _in_parts(many, 1, lambda first, last: self._library.gradients(*given, first, last, height, width))
        kernel, mixing, bias, threshold = (one.sum(0) for one in found)
        return kernel.permute(3, 2, 0, 1), bias, mixing.view_as(self._of.mixing), w.sum((0, 2, 3)), threshold.sum()

    @functools.cached_property
    def _forward(self) -> tuple[Tensor, Tensor, Tensor]:
        kernel = self._packed(self._of.kernel.permute(2, 3, 1, 0).flatten(1, 2))
        mixing = self._packed(self._grouped(self._mixing.T)[None])
        return kernel, mixing, self._of.output_bias.repeat(self._group)

    @functools.cached_property
    def _adjoint(self) -> Tensor:
        flipped = self._of.kernel.flip(2, 3).permute(2, 3, 0, 1)
        shifts = [(0, 0, 0, 0, one, self._group - 1 - one) for one in range(self._group)]
        return self._packed(torch.cat([F.pad(flipped, shift) for shift in shifts], 3).flatten(1, 2))

    @functools.cached_property
    def _pulling(self) -> Tensor:
        return self._packed(self._mixing[None])

    def _step(
        self,
        name: str,
        given: tuple[Tensor, ...],
        ahead: Tensor | None,
        numbers: tuple[float, ...],
        hidden: tuple[Tensor | None, ...],
        look: bool,
        give: bool,
    ) -> Step:
        x, many, (height, width) = given[0], len(given[0]), given[0].shape[-2:]
        value = torch.empty_like(x) if give else None
        further = torch.empty_like(x) if ahead is not None else None
        squares = x.new_empty(many, height, 2, dtype=torch.float64) if look else None
        packed = None if ahead is None else self._packed(self._grouped(ahead.to(x.dtype))[None])
        before = [_address(one) for one in (*given, packed)]
        after = [_address(one) for one in (value, *hidden, further, squares)]
        call = getattr(self._library, name)
        _in_parts(many * height, _ROWS, lambda first, last: call(*before, *numbers, *after, first, last, height, width))
        norms = None if squares is None else squares.sum(1).sqrt().T
        return Step(x.new_empty(0) if value is None else value, further, norms)

    def _grouped(self, matrix: Tensor) -> Tensor:
        """The matrix on each of the pixels that share a register."""
        return matrix if self._group == 1 else torch.block_diag(*[matrix] * self._group)

    def _packed(self, weights: Tensor) -> Tensor:
        """`[rows, length, channels]` for `windows` in residual.c: `[channels / n, rows, length, n]`."""
        rows, length, channels = weights.shape
        blocks = 2 if channels % (2 * self._lanes) == 0 else 1
        return weights.reshape(rows, length, -1, blocks * self._lanes).permute(2, 0, 1, 3).contiguous()


def compiled(subnetwork: Subnetwork, state: Tensor) -> CompiledSubnetwork | None:
    """The residual function for states like this one, compiled; None where torch is to compute it.

    The size of the batch does not matter: the result of an image must not depend on it.
    """
    kernel = subnetwork.kernel
    if kernel.ndim != 4:
        return None  # volumes
    hidden, channels, size, _ = kernel.shape
    suits = channels % 8 == 0 and hidden % 16 == 0 and hidden >= channels and 3 <= size <= 7
    if not suits or state.device.type != "cpu" or state.dtype != kernel.dtype or kernel.dtype not in _REALS:
        return None
    if state.shape[-2] * state.shape[-1] < _PIXELS:
        return None
    library = _library(_REALS[kernel.dtype], channels, hidden, size)
    return None if library is None else CompiledSubnetwork(subnetwork, library)


@functools.cache
def _library(real: str, channels: int, hidden: int, size: int) -> ctypes.CDLL | None:
    sizes = (f"REAL={real}", f"M={channels}", f"H={hidden}", f"SIZE={size}")
    library = compiled_library(_SOURCE, _OTHERWISE, *sizes)
    if library is None or not library.lanes():
        return None
    for name, arguments in _ARGUMENTS.items():
        function: Any = getattr(library, name)
        function.restype, function.argtypes = None, arguments
    return library


def _last(state: Tensor) -> Tensor:
    return state.contiguous(memory_format=torch.channels_last)


def _address(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()


def _in_parts(count: int, least: int, call: Callable[[int, int], object]) -> None:
    """Calls for ranges that make up the numbers below count: one for each thread of torch, if they are long enough."""
    parts = min(torch.get_num_threads(), count // least)
    if parts <= 1:
        call(0, count)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    others = [_threads(os.getpid()).submit(call, *edge) for edge in itertools.pairwise(edges[1:])]
    call(0, edges[1])
    for other in others:
        other.result()


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Threads of this process: those of another one do not survive a fork."""
    return ThreadPoolExecutor(thread_name_prefix="invreg-iresnet")
