"""The values that a search tries for one parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag, field_validator, model_validator

from invreg import SpecError, did_you_mean, plain_form

if TYPE_CHECKING:
    import optuna

Number = Annotated[int, Strict()] | Annotated[float, Strict()]

#: Beyond this, a float cannot distinguish neighbouring whole numbers.
_LARGEST_INTEGER = 2**53


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, Mapping) else ():
            if key not in cls.model_fields:
                needed = [name for name, field in cls.model_fields.items() if field.is_required()]
                hint = did_you_mean(str(key), cls.model_fields)
                raise ValueError(f"unknown {key!r} beside {' and '.join(needed)}; {hint}")
        return value


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
            raise ValueError(f"the range from {self.low} to {self.high} is too wide for a float")
        return self

    def suggested(self, trial: optuna.Trial, name: str, integer: bool) -> Any:
        """The number that Optuna draws."""
        if integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def position(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1 at the high one, in orders of magnitude if `log`."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf

    def wider(self, integer: bool) -> tuple[list[Number], list[Number]]:
        """Ends of wider ranges, those below `low` and those above `high`, the farthest first."""
        if self.log:
            ends = [(self.low / factor, self.high * factor) for factor in (10, 3, 1.5)]
        else:
            width = self.high - self.low
            ends = [(self.low - share * width, self.high + share * width) for share in (1, 0.3, 0.1)]
        if integer:
            ends = [(min(round(low), int(self.low) - 1), max(round(high), int(self.high) + 1)) for low, high in ends]
            ends.append((int(self.low) - 1, int(self.high) + 1))
        below = [low for low, _ in ends if math.isfinite(low) and (low > 0 or not self.log)]
        return below, [high for _, high in ends if math.isfinite(high)]


class Choices(_Values):
    """One of several values: `{choices: [forward, edge]}`. Each may be anything that a spec can hold."""

    choices: Annotated[list[Any], Field(min_length=1)]

    @field_validator("choices", mode="after")
    @classmethod
    def _writable(cls, choices: list[Any]) -> list[Any]:
        """The values as a spec holds them: trials are saved and compared in this form."""
        try:
            return [_finite(plain_form(choice, f"choices.{index}")) for index, choice in enumerate(choices)]
        except SpecError as error:
            raise ValueError(error.what) from None

    def suggested(self, trial: optuna.Trial, name: str, integer: bool) -> Any:
        """The value whose position Optuna draws."""
        return self.choices[trial.suggest_int(name, 0, len(self.choices) - 1)]


def _finite(value: Any) -> Any:
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inside)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def _form(value: Any) -> str:
    listed = "choices" in value if isinstance(value, Mapping) else isinstance(value, Choices)
    return "choices" if listed else "range"


#: The values that a search tries for one parameter.
SearchRange = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_form)]


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna from logging: what it does here is not a study of its own."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
