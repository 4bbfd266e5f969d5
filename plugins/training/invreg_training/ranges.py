"""Which parameters are searched, and over which values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from invreg.component import built_with
from invreg.errors import SpecError, did_you_mean
from invreg.schema import Parameters, parameters_model
from invreg.spec import spec_errors
from invreg.trainer import Method, Trainer

Number = Annotated[int, Strict()] | Annotated[float, Strict()]


class Range(BaseModel):
    """Numbers from `low` to `high`, both included: `{low: 1.0e-4, high: 0.1, log: true}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: Number
    high: Number
    log: Annotated[bool, Strict(), Field(description="whether all orders of magnitude are equally likely")] = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs positive numbers, low = {self.low}")
        return self


class Choices(BaseModel):
    """One of several values: `{choices: [forward, edge]}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: Annotated[list[Any], Field(min_length=1)]


def _form(value: Any) -> str:
    listed = "choices" in value if isinstance(value, Mapping) else isinstance(value, Choices)
    return "choices" if listed else "range"


#: The values that a search tries for one parameter.
SearchRange = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_form)]


def read_ranges(parameters: Mapping[str, Any]) -> dict[str, Range | Choices]:
    """Ranges and choices by parameter, from mappings or instances.

    Raises:
        SpecError: naming what is wrong.
    """
    try:
        return TypeAdapter[dict[str, Range | Choices]](dict[str, SearchRange]).validate_python(dict(parameters))
    except ValidationError as error:
        raise spec_errors(error, "parameters", Range) from None


@dataclass(frozen=True)
class Dimension:
    """A parameter that is searched.

    Attributes:
        path: its name in the spec and in the log.
        part: the component that it belongs to, `reconstructor` or `trainer`.
        name: its name there.
        values: the values to try.
        integer: whether a range means whole numbers.
        own: the value that the spec itself gives it.
    """

    path: str
    part: str
    name: str
    values: Range | Choices
    integer: bool
    own: Any


def search_space(
    given: Mapping[str, Range | Choices] | None, method: Method, trainer: Trainer | None
) -> list[Dimension]:
    """The dimensions of a search: those given, or those that the reconstructor's own schema declares.

    Args:
        given: ranges by parameter: `weight` or `reconstructor.weight`, or `trainer.lr`.
        method: whose reconstructor is searched.
        trainer: the trainer of each trial.

    Raises:
        SpecError: if a parameter does not exist, a range goes beyond what it allows, or there is nothing to search.
    """
    if given is None:
        extras = {name: field.json_schema_extra for name, field in method.schema.model_fields.items()}
        given = read_ranges({n: e["search"] for n, e in extras.items() if isinstance(e, dict) and "search" in e})
    found = [_dimension(path, values, method, trainer) for path, values in given.items()]
    if not found:
        raise SpecError(
            "nothing to search",
            where="parameters",
            expected="ranges of parameters; this reconstructor declares none of its own",
            hint="parameters: {weight: {low: 1.0e-3, high: 1.0, log: true}}",
        )
    targets = [(dimension.part, dimension.name) for dimension in found]
    for dimension, target in zip(found, targets, strict=True):
        if targets.count(target) > 1:
            raise SpecError(f"{dimension.name!r} is named twice", where=f"parameters.{dimension.path}")
    return found


def _dimension(path: str, values: Range | Choices, method: Method, trainer: Trainer | None) -> Dimension:
    where = f"parameters.{path}"
    part, _, name = path.rpartition(".")
    part = part or "reconstructor"
    if part not in ("reconstructor", "trainer"):
        raise SpecError(f"unknown component {part!r}", where=where, expected="reconstructor or trainer before the dot")
    if part == "trainer" and trainer is None:
        raise SpecError("there is no trainer", where=where, hint="trainer: reconstruction, beside parameters")
    if part == "trainer" and trainer is not None:
        fields, chosen = parameters_model(type(trainer)).model_fields, built_with(trainer)
    else:
        fields, chosen = method.schema.model_fields, dict(method.parameters)
    if name not in fields:
        raise SpecError(f"the {part} has no parameter {name!r}", where=where, hint=did_you_mean(name, fields))
    field = fields[name]
    integer = _is_integer(field.annotation)
    if integer and isinstance(values, Range) and not (isinstance(values.low, int) and isinstance(values.high, int)):
        raise SpecError(
            f"{values.low} to {values.high}", where=where, expected="whole numbers, as the parameter is one"
        )
    _check_allowed(field, values, where)
    own = chosen[name] if name in chosen else field.get_default(call_default_factory=True)
    return Dimension(path, part, name, values, integer, own)


def _check_allowed(field: FieldInfo, values: Range | Choices, where: str) -> None:
    model = create_model("Value", __base__=Parameters, value=(field.rebuild_annotation(), ...))
    for value in [values.low, values.high] if isinstance(values, Range) else values.choices:
        try:
            model.model_validate({"value": value})
        except ValidationError as error:
            cause = error.errors(include_url=False)[0]["msg"]
            raise SpecError(f"{value!r} is not allowed: {cause}", where=where) from None


def _is_integer(annotation: Any) -> bool:
    """Whether whole numbers are the only numbers that an annotation (`int`, `int | None`, ...) takes."""
    if annotation in (int, float):
        return annotation is int
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return bool(parts) and any(map(_is_integer, parts)) and not any(map(_takes_float, parts))


def _takes_float(annotation: Any) -> bool:
    return annotation is float or any(map(_takes_float, get_args(annotation)))
