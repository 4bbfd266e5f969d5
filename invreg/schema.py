"""From a constructor's signature to a pydantic model of its parameters."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, Strict, create_model

from invreg.component import Component, constructor
from invreg.errors import PluginError
from invreg.kinds import kind_of
from invreg.spec import ComponentSpec

_STRICT = (bool, int, float, str)


@dataclass(frozen=True)
class Nested:
    """Marks a parameter that takes a nested component: its kind, and the class it must derive from."""

    kind: str
    base: type[Component]


class Parameters(BaseModel):
    """Base of the generated models: unknown parameters and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
        validate_default=True,
    )


_models: dict[type[Component], type[Parameters]] = {}


def parameters_model(cls: type[Component]) -> type[Parameters]:
    """The model of the parameters of a component class, read off its constructor.

    Types are strict (`"2"` is no number, `true` is no integer; an integer is a valid float). A parameter
    annotated with a component base class takes a nested component spec.

    Raises:
        PluginError: if the signature cannot be a schema; the message names the parameter to change.
    """
    if cls in _models:
        return _models[cls]
    fields: dict[str, Any] = {}
    init = constructor(cls)
    if init is not None:
        hints = _hints(cls, init)
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            fields[parameter.name] = _field(cls, parameter, hints)
    try:
        _models[cls] = create_model(cls.__name__, __base__=Parameters, __module__=cls.__module__, **fields)
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise PluginError(
            str(error).splitlines()[0], where=_place(cls), expected="annotations that pydantic can validate"
        ) from error
    return _models[cls]


def nested(annotation: Any) -> Nested | None:
    """The mark of a nested component inside a generated field annotation, also within `X | None` or a list."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return next((entry for entry in metadata if isinstance(entry, Nested)), None) or nested(base)
    return next((mark for mark in map(nested, get_args(annotation)) if mark), None)


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}.__init__"


def _hints(cls: type[Component], init: Callable[..., None]) -> dict[str, Any]:
    try:
        return get_type_hints(init, include_extras=True)
    except Exception as error:
        raise PluginError(
            f"annotations cannot be resolved: {error}",
            where=_place(cls),
            expected="annotations whose names exist when the module is imported",
            hint="import them outside `if TYPE_CHECKING:`",
        ) from error


def _field(cls: type[Component], parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    name, where = parameter.name, _place(cls)
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise PluginError(
            f"takes {parameter}", where=where, expected="named parameters only: the signature is the schema"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise PluginError(
            f"parameter {name!r} is positional only", where=where, expected="parameters that can be named"
        )
    if name == "name" or name.startswith("_"):
        raise PluginError(f"parameter {name!r}", where=where, expected="another name: this one is reserved in specs")
    if name not in hints:
        raise PluginError(f"parameter {name!r} has no annotation", where=where, hint=f"{name}: float, for example")
    default = ... if parameter.default is parameter.empty else parameter.default
    return _translate(hints[name]), default


def _translate(annotation: Any) -> Any:
    """Makes plain types strict and component classes nested specs, inside any combination of generics."""
    if annotation in _STRICT:
        return Annotated[annotation, Strict()]
    if isinstance(annotation, type) and issubclass(annotation, Component):
        kind = kind_of(annotation)
        return Annotated[ComponentSpec, Nested(kind, annotation)] if kind else annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_translate(arguments[0]), *arguments[1:])]
    if origin is None or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_translate, arguments))]  # noqa: UP007 (built from a tuple)
    return origin[tuple(argument if argument is ... else _translate(argument) for argument in arguments)]
