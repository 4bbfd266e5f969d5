"""Components that take a class of another package by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class NamedClass:
    """A class of another package, as a component takes it by name.

    Attributes:
        name: as a spec says it.
        place: module and name.
        documentation: what the package says of it; may be empty.
        schema: JSON Schema of its parameters as a spec says them: `properties` and `required`. `annotation` in the
            schema of a parameter is its type as the package has it.
    """

    name: str
    place: str
    documentation: str
    schema: Mapping[str, Any]


@runtime_checkable
class TakesNamedClasses(Protocol):
    """A component with a parameter that is the name of a class of another package, and one of its parameters.

    `invreg describe` then describes each of these classes, and `invreg schema` has a schema for each, where the
    package is installed.
    """

    #: The parameter that is the name.
    name_parameter: str

    @classmethod
    def class_names(cls) -> Sequence[str]:
        """The names of all classes.

        Raises:
            InvregError: if the package cannot be imported.
        """
        ...

    @classmethod
    def class_named(cls, name: str) -> NamedClass:
        """One of them.

        Raises:
            SpecError: if there is none of this name.
            InvregError: if the package cannot be imported.
        """
        ...
