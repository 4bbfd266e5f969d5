"""Which parameters are searched, over which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from invreg import InvregError, Method, Registry, SpecError, Trainer, did_you_mean, plain_form, spec_of, stream_key
from invreg_training.search.values import Choices, Range, quiet_optuna

_RECONSTRUCTOR, _TRAINER = "reconstructor", "trainer"

#: Columns of the log beside the parameters.
_COLUMNS = ("trial", "seconds", "state", "cause")


@dataclass(frozen=True)
class Dimension:
    """A parameter that is searched.

    Attributes:
        name: in the log: the parameter as the spec of the search gives it, `weight` or `trainer.lr`.
        component: whose parameter it is, `reconstructor` or `trainer`.
        parameter: its name there.
        values: the values to try.
        integer: whether a range means whole numbers.
        own: the value that the spec itself gives it.
        beyond: ends of a wider range, below and above; None where the parameter allows no value there.
    """

    name: str
    component: str
    parameter: str
    values: Range | Choices
    integer: bool
    own: Any
    beyond: tuple[Any, Any] = (None, None)


@dataclass(frozen=True)
class SearchSpace:
    """All that is searched.

    Attributes:
        dimensions: the parameters.
        registry: builds trainers.
    """

    dimensions: tuple[Dimension, ...]
    registry: Registry

    def own(self) -> dict[str, Any]:
        """The values that the spec itself gives, by name."""
        return {dimension.name: dimension.own for dimension in self.dimensions}

    def draw(self, seed: int, number: int) -> dict[str, Any]:
        """The values of one trial by name, drawn by Optuna's random sampler."""
        import optuna

        with quiet_optuna():
            # A stream of its own for each trial: no earlier trial has to be repeated for the numbers to be the same.
            sampler = optuna.samplers.RandomSampler(seed=stream_key(seed, "search", number) % 2**32)
            trial = optuna.create_study(sampler=sampler).ask()
            return {d.name: d.values.suggested(trial, d.name, d.integer) for d in self.dimensions}

    def changes(self, values: Mapping[str, Any], component: str = _RECONSTRUCTOR) -> dict[str, Any]:
        """The parameters of a component that change with these values."""
        return {d.parameter: values[d.name] for d in self.dimensions if d.component == component and d.name in values}

    def trainer(self, values: Mapping[str, Any], trainer: Trainer | None) -> Trainer | None:
        """The trainer with these values: the given one if none of them is a trainer's.

        Raises:
            SpecError: if they do not go together.
        """
        changes = self.changes(values, _TRAINER)
        if trainer is None or not changes:
            return trainer
        built: Trainer = self.registry.build("trainer", spec_of(trainer, self.registry) | changes, _TRAINER)
        return built


def search_space(given: Mapping[str, Range | Choices], method: Method, trainer: Trainer | None) -> SearchSpace:
    """The space of a search.

    Args:
        given: ranges and choices by parameter: `weight`, short for `reconstructor.weight`, or `trainer.lr`.
        method: whose reconstructor is searched.
        trainer: the trainer of each trial.

    Raises:
        SpecError: if a parameter does not exist, a value is not allowed for it, or there is nothing to search.
    """
    if not given:
        raise SpecError(
            "nothing to search",
            where="parameters",
            expected="ranges of parameters; this reconstructor declares none of its own",
            hint="parameters: {weight: {low: 1.0e-3, high: 1.0, log: true}}",
        )
    registry = method.registry or Registry.installed()
    dimensions: dict[tuple[str, str], Dimension] = {}
    for name, values in given.items():
        where = f"parameters.{name}"
        component, parameter = _split(name, method, where)
        if (component, parameter) in dimensions:
            first = dimensions[component, parameter].name
            raise SpecError(f"{first!r} and {name!r}: the parameter is named twice", where=where)
        searched = _parameter(component, parameter, method, trainer, registry, where)
        dimensions[component, parameter] = _dimension(name, component, searched, values, where)
    return SearchSpace(tuple(dimensions.values()), registry)


