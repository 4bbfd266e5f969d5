"""Checks of what every component has: a constructor that is a schema, and a description."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from invreg.errors import InvregError, SpecError
from invreg.plugins.registry import Registry
from invreg.schema.component import Component
from invreg.schema.parameters import nested, parameters_model
from invreg.schema.signature import built_with
from invreg.testing.checks import Check, Refused
from invreg.testing.side_effects import check_no_global_state

#: Values that people try. What a schema lets through must be accepted, or refused with a sentence.
_ODD_VALUES: tuple[Any, ...] = (-1, 0, 1, 2, -0.5, 0.0, 0.5, 1e6, "", "nonsense", [], None, True)


class _OneComponent:
    """A plugin that registers a single class, so that the ordinary doors can be used for it."""

    def __init__(self, cls: type[Component]) -> None:
        self._cls = cls

    def plugin(self) -> object:
        from invreg.components.hookspecs import hookimpl

        class Plugin:
            @staticmethod
            @hookimpl
            def invreg_components() -> Mapping[str, type]:
                return {"tested": self._cls}

        return Plugin


def constructor_checks(component: Component) -> Iterator[Check]:
    """The checks of the constructor and the description of any component, given one that is built."""
    cls = type(component)
    if not hasattr(cls, "spec_hint"):  # else it wraps an object, and no spec can name it
        yield "schema_round_trip", lambda: _round_trip(component)
        yield "bad_parameters", lambda: _bad_parameters(component)
    yield "no_global_state_when_built", lambda: check_no_global_state(lambda: rebuilt(component))
    yield "documentation", lambda: _documentation(cls)


def rebuilt(component: Component) -> Component:
    """Another component with the same parameters."""
    return type(component)(**copy.deepcopy(built_with(component)))


def _registry(cls: type[Component]) -> Registry:
    registry = Registry.installed({"tested": _OneComponent(cls).plugin()})
    problem = registry.plugins[-1].problem
    if problem:
        raise Refused(problem, "a class that can be registered", "change the constructor as the message says")
    return registry


def _round_trip(component: Component) -> None:
    registry = _registry(type(component))
    kind, name = registry.plugins[-1].components[0]
    parameters = built_with(component)
    fix = "keep what the constructor was given: do not change lists or mappings in place, and annotate what is meant"
    if not all(registry.name_of(type(inner)) for inner in _components(parameters)):
        rebuilt(component)  # no spec can name what is inside
        return
    try:
        spec = {"name": name, **json.loads(json.dumps(_plain(parameters)))}
        again = registry.build(kind, spec)
    except (InvregError, TypeError, ValueError) as error:
        raise Refused(f"its own parameters are refused: {error}", "a spec from which it can be built", fix) from None
    if _plain(built_with(again)) != _plain(parameters):
        raise Refused(f"built with {parameters}, it comes back as {built_with(again)}", "the same parameters", fix)


def _components(value: Any) -> Iterator[Component]:
    """All components in a value, and in their own parameters."""
    if isinstance(value, Component):
        yield value
        yield from _components(built_with(value))
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _components(item)


def _plain(value: Any) -> Any:
    from invreg.plugins.registry import plain_form

    return plain_form(list(value) if isinstance(value, tuple) else value, "parameters")


def _bad_parameters(component: Component) -> None:
    cls, given = type(component), built_with(component)
    model = parameters_model(cls)
    for key, info in model.model_fields.items():
        if nested(info.rebuild_annotation()):
            continue  # what is inside has parameters of its own
        for value in _ODD_VALUES:
            arguments = {**given, key: value}
            try:
                model.model_validate(arguments)
            except (ValidationError, InvregError, TypeError, ValueError):
                continue  # the schema refuses it, with a message of its own
            _try(cls, key, arguments)
    try:
        cls(**{**copy.deepcopy(given), "no_such_parameter": 1})
    except SpecError:
        return
    raise Refused("a parameter that does not exist is accepted", "SpecError", "take no **kwargs in the constructor")


def _try(cls: type[Component], key: str, arguments: dict[str, Any]) -> None:
    try:
        cls(**copy.deepcopy(arguments))
    except InvregError as error:
        if not str(error).strip():
            raise Refused(
                f"{key}={arguments[key]!r} is refused without a word",
                "a SpecError that says what is wrong",
                "SpecError(what, where=..., expected=...)",
            ) from None
    except Exception as error:  # noqa: BLE001 (any exception is the finding)
        raise Refused(
            f"{key}={arguments[key]!r}, which the schema allows, raises {type(error).__name__}: {error}",
            "SpecError, or a component that works",
            f"narrow the annotation of {key!r} with Field(gt=..., le=...), or raise invreg.SpecError",
        ) from None


def _documentation(cls: type[Component]) -> None:
    text = cls.__doc__ or ""
    if not text.strip():
        raise Refused(
            "the class has no docstring",
            "a docstring: the formula, the shapes, the source",
            f"describe {cls.__name__} under its class line",
        )
    # What wraps an object is made in Python alone, where the docstring is read.
    arguments = inspect.getdoc(cls) or "" if hasattr(cls, "spec_hint") else ""
    fields = parameters_model(cls).model_fields
    missing = [key for key, info in fields.items() if not info.description and f"{key}:" not in arguments]
    if missing:
        raise Refused(
            f"nothing describes {', '.join(missing)}",
            "a description of every parameter",
            'Annotated[float, Field(description="...")] in the constructor: specs, describe and pages read it there',
        )
