"""Changes of single values of a spec by dotted paths: `--set path=value`, and the axes of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invreg.errors import SpecError
from invreg.specs.yaml import MOST_LEVELS, parse_yaml


def set_path(content: Any, path: str, value: Any, where: str) -> Any:
    """A copy of `content` with the value at a dotted path changed; shorthands on the way are written out.

    Raises:
        SpecError: if the path leads below a plain value or beyond the end of a list.
    """
    keys = path.split(".")
    if len(keys) > MOST_LEVELS:
        raise SpecError(f"a path of {len(keys):,} parts", where=where, expected=f"at most {MOST_LEVELS}")
    return _set(content, keys, value, where)


def position_in(items: list[Any], key: str) -> int | None:
    """The position in a list that a part of a path names; None if it names none."""
    return int(key) if key.isdecimal() and len(key) < 10 and int(key) < len(items) else None


def apply_override(content: Any, override: str) -> Any:
    """A copy of `content` with one `path=value` applied.

    Raises:
        SpecError: if it has another form, or its path no place.
    """
    path, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not all(path.split(".")):
        raise SpecError(f"cannot set {override!r}", where="overrides", expected="path=value, as in noise.std=0.02")
    where = f"overrides {path}"
    return set_path(content, path, parse_yaml(text, where), where)


def _set(node: Any, keys: list[str], value: Any, where: str) -> Any:
    if not keys:
        return value
    key, *rest = keys
    if node is None:
        node = {}
    if isinstance(node, str):
        from invreg.specs.spec import MethodSpec  # it knows components, and so torch

        # The shorthand for a method, or for a component without parameters.
        node = {"reconstructor": node} if key in MethodSpec.model_fields else {"name": node}
    if key == "reconstructor" and isinstance(node, Mapping) and "name" in node:
        node = {"reconstructor": node}  # a method written as its reconstructor alone
    if isinstance(node, list):
        position = position_in(node, key)
        if position is None:
            raise SpecError(
                f"{key!r} is not a position in a list of {len(node)}", where=where, expected=f"0 to {len(node) - 1}"
            )
        return [_set(item, rest, value, where) if index == position else item for index, item in enumerate(node)]
    if not isinstance(node, Mapping):
        raise SpecError(f"{key!r} lies below a plain value ({node!r})", where=where, expected="a path to a parameter")
    return {**node, key: _set(node.get(key), rest, value, where)}
