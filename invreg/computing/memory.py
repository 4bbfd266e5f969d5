"""Memory that is not enough, said in the terms of whoever can do something about it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from invreg.errors import InvregError, OutOfMemory, SpecError
from invreg.text import size_in_words

#: Tensors of weights that one method can have.
MOST_TENSORS = 5_000


class TooLarge(SpecError):
    """A component that no memory of this machine can hold; nothing has been made."""


@contextmanager
def memory_guard(where: str, shape: tuple[int, ...], hint: str) -> Iterator[None]:
    """Turns what torch raises for a lack of memory, on a GPU or on the CPU, into a message.

    Args:
        where: what is computed.
        shape: of the batch that is too large, `(B, C, H, W)`, or `(B, C, D, H, W)`.
        hint: what to try.

    Raises:
        OutOfMemory: in place of an exception for a lack of memory; all others pass.
    """
    try:
        yield
    except (RuntimeError, InvregError) as error:
        if not _is_lack_of_memory(error.__cause__ or error):
            raise
        size = size_in_words(shape[2:] if len(shape) == 5 else shape[-2:])
        what = f"out of memory for a batch of {shape[0]} images of {size}"
        raise OutOfMemory(what, where=where, hint=hint) from error


def _is_lack_of_memory(error: BaseException) -> bool:
    # The allocator of the CPU has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def require_memory(size: float, what: str, where: str = "") -> None:
    """Refuses what does not fit into the memory of this machine, before it is made.

    Args:
        size: the bytes that it takes.
        what: what takes them, for the message, as in "1,000 images".
        where: the path of the parameter that decides on it.

    Raises:
        SpecError: with the memory that it takes, and that of this machine.
    """
    there = _physical_memory()
    if there is not None and size > there:
        raise TooLarge(
            f"{what} would take {_gib(size)} of memory",
            where=where or None,
            expected=f"less than the {_gib(there)} of this machine",
        )


def share_of_memory(share: float) -> float:
    """So much of the memory of this machine, in bytes; infinite where the system does not say."""
    there = _physical_memory()
    return math.inf if there is None else share * there


@contextmanager
def within_memory(where: str = "", fill: bool = True) -> Iterator[None]:
    """While a component is built or set up: what exceeds the memory of this machine is refused before it is made.

    Each tensor that torch makes is looked at, and the sum of all weights and buffers of modules.

    Args:
        where: the path of the component in the spec.
        fill: whether large tensors get values; without, the system only promises their memory, and what takes more
            than a few seconds ends in a `TimeoutError`.

    Raises:
        SpecError: with the memory that would be needed.
    """
    total, count = 0.0, 0

    def registered(module: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal total, count
        if tensor is None:
            return
        total, count = total + _size_of(tensor), count + 1
        require_memory(total, "its weights", where)
        if count > MOST_TENSORS:
            what, expected = f"more than {MOST_TENSORS:,} tensors of weights", "a network with fewer layers"
            raise TooLarge(what, where=where or None, expected=expected)

    hooks = [
        register_module_parameter_registration_hook(registered),
        register_module_buffer_registration_hook(registered),
    ]
    try:
        with _Watched(where, fill):
            yield
    finally:
        for hook in hooks:
            hook.remove()


_NEW = {torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_full}
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint, *_NEW}
_FILLS = {torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_} | {
    function for name, function in vars(torch.nn.init).items() if name.endswith("_") and name[0] != "_"
}
_LARGE = 2**24  # bytes
_HUGE = 2**28
_SECONDS = 3.0

# What touches no value of a tensor.
_FREE = {
    *("__get__", "__set__", "requires_grad_", "detach", "size", "dim", "numel", "is_floating_point", "is_complex"),
    *("is_contiguous", "stride", "element_size", "nelement", "view", "reshape", "unsqueeze", "squeeze", "transpose"),
}


class _Watched(TorchFunctionMode):
    """Asks for the size of each new tensor before it is made: the system may promise memory that is not there."""

    def __init__(self, where: str, fill: bool) -> None:
        super().__init__()
        self._where, self._fill = where, fill
        self._end = math.inf if fill else time.monotonic() + _SECONDS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if time.monotonic() > self._end:
            raise TimeoutError(f"a set-up without values takes longer than {_SECONDS:g} s")
        if func in _FACTORIES and "out" not in kwargs:
            shape, dtype = _asked_for(func, args, kwargs)
            size = float(math.prod(shape) * dtype.itemsize)
            require_memory(size, "a single tensor", self._where)
            if not self._fill and size > _LARGE:
                return torch.empty(shape, dtype=dtype)
        elif not self._fill:
            target = kwargs.get("tensor", args[0] if args else None)
            if func in _FILLS and isinstance(target, torch.Tensor) and target.nbytes > _LARGE:
                return target
            if func.__name__ not in _FREE and any(_is_huge(value) for value in (*args, *kwargs.values())):
                raise TimeoutError(f"{func.__name__} would compute with a tensor that has no values")
        return func(*args, **kwargs)


def _asked_for(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[list[int], torch.dtype]:
    """The shape and the type of numbers that a factory is asked for; no side where it is called in another way."""
    default = args[0].dtype if func in _NEW else torch.int64 if func is torch.randint else torch.get_default_dtype()
    sides = kwargs.get("size", next((given for given in args if isinstance(given, tuple | list)), args))
    shape = [side for side in sides if isinstance(side, int)]
    return shape or [0], kwargs.get("dtype") or default


def _is_huge(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not is_lazy(value) and value.nbytes > _HUGE


def _size_of(tensor: torch.Tensor) -> float:
    return 0.0 if is_lazy(tensor) else float(tensor.nbytes)


def _physical_memory() -> int | None:
    """In bytes; None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gib(size: float) -> str:
    return f"more than {2**33:,} GiB" if size >= 2**63 else f"{size / 2**30:,.1f} GiB"
