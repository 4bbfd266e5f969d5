"""Whether the best value of a search lies at an end: of its range, of its choices, or of what was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from invreg import InvregError
from invreg_training.search.space import Dimension
from invreg_training.search.trials import Trial
from invreg_training.search.values import Choices, Range

#: A best value is at an end of its range in these outermost shares of it.
_NEAR = 0.05
#: So much of a range has to be untried beyond the best value for that to be said.
_UNTRIED = 0.2
#: With so many numbers to choose from, one of them may well be the best of all without being the first or the last.
_SEVERAL = 3


@dataclass(frozen=True)
class End:
    """A parameter whose best value has nothing worse beyond it, where the search looked.

    Attributes:
        text: which one, and what it is the end of.
        remedy: what to try.
        is_of_range: whether it is the end of a declared range, so that the search could not look beyond.
    """

    text: str
    remedy: str
    is_of_range: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}"

    @property
    def warning(self) -> str:
        """The message for a person."""
        expected = "a best value inside of its range: beyond it there may be a better one"
        return str(InvregError(self.text, expected=expected, hint=f"{self.remedy}, or a fixed value"))


def ends_of(trials: Iterable[Trial], best: Trial, dimensions: Iterable[Dimension]) -> list[End]:
    """Where the best values are not enclosed by worse ones.

    Trials that were stopped early are worse ones, too; those that failed say nothing. An end beyond which the parameter
    allows no value is none.
    """
    known = [trial for trial in trials if trial.value is not None or trial.stopped is not None]
    found: list[End] = []
    for dimension in dimensions:
        value = best.parameters[dimension.name]
        tried = [trial.parameters[dimension.name] for trial in known]
        numbers = [one for one in tried if _is_number(one)]
        if not _is_number(value) or min(numbers) == max(numbers):
            continue
        sides = [side for side, outermost in enumerate((min(numbers), max(numbers))) if value == outermost]
        for side in sides:
            if isinstance(dimension.values, Choices):
                end = _end_of_choices(dimension.name, value, dimension.values.choices, side)
            else:
                end = _end_of_range(dimension, dimension.values, value, side)
            found += [] if end is None else [end]
    return found


def _end_of_choices(name: str, value: Any, choices: Sequence[Any], side: int) -> End | None:
    numbers = {one for one in choices if _is_number(one)}
    if len(numbers) < max(_SEVERAL, len(choices)) or value != (min(numbers), max(numbers))[side]:
        return None
    return End(
        f"the best {name}, {value:.4g}, is the {('smallest', 'largest')[side]} of the choices",
        f"{('smaller', 'larger')[side]} ones as well",
    )


def _end_of_range(dimension: Dimension, values: Range, value: Any, side: int) -> End | None:
    position = values.position(value)
    distance = position if side == 0 else 1 - position
    best, extent = (
        f"the best {dimension.name}, {value:.4g}, is",
        f"its range from {values.low:.4g} to {values.high:.4g}",
    )
    if distance < 0:  # the spec's own value
        return End(f"{best} {('below', 'above')[side]} {extent}", "a range around it", is_of_range=True)
    if distance <= _NEAR:
        if (wider := dimension.beyond[side]) is None:
            return None
        low, high = (wider, values.high) if side == 0 else (values.low, wider)
        log = ", log: true" if values.log else ""
        remedy = f"a wider range, {{low: {low:.4g}, high: {high:.4g}{log}}}"
        return End(f"{best} at the {('lower', 'upper')[side]} end of {extent}", remedy, is_of_range=True)
    if distance < _UNTRIED:
        return None
    return End(f"{best} the {('smallest', 'largest')[side]} one that was tried of {extent}", "more trials")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
