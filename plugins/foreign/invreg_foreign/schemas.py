"""JSON Schemas of parameters of another package, from what signatures and docstrings say."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

from invreg_foreign.signatures import Parameter

#: Types of JSON for the kinds of plain values.
_TYPES = {
    "truth value": "boolean",
    "whole number": "integer",
    "number": "number",
    "text": "string",
    "list": "array",
    "mapping": "object",
}
_VERSION = re.compile(r"\.\. (?:versionadded|versionchanged|deprecated):: \S+")
_CHOICES = re.compile(r"Literal\[([^\]]*)\]")

#: `:param float sigma: what it is`, and the lines of numpydoc, `sigma : float, optional` with what it is below.
_FIELD = re.compile(
    r"^\s*:param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*((?:.*\n?)(?:^(?!\s*(?::|\.\.|$)).*\n?)*)", re.MULTILINE
)
_ENTRY = re.compile(r"^(\w+) : .*\n((?:^[ ]{4}.*\n?|^\n(?=[ ]{4}))+)", re.MULTILINE)


def schema_of(parameter: Parameter, follows: str | None, said: str | None) -> dict[str, Any]:
    """The schema of one parameter as a spec says it.

    A mapping may stand for any value, as it may describe an object: `{path: mask.npy}`. What a signature does not say
    is left open.

    Args:
        parameter: what the signature says.
        follows: from what it follows where it is left out; None: its default.
        said: what the docstring says of it.
    """
    found: dict[str, Any] = {}
    kinds = parameter.kinds
    if kinds:
        types = sorted({_TYPES[kind] for kind in kinds} | {"object"})
        is_optional = parameter.default is None or "None" in parameter.wants or follows is not None
        found["type"] = [*types, "null"] if is_optional else types
    if choices := _CHOICES.findall(parameter.text):
        texts = re.findall(r"['\"]([^'\"]*)['\"]", ",".join(choices))
        if texts and kinds == {"text"}:
            found["enum"] = [*texts, *([None] if parameter.default is None else [])]
            del found["type"]
    if follows is None and not parameter.is_required and _is_plain(parameter.default):
        found["default"] = parameter.default
    if parameter.text:
        found["annotation"] = parameter.text
    if words := " ".join(filter(None, [said, follows and f"({follows})"])):
        found["description"] = words
    return found


def descriptions_of(cls: Callable[..., Any]) -> dict[str, str]:
    """What docstrings of a class, its constructor and its bases say of parameters, in one line each."""
    found: dict[str, str] = {}
    for base in cls.__mro__ if isinstance(cls, type) else (cls,):
        for text in (base.__doc__, vars(base).get("__init__", base).__doc__ if isinstance(base, type) else None):
            clean = inspect.cleandoc(text or "")
            for name, words in (*_FIELD.findall(clean), *_ENTRY.findall(clean)):
                found.setdefault(name, " ".join(_VERSION.sub("", words).split()))
    return found


def _is_plain(value: Any) -> bool:
    """Whether JSON has it."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int | str | None) or (isinstance(value, list | tuple) and all(map(_is_plain, value)))
