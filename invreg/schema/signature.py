"""Constructors whose signature is a schema, and the memory of what they were called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class HasParameters:
    """Base of classes whose instances remember the arguments that they were built with."""


def constructor(cls: type[HasParameters]) -> Callable[..., None] | None:
    """The `__init__` that a component class defines or inherits from another component; None without parameters.

    That of `torch.nn.Module` does not count: its `*args, **kwargs` say nothing about the component.
    """
    return next(
        (base.__init__ for base in cls.__mro__ if issubclass(base, HasParameters) and "__init__" in vars(base)), None
    )


def built_with(component: HasParameters) -> dict[str, Any]:
    """The arguments that `component` was built with, defaults included."""
    return dict(component.__dict__.get("_built_with", {}))
