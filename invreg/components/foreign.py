"""What a component of someone else does wrong, said with its name: exceptions, results of another type or shape."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invreg.errors import InvregError, message_of
from invreg.schema.sources import place_of_error

# Frames of the core and of torch say less than the line of the component that called them.
_CORE = Path(__file__).parents[1]
_PASSED_OVER = (_CORE, Path(torch.__file__).parent)


@contextmanager
def blamed(
    component: object, where: str, error_class: type[InvregError] = InvregError, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """While code of a component runs: an exception of any kind, `SystemExit` included, becomes a message.

    Args:
        component: the component, or its class.
        where: its path in the spec.
        error_class: of what is raised.
        but: exceptions that the caller says in its own words.

    Raises:
        InvregError: with the component, the exception, and the line in its source; one that the component raises itself
            passes.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (InvregError, *but)):
            raise
        cls = component if isinstance(component, type) else type(component)
        place = place_of_error(error, lambda file: any(parent in Path(file).parents for parent in _PASSED_OVER))
        raise error_class(
            f"{cls.__qualname__} raised {message_of(error)}" + (f" ({place})" if place else ""),
            where=where or None,
            hint="INVREG_TRACEBACK=1 in the environment shows the traceback",
        ) from error


def require_values(value: Any, shape: Sequence[int] | None, component: object, where: str) -> Tensor:
    """What a component has returned, if it is a tensor of floating-point numbers with this shape; None for any.

    Raises:
        InvregError: with what was returned instead.
    """
    given = f"{type(component).__name__} returned "
    expected = "a tensor of floating-point numbers" + (f" with the shape {list(shape)}" if shape is not None else "")
    if not isinstance(value, Tensor):
        raise InvregError(given + _kind_of(value), where=where or None, expected=expected)
    if not value.is_floating_point():
        hint = "two channels for real and imaginary parts" if value.is_complex() else None
        raise InvregError(f"{given}{value.dtype}", where=where or None, expected=expected, hint=hint)
    if shape is not None and tuple(value.shape) != tuple(shape):
        raise InvregError(f"{given}the shape {list(value.shape)}", where=where or None, expected=expected)
    return value


def call_unchanged(component: Callable[[Tensor], Any], x: Tensor, where: str) -> Any:
    """What a component returns for x; it gets a copy, so that x is kept.

    Raises:
        InvregError: if it raises anything, or has changed the copy.
    """
    given = x.clone()
    with blamed(component, where):
        value = component(given)
    if not torch.equal(given, x):
        raise InvregError(
            f"{type(component).__name__} changes its input in place",
            where=where or None,
            expected="new tensors, as in x * 0.5 instead of x.mul_(0.5)",
        )
    return value


def _kind_of(value: Any) -> str:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return "a NumPy array"
    return "None" if value is None else f"an instance of {type(value).__name__}"
