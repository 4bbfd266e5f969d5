"""Which types of parameters a spec can express: what YAML and JSON hold, and components."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from invreg.schema.kinds import kind_of
from invreg.schema.signature import HasParameters

_PLAIN = {bool, int, float, str, NoneType, None, Path, Any, object}
_SEQUENCES = {list, tuple, Sequence}
_MAPPINGS = {dict, Mapping}
_ORDERED = (Ge, Gt, Le, Lt, MultipleOf)


def type_fault(annotation: Any) -> tuple[str, str] | None:
    """What is wrong with the type of a parameter, and what to write in its place; None if a spec can express it."""
    annotation = without_alias(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_fault(arguments[0]) or _range_fault(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return next(filter(None, map(type_fault, arguments)), None)
    if origin is Literal:
        odd = [value for value in arguments if isinstance(value, enum.Enum | bytes)]
        return (_no_form(repr(odd[0])), "numbers and texts in a Literal") if odd else None
    container = origin or annotation
    if container in _SEQUENCES:
        return next(filter(None, map(type_fault, (a for a in arguments if a is not ...))), None)
    if container in _MAPPINGS:
        return _mapping_fault(arguments)
    if _holds(_PLAIN, annotation):
        return None
    if isinstance(container, type):
        return _class_fault(container)
    return _no_form(_shown(annotation)), _WRITE


def without_alias(annotation: Any) -> Any:
    """What a `type` statement or a `NewType` stands for."""
    while isinstance(annotation, typing.NewType) or type(annotation).__name__ == "TypeAliasType":
        annotation = getattr(annotation, "__supertype__", None) or annotation.__value__
    return annotation


_WRITE = "numbers, texts, truth values, paths, lists or mappings of them, a Literal, or a component"


def _no_form(what: str) -> str:
    return f"takes {what}, which no spec can say"


def _class_fault(cls: type) -> tuple[str, str] | None:
    if issubclass(cls, HasParameters):
        return None if kind_of(cls) else (_no_form(cls.__qualname__), "the base class of one kind of components")
    if issubclass(cls, BaseModel):
        return None
    if issubclass(cls, enum.Enum):
        choices = ", ".join(repr(member.name) for member in cls)
        return _no_form(f"the enumeration {cls.__qualname__}"), f"Literal[{choices}]"
    if issubclass(cls, set | frozenset):
        return _no_form(cls.__qualname__), "a list or a tuple"
    if is_dataclass(cls) or issubclass(cls, tuple):
        return _no_form(cls.__qualname__), "its fields as parameters of their own, or a pydantic model"
    return _no_form(_shown(cls)), _WRITE


def _mapping_fault(arguments: tuple[Any, ...]) -> tuple[str, str] | None:
    if not arguments:
        return None
    key = without_alias(arguments[0])
    while get_origin(key) is Annotated:
        key = without_alias(get_args(key)[0])
    if key not in (str, Any) and get_origin(key) is not Literal:
        return _no_form(f"a mapping with keys of type {_shown(key)}"), "texts as keys, which JSON can hold"
    return type_fault(arguments[1])


def _range_fault(annotation: Any, metadata: tuple[Any, ...]) -> tuple[str, str] | None:
    """A range on a type that has no order would fail only when a value is given."""
    found = [entry for item in metadata for entry in (item.metadata if isinstance(item, FieldInfo) else [item])]
    base = without_alias(annotation)
    kinds = get_args(base) if get_origin(base) in (Union, UnionType) else (base,)
    if any(isinstance(entry, _ORDERED) for entry in found):
        for kind in kinds:
            if kind in (str, bool, Path) or (get_origin(kind) or kind) in _SEQUENCES | _MAPPINGS:
                return f"has a range, and its type is {_shown(kind)}", "a range on numbers only"
    return None


def _holds(known: set[Any], annotation: Any) -> bool:
    try:
        return annotation in known
    except TypeError:  # not hashable
        return False


def _shown(annotation: Any) -> str:
    if annotation is Callable or get_origin(annotation) is Callable:
        return "a function"
    if isinstance(annotation, type) and get_origin(annotation) is None:
        own = annotation.__module__ in ("builtins", "__main__")
        return annotation.__qualname__ if own else f"{annotation.__module__}.{annotation.__qualname__}"
    return str(annotation).removeprefix("typing.")
