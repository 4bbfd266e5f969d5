"""A component as a spec names it, and what is wrong with one in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from invreg.errors import SpecError, did_you_mean, join_errors
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
        if not isinstance(value, str | Mapping | ComponentSpec):
            raise ValueError("input should be a name, or a mapping with name and parameters")
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


def spec_errors(error: ValidationError, where: str, model: type[BaseModel], given: Any) -> SpecError:
    """One readable error for all that pydantic found wrong.

    Args:
        error: what pydantic raised.
        where: the path of what was validated.
        model: the model that refused it.
        given: what was validated.
    """
    alternatives: dict[tuple[Any, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        # Where a value may be of several types, each refuses it: once said is enough.
        alternatives.setdefault(_path_in(given, detail), []).append(detail)
    problems = [
        _problem(details, ".".join(map(str, (where, *path) if where else path)), model)
        for path, details in alternatives.items()
        if not any(len(other) > len(path) and other[: len(path)] == path for other in alternatives)
    ]
    return join_errors(problems)


def _path_in(given: Any, detail: ErrorDetails) -> tuple[Any, ...]:
    """The path to what is wrong, without pydantic's names of the types that a value may have."""
    path = []
    for part in detail["loc"]:
        known = isinstance(given, Mapping) and part in given
        if known or (isinstance(given, list | tuple) and isinstance(part, int) and part < len(given)):
            given = given[part]
            path.append(part)
    if detail["type"] in ("missing", "extra_forbidden") and path[-1:] != [detail["loc"][-1]]:
        path.append(detail["loc"][-1])
    return tuple(path)


def _problem(details: Sequence[ErrorDetails], path: str, model: type[BaseModel]) -> SpecError:
    """What is wrong at one place."""
    detail = details[0]
    inner = detail.get("ctx", {}).get("error")
    if isinstance(inner, NestedError):
        return inner.error.at(path) if path else inner.error
    holder = _holder(model, detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = holder.model_fields if holder is not model or len(detail["loc"]) == 1 else {}
        return SpecError("unknown parameter", where=path, hint=did_you_mean(str(detail["loc"][-1]), known))
    if detail["type"] == "missing":
        return SpecError("missing", where=path, expected="a value")
    messages = list(dict.fromkeys(map(_message, details)))
    what = " or ".join([messages[0], *(message.removeprefix("input should be ") for message in messages[1:])])
    given = detail.get("input")
    if not isinstance(given, Mapping | HasParameters) and len(repr(given)) < 80:
        what += f" (given: {given!r})"
    info = None
    if detail["loc"]:
        info = holder.model_fields.get(str(detail["loc"][-1])) or model.model_fields.get(str(detail["loc"][0]))
    return SpecError(what, where=path or None, expected=info.description if info else None)


def _holder(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The innermost model on the way to what a path ends with."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field else None) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, or that its values hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


#: Python's names of containers, as specs call them.
_CONTAINERS = {"dict_type": "a mapping", "model_type": "a mapping", "tuple_type": "a list", "list_type": "a list"}


def _message(detail: ErrorDetails) -> str:
    if detail["type"] in _CONTAINERS:
        return f"input should be {_CONTAINERS[detail['type']]}"
    message = detail["msg"].removeprefix("Value error, ")
    # A sentence of pydantic; others stay as their authors wrote them.
    return message[0].lower() + message[1:] if message == detail["msg"] else message
