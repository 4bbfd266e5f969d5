"""Which arithmetic convolutions run in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of convolutions under autocast on this device, or that of the tensor where autocast is off."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


@contextmanager
def single_thread() -> Iterator[None]:
    """Computes in one thread: many small matrices gain little from more, and lose much where other work waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each_in_one_thread(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """The results of work for each item, as many items at once as torch has threads, without gradients.

    Each item is worked on by one thread, so results do not depend on how many there are.
    """
    threads = min(torch.get_num_threads(), len(items))
    with single_thread():
        if threads <= 1:
            return [_without_gradients(work, item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            try:
                return list(pool.map(partial(_without_gradients, work), items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _without_gradients(work: Callable[[_Item], _Result], item: _Item) -> _Result:
    with torch.no_grad():  # threads begin with torch's default
        return work(item)


@contextmanager
def arithmetic(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Computes in the dtypes that tensors have, without autocast.

    Args:
        device: where.
        tf32: whether a GPU may use TF32, cuDNN's default, which rounds the inputs of float32 convolutions to 11 bits.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and tf32
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
