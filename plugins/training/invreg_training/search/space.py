"""Which parameters are searched, over which values, and how they are put into the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import BaseModel, ValidationError

from invreg import Method, Registry, SpecError, Trainer, did_you_mean, spec_of
from invreg.schema.component_spec import spec_errors
from invreg.schema.parameters import parameters_model
from invreg_training.search.dimension import Dimension, check_apart, make_dimension
from invreg_training.search.paths import find, put, written_out
from invreg_training.search.ranges import Choices, Range, read_ranges

_PARTS = ("reconstructor", "trainer")


@dataclass(frozen=True)
class SearchSpace:
    """All that is searched.

    Attributes:
        dimensions: the parameters.
        base: by part and parameter, what the spec gives; the values of a trial are put into it.
        registry: builds trainers.
    """

    dimensions: tuple[Dimension, ...]
    base: Mapping[str, Mapping[str, Any]]
    registry: Registry

    def own(self) -> dict[str, Any]:
        """The values that the spec itself gives, by path."""
        return {dimension.path: dimension.own for dimension in self.dimensions}

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the reconstructor that change with these values."""
        return self._changed("reconstructor", values)

    def trainer(self, values: Mapping[str, Any], trainer: Trainer | None) -> Trainer | None:
        """The trainer with these values: the given one if none of them is a trainer's.

        Raises:
            SpecError: if they do not go together.
        """
        changed = self._changed("trainer", values)
        if not changed:
            return trainer
        spec = changed["trainer"]
        built: Trainer | None = None if spec is None else self.registry.build("trainer", spec, "trainer")
        return built

    def trainers(self) -> list[Trainer | None]:
        """All trainers that a choice of whole trainers offers."""
        whole = [d.values for d in self.dimensions if d.keys == ("trainer",) and d.part == "trainer"]
        choices = [choice for values in whole if isinstance(values, Choices) for choice in values.choices]
        return [None if choice is None else self.registry.build("trainer", choice, "trainer") for choice in choices]

    def _changed(self, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.part == part and dimension.path in values:
                name = str(dimension.keys[0])
                content.setdefault(name, self.base[part][name])
                content = put(content, dimension.keys, values[dimension.path])
        return content


def search_space(
    given: Mapping[str, Range | Choices] | None, method: Method, trainer: Trainer | None, owner: type[Trainer]
) -> SearchSpace:
    """The space of a search: what is given, or what the reconstructor's own schema declares.

    Args:
        given: ranges by path: `weight`, short for `reconstructor.weight`, or `trainer.lr`, and deeper.
        method: whose reconstructor is searched.
        trainer: the trainer of each trial.
        owner: the class of the search, whose parameter `trainer` that is.

    Raises:
        SpecError: if a parameter does not exist, a value is not allowed for it, or there is nothing to search.
    """
    if given is None:
        extras = {name: field.json_schema_extra for name, field in method.schema.model_fields.items()}
        given = read_ranges({n: e["search"] for n, e in extras.items() if isinstance(e, dict) and "search" in e})
    if not given:
        raise SpecError(
            "nothing to search",
            where="parameters",
            expected="ranges of parameters; this reconstructor declares none of its own",
            hint="parameters: {weight: {low: 1.0e-3, high: 1.0, log: true}}",
        )
    registry = method.registry or Registry.installed()
    dimensions: list[Dimension] = []
    base: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for path, values in given.items():
        part, keys = _split(path, method)
        where = f"parameters.{path}"
        if part == "trainer":
            if trainer is None and len(keys) > 1:
                raise SpecError("there is no trainer", where=where, hint="trainer: reconstruction, beside parameters")
            model: type[BaseModel] = parameters_model(owner)
            content = {"trainer": _spec_of_trainer(trainer, registry)}
            base[part] |= content
            place = find(model, content, keys, registry, where, "the search")
        else:
            content = _own(method, keys[0], registry, where)
            base[part] |= {name: value for name, value in content.items() if name == keys[0]}
            place = find(method.schema, content, keys, registry, where, "the reconstructor")
        dimensions.append(make_dimension(path, part, place, values, registry))
    for first, second in combinations(dimensions, 2):
        check_apart(first, second)
    return SearchSpace(tuple(dimensions), base, registry)


def _split(path: str, method: Method) -> tuple[str, list[str]]:
    """The part that a path begins in, and the keys below it; the trainer is itself a parameter of the search."""
    keys, where = path.split("."), f"parameters.{path}"
    if keys[0] == "trainer":
        return "trainer", keys
    if keys == ["reconstructor"]:
        raise SpecError(
            "the whole reconstructor cannot be searched",
            where=where,
            expected="a parameter of it",
            hint="reconstructors are compared as two methods of one spec",
        )
    if keys[0] == "reconstructor":
        return "reconstructor", keys[1:]
    if len(keys) == 1:
        return "reconstructor", keys
    known = keys[0] in method.schema.model_fields
    raise SpecError(
        f"unknown component {keys[0]!r}",
        where=where,
        expected="reconstructor or trainer before the first dot",
        hint=f"did you mean 'reconstructor.{path}'?" if known else did_you_mean(keys[0], _PARTS),
    )


def _spec_of_trainer(trainer: Trainer | None, registry: Registry) -> dict[str, Any] | None:
    try:
        return None if trainer is None else spec_of(trainer, registry)
    except SpecError as error:
        raise error.at("trainer") from None


def _own(method: Method, name: str, registry: Registry, where: str) -> dict[str, Any]:
    """The parameters of the reconstructor, the named one with all its components' parameters."""
    try:
        validated = method.schema.model_validate(dict(method.parameters))
    except ValidationError as error:
        raise spec_errors(error, "reconstructor", method.schema) from None
    own = dict(method.parameters)
    if name in method.schema.model_fields:
        annotation = method.schema.model_fields[name].rebuild_annotation()
        own[name] = written_out(getattr(validated, name), annotation, registry, where)
    return own
