"""Memory that is not enough, said in the terms of whoever can do something about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from invreg.errors import OutOfMemory


@contextmanager
def memory_guard(where: str, shape: tuple[int, ...], hint: str) -> Iterator[None]:
    """Turns what torch raises for a lack of memory, on a GPU or on the CPU, into a message.

    Args:
        where: what is computed.
        shape: of the batch that is too large, `(B, C, H, W)`.
        hint: what to try.

    Raises:
        OutOfMemory: in place of an exception for a lack of memory; all others pass.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lack_of_memory(error):
            raise
        sides = "x".join(map(str, shape[-2:]))
        raise OutOfMemory(
            f"out of memory for a batch of {shape[0]} images of {sides} pixels", where=where, hint=hint
        ) from error


def _is_lack_of_memory(error: RuntimeError) -> bool:
    # The allocator of the CPU has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)
