"""The kinds of components, and which class is the base of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

#: Words that YAML does not read as texts, so a spec could not name a component by them.
NO_TEXTS = {"null", "true", "false", "yes", "no", "on", "off"}

KINDS = ("operator", "noise", "dataset", "reconstructor", "metric", "trainer", "analyzer", "study_analyzer", "executor")

_bases: dict[str, type] = {}
_Base = TypeVar("_Base", bound=type)


def base_of(kind: str) -> Callable[[_Base], _Base]:
    """Class decorator: makes a class the base of all components of a kind."""

    def register(cls: _Base) -> _Base:
        _bases[kind] = cls
        return cls

    return register


def is_base(cls: type) -> bool:
    """Whether the class is the base of a whole kind."""
    return cls in _bases.values()


def kind_of(cls: type) -> str | None:
    """The kind of a component class; None if it derives from no base class."""
    return next((kind for kind, base in _bases.items() if issubclass(cls, base)), None)
