"""What the constructor of another package takes, as far as its signature says so."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from invreg import SpecError, did_you_mean


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor.

    Attributes:
        name: its name.
        wants: the words of its annotation, such as {"int", "Tensor"}; empty where it has none.
        text: the annotation as it is written.
        default: its default; `Parameter.REQUIRED` if it has none.
        owner: the name of the class whose constructor takes it.
    """

    name: str
    wants: frozenset[str]
    text: str
    default: Any
    owner: str = ""

    REQUIRED = inspect.Parameter.empty

    @property
    def is_required(self) -> bool:
        return self.default is self.REQUIRED

    @property
    def kinds(self) -> set[str]:
        """The kinds of plain values that the annotation, and the default, allow; empty where they do not tell."""
        kinds = {kind for words, kind in _KINDS for word in words if word in self.wants}
        if not kinds or self.wants & _ANYTHING:
            return set()
        return kinds | ({_kind(self.default)} - {""} if not self.is_required else set())

    def __str__(self) -> str:
        shown = self.name + (f": {self.text}" if self.text else "")
        return shown if self.is_required else f"{shown} = {_shown(self.default)}"

    def check(self, value: Any, where: str, owner: str) -> None:
        """Refuses a plain value whose type the annotation excludes.

        Raises:
            SpecError: with what the signature says.
        """
        if isinstance(value, float) and math.isnan(value):
            raise SpecError("not a number", where=where, expected="a number")
        if isinstance(value, str) and not self.text and _kind(self.default) in ("number", "whole number"):
            raise SpecError(
                f"{value!r:.80} is a text", where=where, expected=f"a number, such as its default {self.default}"
            )
        kinds = self.kinds
        if not kinds:
            return
        if value is None:
            fits = self.default is None or "None" in self.wants
        else:
            fits = _kind(value) in kinds | ({"whole number"} if "number" in kinds else set())
        if not fits:
            what = {"text": "a text", "": "nothing"}.get(_kind(value), f"a {_kind(value)}")
            raise SpecError(
                f"{value!r:.80} is {what}" if value is not None else "no value",
                where=where,
                expected=f"{self.text}, as the signature of {owner} has it",
            )


#: Words of annotations, and the plain values that stand for them.
_KINDS = (
    ({"bool"}, "truth value"),
    ({"int"}, "whole number"),
    ({"float", "complex", "Number"}, "number"),
    ({"str", "Literal", "dtype", "DTypeLike"}, "text"),
    ({"tuple", "list", "Sequence", "Iterable", "Tensor", "NDArray", "ndarray", "InputDimsLike", "ArrayLike"}, "list"),
    ({"InputDimsLike"}, "whole number"),
    ({"dict", "Mapping"}, "mapping"),
    ({"Generator"}, "whole number"),
)
#: Words whose objects have no plain form of one kind: what a value is good for is for the constructor to say.
_ANYTHING = {"Any", "Callable", "object"}


def _kind(value: Any) -> str:
    for kind, types in (("truth value", bool), ("whole number", int), ("number", float), ("text", str)):
        if isinstance(value, types):
            return kind
    return "list" if isinstance(value, list | tuple) else "mapping" if isinstance(value, Mapping) else ""


def _shown(value: Any) -> str:
    return value.__name__ if callable(value) and hasattr(value, "__name__") else f"{value!r:.40}"


def parameters_of(cls: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters that a class, or a function, takes by name: also those that `**kwargs` hands to its bases."""
    found: dict[str, Parameter] = {}
    bases = [base for base in cls.__mro__ if "__init__" in vars(base)] if isinstance(cls, type) else []
    functions: list[Callable[..., Any]] = [vars(base)["__init__"] for base in bases] or [cls]
    for depth, function in enumerate(functions):
        if function is object.__init__ or function.__module__.partition(".")[0] == "torch":
            break
        own = list(inspect.signature(function).parameters.values())[isinstance(cls, type) :]
        for one in own:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                # What a base needs, a class that takes `**kwargs` gives it, or has as one of its own.
                optional = one.replace(default=None) if depth and one.default is one.empty else one
                found.setdefault(one.name, _parameter(optional, function.__qualname__.partition(".")[0]))
        if not any(one.kind is one.VAR_KEYWORD for one in own):
            break
    return found


def takes_positional(cls: Callable[..., Any]) -> str | None:
    """The name of `*args`, where a class takes any number of arguments."""
    return next(
        (one.name for one in inspect.signature(cls).parameters.values() if one.kind is one.VAR_POSITIONAL), None
    )


def _parameter(one: inspect.Parameter, owner: str) -> Parameter:
    annotation = one.annotation
    text = "" if annotation is one.empty else annotation if isinstance(annotation, str) else _written(annotation)
    text = re.sub(r"ndarray\[.*?dtype\[\w+\]\]", "NDArray", text)
    words = re.findall(r"\w+", re.sub(r"Literal\[.*?\]", "Literal", text))
    return Parameter(one.name, frozenset(words), text, one.default, owner)


def _written(annotation: Any) -> str:
    text = (
        annotation.__qualname__ if isinstance(annotation, type) and not _has_arguments(annotation) else str(annotation)
    )
    return re.sub(r"\b(?:typing|torch|collections\.abc|numpy|np)\.", "", text)


def _has_arguments(annotation: Any) -> bool:
    return bool(getattr(annotation, "__args__", ()))


def check_names(given: Iterable[str], known: Mapping[str, Parameter], where: str, owner: str) -> None:
    """Refuses parameters that a constructor does not have.

    Raises:
        SpecError: with the near name, and all that there are.
    """
    for name in given:
        if name not in known:
            raise SpecError(
                f"{owner} has no parameter {name!r}",
                where=f"{where}.{name}" if where else name,
                expected=f"one of {', '.join(sorted(known))}" if known else "none: it takes no parameters",
                hint=did_you_mean(name, known) if known else None,
            )


def check_complete(given: Iterable[str], known: Mapping[str, Parameter], where: str, owner: str) -> None:
    """Refuses a call without the parameters that have no default.

    Raises:
        SpecError: with what is missing and what the signature says of it.
    """
    missing = [parameter for name, parameter in known.items() if parameter.is_required and name not in set(given)]
    if missing:
        names = ", ".join(parameter.name for parameter in missing)
        raise SpecError(f"{owner} needs {names}", where=where or None, expected="; ".join(map(str, missing)))
