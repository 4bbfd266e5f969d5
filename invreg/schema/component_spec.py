"""A component as a spec names it, and what is wrong with one in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from invreg.errors import SpecError, did_you_mean
from invreg.schema.signature import HasParameters


class ComponentSpec(BaseModel):
    """A component by name, with its parameters beside the name: `{name: gaussian_blur, std: 2.0}`.

    A bare string is a name without parameters.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as given."""
        return dict(self.model_extra or {})


class NestedError(ValueError):
    """What is wrong with a component inside another one, on its way through pydantic."""

    def __init__(self, error: SpecError) -> None:
        super().__init__(str(error))
        self.error = error


def spec_errors(error: ValidationError, where: str, model: type[BaseModel]) -> SpecError:
    """One readable error for all that pydantic found wrong below `where`."""
    problems: list[SpecError] = []
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in (where, *detail["loc"]) if part != "")
        given = detail.get("input")
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, NestedError):
            problems.append(inner.error.at(path) if path else inner.error)
        elif detail["type"] == "extra_forbidden":
            known = model.model_fields if len(detail["loc"]) == 1 else {}
            problems.append(
                SpecError("unknown parameter", where=path, hint=did_you_mean(str(detail["loc"][-1]), known))
            )
        elif detail["type"] == "missing":
            problems.append(SpecError("missing", where=path, expected="a value"))
        else:
            message = detail["msg"].removeprefix("Value error, ")
            if message == detail["msg"]:  # a sentence of pydantic; others stay as their authors wrote them
                message = message[0].lower() + message[1:]
            shown = (
                f" (given: {given!r})"
                if not isinstance(given, Mapping | HasParameters) and len(repr(given)) < 80
                else ""
            )
            info = model.model_fields.get(str(detail["loc"][0])) if detail["loc"] else None
            meaning = info.description if info else None
            problems.append(SpecError(message + shown, where=path or None, expected=meaning))
    return join_errors(problems)


def join_errors(problems: Sequence[SpecError]) -> SpecError:
    """One error for several problems, so that a spec need not be corrected one message at a time."""
    return problems[0] if len(problems) == 1 else _SeveralProblems(problems)


class _SeveralProblems(SpecError):
    """Several problems of one spec, each with its place."""

    def __init__(self, problems: Sequence[SpecError]) -> None:
        super().__init__(f"{len(problems)} problems in the spec")
        self._problems = problems

    def __str__(self) -> str:
        return "\n".join([self.what, *map(str, self._problems)])

    def at(self, where: str) -> Self:
        for problem in self._problems:
            problem.at(where)
        return self
