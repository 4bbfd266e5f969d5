"""Components: plain classes whose constructor signature is their schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self


class Component:
    """Base of everything that a spec can name: it remembers the arguments it was built with.

    The memory makes `GaussianBlur(std=2.0)` in Python and `{name: gaussian_blur, std: 2.0}` in a spec the same
    thing in both directions: see [`invreg.spec_of`][invreg.registry.spec_of].

    Subclasses write an ordinary, fully annotated `__init__`. What is only known at run time (image shapes,
    devices, data) comes in through methods, never through the constructor.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        init = constructor(cls)
        if init is None:
            return self
        try:
            bound = inspect.signature(init).bind(self, *args, **kwargs)
        except TypeError:
            # Wrong arguments: __init__ will say so itself. Copying also arrives here, without arguments,
            # and restores __dict__ (and with it the memory) afterwards.
            return self
        bound.apply_defaults()
        # Straight into __dict__: torch's Module.__setattr__ is not usable before its __init__ has run.
        self.__dict__["_built_with"] = dict(list(bound.arguments.items())[1:])
        return self


def constructor(cls: type[Component]) -> Callable[..., None] | None:
    """The `__init__` that a component class defines or inherits from another component; None without parameters.

    That of `torch.nn.Module` does not count: its `*args, **kwargs` say nothing about the component.
    """
    return next(
        (base.__init__ for base in cls.__mro__ if issubclass(base, Component) and "__init__" in vars(base)), None
    )


def built_with(component: Component) -> dict[str, Any]:
    """The arguments that `component` was built with, defaults included."""
    return dict(component.__dict__.get("_built_with", {}))
