"""Transforms of torch: what must not be seen by them, and what they cannot go through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from invreg import InvregError

_T = TypeVar("_T")


def underlying(x: Tensor) -> Tensor:
    """The tensor that torch.func has wrapped; x itself outside its transforms."""
    unwrap = getattr(torch.func, "debug_unwrap", None)  # torch 2.6 and later
    return x if unwrap is None or torch.compiler.is_compiling() else unwrap(x, recurse=True)


def outside_transforms(function: Callable[[], _T], tensor: Tensor) -> _T:
    """`function()`, unseen by torch.func and torch.compile, which belong to the thread that they are used in.

    Args:
        function: computes what does not depend on what is transformed.
        tensor: one that it uses, outside of any transform.
    """
    if "torch._dynamo" not in sys.modules and underlying(detached := tensor.detach()) is detached:
        return function()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def seems_finite(x: Tensor) -> bool:
    """Whether all values are finite, or cannot be looked at because a transform traces the computation."""
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(torch.isfinite(underlying(x).detach()).all())
    except RuntimeError:  # what traces has no values
        return True


def refuse_transforms(where: str, *tensors: Tensor) -> None:
    """Refuses what a fixed point is not differentiated by: torch.func, and forward-mode differentiation.

    Raises:
        InvregError: naming what works.
    """
    if torch.compiler.is_compiling():
        return
    if any(underlying(x) is not x or forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        raise InvregError(
            "torch.func and forward-mode differentiation do not go through fixed points",
            where=where,
            expected="tensors outside of torch.func",
            hint="torch.autograd: grad, functional.jacobian or functional.jvp; batches instead of vmap",
        )
