"""Components: plain classes whose constructor signature is their schema."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self

from invreg.errors import InvregError
from invreg.schema.parameters import NestedBuilder, model_or_none, validated_arguments
from invreg.schema.signature import HasParameters, built_with
from invreg.summaries import MOST_LINES, Summary, brief, call


class Component(HasParameters):
    """Base of everything that a spec can name.

    The constructor's signature is the schema: when a component is constructed, its arguments are validated by the model
    that [`parameters_model`][invreg.schema.parameters.parameters_model] reads off the signature, once, in Python as in
    a spec. The constructor gets the validated values (an integer where a float is meant becomes a float, a list where
    a tuple is meant becomes a tuple), and the component remembers them. So `GaussianBlur(std=2)` in Python and
    `{name: gaussian_blur, std: 2}` in a spec are the same thing in both directions: see
    [`invreg.spec_of`][invreg.plugins.registry.spec_of].

    Subclasses write an ordinary, fully annotated `__init__`. A check of several parameters together raises a
    `SpecError` whose `where` is the name of a parameter. What is only known at run time (image shapes, devices, data)
    comes in through methods, never through the constructor. A signature that cannot be a schema, because a parameter
    has no annotation or takes an object that no spec can express, is called as it is.

    Raises:
        SpecError: if an argument is wrong; `where` is the class and the parameter.

    Attributes:
        registered_class: the class of which specs know the name, for one that an instance becomes when it is
            constructed (a composition of linear operators is a linear one); None for the class itself.
    """

    registered_class: ClassVar[type[Component] | None] = None

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Self:
        _check_when_constructed(cls)
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__init__()

    def __repr__(self) -> str:
        children = getattr(self, "children", None)
        if children is not None:  # a module of torch: its form says nothing of parameters, but of layers
            text = super().__repr__()
            if (_says_more(type(self)) or any(children())) and text.count("\n") < MOST_LINES:
                return text
        return call(type(self).__name__, built_with(self))

    def _repr_html_(self) -> str:
        model, said = model_or_none(type(self)), (type(self).__doc__ or "").strip().split("\n")[0]
        meanings = {} if model is None else {name: field.description for name, field in model.model_fields.items()}
        rows = [(name, brief(value), meanings.get(name) or "") for name, value in built_with(self).items()]
        return Summary(type(self).__name__, ("parameter", "value", "meaning") if rows else (), rows, [said]).html()


def _says_more(cls: type) -> bool:
    """Whether a class of modules describes itself."""
    owner = next((base for base in cls.__mro__ if "extra_repr" in vars(base)), None)
    return owner is not None and not owner.__module__.startswith("torch.")


@contextmanager
def constructing(nested: NestedBuilder, where: str) -> Iterator[None]:
    """Inside, the next component that is constructed is the one that a spec names.

    Args:
        nested: makes the components that its parameters name.
        where: the path of the component in the spec, for messages.
    """
    token = _next.set((nested, where))
    try:
        yield
    finally:
        _next.reset(token)


_next: ContextVar[tuple[NestedBuilder | None, str] | None] = ContextVar("_next", default=None)
_checked: set[type] = set()


def _check_when_constructed(cls: type[Component]) -> None:
    """Puts the validation in front of the constructor of a class, and of those that it inherits or calls."""
    if cls in _checked:
        return
    for base in cls.__mro__:
        if issubclass(base, HasParameters) and base not in _checked and "__init__" in vars(base):
            base.__init__ = _validating(base.__init__)  # type: ignore[method-assign]
            _checked.add(base)
    _checked.add(cls)


def _validating(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def __init__(self: Component, /, *args: Any, **kwargs: Any) -> None:
        if "_built_with" in self.__dict__:  # called by the constructor of a subclass, which has been validated
            init(self, *args, **kwargs)
            return
        model = model_or_none(type(self))
        if model is None:
            self.__dict__["_built_with"] = _bound(init, args, kwargs)
            init(self, *args, **kwargs)
            return
        nested, where = _next.get() or (None, type(self).__qualname__)
        token = _next.set(None)  # what the constructor itself makes is not in the spec
        try:
            arguments = validated_arguments(model, init, args, kwargs, nested)
            # Straight into __dict__: torch's Module.__setattr__ is not usable before its __init__ has run.
            self.__dict__["_built_with"] = arguments
            init(self, **arguments)
        except InvregError as error:
            raise (error.at(where) if where else error) from None
        finally:
            _next.reset(token)

    return __init__


def _bound(init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, as they are; none where they do not fit, which the constructor itself will say."""
    try:
        bound = inspect.signature(init).bind(None, *args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])
