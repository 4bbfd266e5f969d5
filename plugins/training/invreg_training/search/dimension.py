"""One searched parameter: are its values allowed where it stands?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import ValidationError

from invreg import InvregError, Registry, SpecError
from invreg_training.search.paths import Key, Place, arms, put, written_out
from invreg_training.search.ranges import Choices, Range

#: Columns of the log beside the parameters.
_TAKEN = ("trial", "seconds", "state", "cause")


@dataclass(frozen=True)
class Dimension:
    """A parameter that is searched.

    Attributes:
        path: its name in the spec and in the log.
        part: the component that it belongs to, `reconstructor` or `trainer`.
        keys: the way to it, from the parameters of the reconstructor or of the search (whose `trainer` is one).
        values: the values to try.
        integer: whether a range means whole numbers.
        own: the value that the spec itself gives it.
    """

    path: str
    part: str
    keys: tuple[Key, ...]
    values: Range | Choices
    integer: bool
    own: Any


def make_dimension(path: str, part: str, place: Place, values: Range | Choices, registry: Registry) -> Dimension:
    """The dimension of these values at this place.

    Raises:
        SpecError: if a value is not allowed there, or a range stands where no number does.
    """
    where = f"parameters.{path}"
    column = f"reconstructor.{path}" if path in _TAKEN or path.startswith("val_") else path
    if isinstance(values, Choices):
        full = [_allowed(place, value, registry, f"{where}.choices.{i}") for i, value in enumerate(values.choices)]
        # As it is among the choices: one setting has one name in tables and figures.
        own = next((c for c, f in zip(values.choices, full, strict=True) if f == place.own), place.own)
        return Dimension(column, part, place.whole, values, False, own)
    whole = isinstance(values.low, int) and isinstance(values.high, int)
    number = _number(place)
    if number is None:
        raise SpecError(
            f"a range from {values.low} to {values.high}, but this parameter is no number",
            where=where,
            expected="choices",
            hint=f"{{choices: [{'null' if place.own is None else _short(place.own)}, ...]}}",
        )
    if number is int and not whole and Any not in arms(place.annotation):
        raise SpecError(
            f"{values.low} to {values.high}", where=where, expected="whole numbers, as the parameter is one"
        )
    for end in ("low", "high"):
        _allowed(place, getattr(values, end), registry, f"{where}.{end}")
    return Dimension(column, part, place.whole, values, number is int and whole, place.own)


def _allowed(place: Place, value: Any, registry: Registry, where: str) -> Any:
    """The value as the component takes it, written out.

    Raises:
        SpecError: if the component's schema refuses it, or it is a component that cannot be built.
    """
    name = str(place.keys[0])
    try:
        validated = place.model.model_validate(put(place.content, place.keys, value))
    except ValidationError as error:
        cause = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        expected = cause.removeprefix("Input should be ")
        raise SpecError(f"{value!r} is not allowed", where=where, expected=expected) from None
    annotation = place.model.model_fields[name].rebuild_annotation()
    try:
        content = written_out(getattr(validated, name), annotation, registry, "")
    except InvregError as error:
        raise error.at(where) from None
    return reduce(lambda inside, key: inside[key], place.keys[1:], content)


def _number(place: Place) -> type[int] | type[float] | None:
    """Whether the value is a whole number, any number, or none."""
    taken = list(arms(place.annotation))
    if Any in taken:
        is_number = isinstance(place.own, int | float) and not isinstance(place.own, bool)
        return type(place.own) if is_number else None
    return float if float in taken else int if int in taken else None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def check_apart(first: Dimension, second: Dimension) -> None:
    """Refuses two dimensions of which one changes the other.

    Raises:
        SpecError: naming both.
    """
    if first.part != second.part:
        return
    inner, outer = sorted((first, second), key=lambda dimension: -len(dimension.keys))
    if inner.keys == outer.keys:
        raise SpecError(
            f"{first.path!r} and {second.path!r}: the parameter is named twice", where=f"parameters.{second.path}"
        )
    if inner.keys[: len(outer.keys)] == outer.keys:
        raise SpecError(
            f"lies inside {outer.path!r}, which is searched as a whole",
            where=f"parameters.{inner.path}",
            expected="one of the two",
        )