def _split(name: str, method: Method, where: str) -> tuple[str, str]:
    """The component and its parameter."""
    component, dot, parameter = name.partition(".")
    if component not in (_RECONSTRUCTOR, _TRAINER):
        component, parameter = _RECONSTRUCTOR, name
    elif not dot:
        raise SpecError(
            f"the whole {component} cannot be searched",
            where=where,
            expected="a parameter of it",
            hint=f"{component}s are compared as two methods of one spec",
        )
    outer, inside, _ = parameter.partition(".")
    if inside and parameter == name and outer not in method.schema.model_fields:
        raise SpecError(
            f"unknown component {outer!r}",
            where=where,
            expected="reconstructor or trainer before the dot",
            hint=did_you_mean(outer, (_RECONSTRUCTOR, _TRAINER)),
        )
    if inside and outer:
        raise SpecError(
            f"leads into the parameter {outer!r}",
            where=where,
            expected="the name of a parameter: what is inside it is searched with it",
            hint=f"{name.removesuffix(parameter)}{outer}: {{choices: [...]}}",
        )
    return component, parameter


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a component.

    Attributes:
        name: its name.
        schema: the model of all parameters of the component.
        validated: all of them, some changed by keyword arguments.
        registry: of components that values may be.
    """

    name: str
    schema: type[BaseModel]
    validated: Callable[..., Mapping[str, Any]]
    registry: Registry

    def own(self) -> Any:
        """The value that the spec gives, or the default, as a spec holds it."""
        return plain_form(self.validated()[self.name], self.name, self.registry)

    def allowed(self, value: Any, where: str) -> Any:
        """The value as the component takes it, as a spec holds it with all parameters of components.

        Raises:
            SpecError: if the component refuses it.
        """
        try:
            return plain_form(self.validated(**{self.name: value})[self.name], self.name, self.registry)
        except InvregError as error:
            error.where = (error.where or "").removeprefix(self.name).removeprefix(".") or None
            raise error.at(where) from None

    def first_allowed(self, values: Iterable[Any]) -> Any:
        """The first of these values that the parameter takes; None if there is none."""
        for value in values:
            try:
                return self.allowed(value, self.name)
            except InvregError:
                continue
        return None

    def is_number(self) -> bool:
        """Whether it takes numbers, and not only some of them."""
        described = TypeAdapter(self.schema.model_fields[self.name].rebuild_annotation()).json_schema()
        forms = described.get("anyOf", [described])
        if {} in forms:  # anything
            return isinstance(self.own(), int | float) and not isinstance(self.own(), bool)
        return any(form.get("type") in ("number", "integer") and not form.keys() & {"enum", "const"} for form in forms)


def _parameter(
    component: str, name: str, method: Method, trainer: Trainer | None, registry: Registry, where: str
) -> _Parameter:
    if component == _RECONSTRUCTOR:
        schema, owner = method.schema, "the reconstructor"
        validated: Callable[..., Mapping[str, Any]] = method.validated
    elif trainer is None:
        raise SpecError("there is no trainer", where=where, hint="trainer: reconstruction, beside parameters")
    else:
        try:
            spec = spec_of(trainer, registry)
        except SpecError as error:
            raise error.at(_TRAINER) from None
        schema, owner = registry.parameters("trainer", spec["name"]), f"the trainer {spec['name']!r}"

        def validated(**changes: Any) -> Mapping[str, Any]:
            return spec_of(registry.build("trainer", spec | changes), registry)

    if name not in schema.model_fields:
        hint = did_you_mean(name, schema.model_fields)
        raise SpecError(f"{owner} has no parameter {name!r}", where=where, expected="one that exists", hint=hint)
    return _Parameter(name, schema, validated, registry)


def _dimension(name: str, component: str, parameter: _Parameter, values: Range | Choices, where: str) -> Dimension:
    """The dimension of these values.

    Raises:
        SpecError: if a value is not allowed, or a range is given for what is not a number.
    """
    column = f"{_RECONSTRUCTOR}.{name}" if name in _COLUMNS or name.startswith("val_") else name
    own = parameter.own()
    if isinstance(values, Choices):
        allowed = [parameter.allowed(value, f"{where}.choices.{i}") for i, value in enumerate(values.choices)]
        # As it is among the choices: one setting has one name in tables and figures.
        own = next((choice for choice, full in zip(values.choices, allowed, strict=True) if full == own), own)
        return Dimension(column, component, parameter.name, values, False, own)
    if not parameter.is_number():
        raise SpecError(
            f"a range from {values.low} to {values.high}, but this parameter is not a number",
            where=where,
            expected="choices",
            hint="{choices: [null, ...]}" if own is None else f"{{choices: [{own!s:.40}, ...]}}",
        )
    ends = [parameter.allowed(value, f"{where}.{end}") for end, value in (("low", values.low), ("high", values.high))]
    integer = all(isinstance(end, int) for end in ends)
    below, above = (parameter.first_allowed(wider) for wider in values.wider(integer))
    return Dimension(column, component, parameter.name, values, integer, own, (below, above))
