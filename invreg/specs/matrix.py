"""From one spec with a matrix to the specs of its cells."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invreg.errors import SpecError
from invreg.specs.overrides import position_in, set_path

#: Combinations of values that a study can have.
MOST_COMBINATIONS = 5_000


@dataclass(frozen=True)
class MatrixEntry:
    """One combination of the varied values.

    Attributes:
        values: varied path to its value in this cell.
        content: the spec of the cell, as a mapping.
    """

    values: dict[str, Any]
    content: dict[str, Any]


def expand(content: Mapping[str, Any], matrix: Mapping[str, Any]) -> list[MatrixEntry]:
    """All cells of a study: every combination of the listed values.

    As in GitHub Actions, an entry of `exclude` removes the combinations that have all its values; an entry of
    `include` adds its further values to the combinations whose values it does not contradict, or, if there are none,
    is a combination of its own.

    Args:
        content: the spec without its matrix.
        matrix: dotted paths to lists of values, and optionally `include` and `exclude`.

    Raises:
        SpecError: if a path does not exist in the spec, or the matrix is malformed or leaves nothing.
    """
    axes = {path: values for path, values in matrix.items() if path not in ("include", "exclude")}
    include = _entries(matrix.get("include"), "include")
    exclude = _entries(matrix.get("exclude"), "exclude")
    for path, values in axes.items():
        if not isinstance(values, list) or not values:
            raise SpecError(f"{values!r}", where=f"matrix.{path}", expected="a list of values")
    for entry in exclude:
        for path in entry:
            if path not in axes:
                raise SpecError("is not varied", where=f"matrix.exclude.{path}", expected=f"one of {', '.join(axes)}")
    count = math.prod(map(len, axes.values()))
    if count > MOST_COMBINATIONS:
        factors = " x ".join(str(len(values)) for values in axes.values())
        raise SpecError(
            f"{factors} = {count:,} combinations",
            where="matrix",
            expected=f"at most {MOST_COMBINATIONS:,}",
            hint="fewer values, several studies, or a list of combinations under include",
        )
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if not axes:
        combinations = []
    combinations = [c for c in combinations if not any(_matches(c, entry) for entry in exclude)]
    combinations = _included(combinations, include, list(axes))
    if not combinations:
        raise SpecError("leaves no combination", where="matrix", expected="at least one")
    return [MatrixEntry(values, _apply(content, values)) for values in combinations]


def value_label(value: Any, among: Sequence[Any]) -> Any:
    """A value as a table shows it: numbers and texts as they are, a component by its name where that is enough."""
    if not isinstance(value, str | list | Mapping):
        return value
    components = [other for other in among if isinstance(other, Mapping)]
    if isinstance(value, str) and any(other.get("name") == value for other in components):
        value = {"name": value}  # the shorthand, beside the same component with parameters
    if not isinstance(value, Mapping):
        return json.dumps(value) if isinstance(value, list) else value
    name = value.get("name")
    among = [{"name": other} if isinstance(other, str) else other for other in among]
    alike = [other for other in among if isinstance(other, Mapping) and other.get("name") == name and other != value]
    if name and not alike:
        return name
    differing = {k: v for k, v in value.items() if k != "name" and any(other.get(k) != v for other in alike)}
    shown = [f"{k}={_in_brief(v, [other.get(k) for other in alike])}" for k, v in differing.items()]
    return f"{name or ''}({', '.join(shown) or 'defaults'})"


def _in_brief(value: Any, others: Sequence[Any]) -> str:
    """A number with six digits, unless it takes more to tell it from others."""
    if not isinstance(value, float):
        return str(value)
    brief = f"{value:.6g}"
    alike = any(isinstance(other, float) and other != value and f"{other:.6g}" == brief for other in others)
    return str(value) if alike or len(brief) >= len(str(value)) else brief


def in_words(values: Mapping[str, Any]) -> str:
    """The varied values of a cell, as its title has them: "iresnet.reconstructor.lipschitz 0.99, noise.std 0.01"."""
    return ", ".join(f"{re.sub('^methods[.]', '', path)} {value}" for path, value in values.items())


def _entries(given: Any, name: str) -> list[dict[str, Any]]:
    entries = [] if given is None else given
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) and entry for entry in entries):
        raise SpecError(f"{given!r}", where=f"matrix.{name}", expected="a list of mappings from paths to values")
    return [dict(entry) for entry in entries]


def _matches(combination: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(combination.get(path) == value for path, value in entry.items())


def _included(
    combinations: list[dict[str, Any]], include: list[dict[str, Any]], axes: list[str]
) -> list[dict[str, Any]]:
    own: list[dict[str, Any]] = []
    for entry in include:
        shared = {path: value for path, value in entry.items() if path in axes}
        extended = [c for c in combinations if _matches(c, shared)]
        for combination in extended:
            combination.update(entry)
        if not extended:
            own.append(entry)
    return [*combinations, *own]


def _apply(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    result: Any = dict(content)
    for path, value in values.items():
        _require(content, path)
        result = set_path(result, path, value, f"matrix.{path}")
    return dict(result)


def _require(content: Mapping[str, Any], path: str) -> None:
    """The first part of a path must be there: a mistyped section would otherwise be varied without any effect."""
    *parents, _ = path.split(".")
    node: Any = content
    for depth, key in enumerate(parents):
        if isinstance(node, str):
            return
        if isinstance(node, list) and (position := position_in(node, key)) is not None:
            node = node[position]
        elif isinstance(node, Mapping) and key in node:
            node = node[key]
        else:
            known = ", ".join(map(str, node)) if isinstance(node, Mapping) else "positions of a list"
            raise SpecError(
                f"there is no {'.'.join(parents[: depth + 1])!r} in the spec",
                where=f"matrix.{path}",
                expected=f"one of {known}",
            )
