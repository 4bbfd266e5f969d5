"""The values that a search tries for one parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from invreg import Component, SpecError, did_you_mean, spec_of
from invreg.schema.component_spec import spec_errors

Number = Annotated[int, Strict()] | Annotated[float, Strict()]

#: Whole numbers beyond this have neighbours that a float cannot tell apart.
_LARGEST_INTEGER = 2**53


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, Mapping) else ():
            if key not in cls.model_fields:
                hint = did_you_mean(str(key), cls.model_fields)
                raise ValueError(f"unknown {key!r} beside {' and '.join(cls._needed())}; {hint}")
        return value

    @classmethod
    def _needed(cls) -> list[str]:
        return [name for name, field in cls.model_fields.items() if field.is_required()]


class Range(_Values):
    """Numbers from `low` to `high`, both included: `{low: 1.0e-4, high: 0.1, log: true}`."""

    low: Number
    high: Number
    log: Annotated[bool, Strict(), Field(description="whether all orders of magnitude are equally likely")] = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs positive numbers, low = {self.low}")
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if whole and max(abs(self.low), abs(self.high)) > _LARGEST_INTEGER:
            raise ValueError("whole numbers are drawn up to 2**53 only")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"from {self.low} to {self.high} is farther than a number can tell")
        return self


class Choices(_Values):
    """One of several values: `{choices: [forward, edge]}`. Each may be anything that a spec can hold."""

    choices: Annotated[list[Any], Field(min_length=1)]

    @field_validator("choices")
    @classmethod
    def _writable(cls, choices: list[Any]) -> list[Any]:
        return [_plain(choice) for choice in choices]


def _plain(value: Any) -> Any:
    """The value as a spec holds it: trials are saved and compared in this form."""
    if isinstance(value, Component):
        try:
            return spec_of(value)
        except SpecError as error:
            raise ValueError(error.what) from None
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a {type(value).__name__} cannot be written in a spec")


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
        return TypeAdapter[dict[str, Range | Choices]](dict[str, SearchRange]).validate_python(parameters)
    except ValidationError as error:
        raise spec_errors(error, "parameters", Range) from None
