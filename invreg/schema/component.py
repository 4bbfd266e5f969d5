"""Components: plain classes whose constructor signature is their schema."""

from __future__ import annotations

import inspect
from typing import Any, Self

from invreg.schema.signature import HasParameters, constructor


class Component(HasParameters):
    """Base of everything that a spec can name: it remembers the arguments it was built with.

    The memory makes `GaussianBlur(std=2.0)` in Python and `{name: gaussian_blur, std: 2.0}` in a spec the same
    thing in both directions: see [`invreg.spec_of`][invreg.plugins.registry.spec_of].

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
