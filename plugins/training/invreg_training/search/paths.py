"""Finding a parameter by its path: through components, mappings and lists, in the form that a spec has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from invreg import Component, Registry, SpecError, did_you_mean, spec_of
from invreg.schema.component_spec import ComponentSpec
from invreg.schema.parameters import Nested, nested

Key = str | int


@dataclass(frozen=True)
class Place:
    """Where a value stands.

    Attributes:
        model: the model of the parameters of the component that holds the value.
        content: these parameters, as a spec gives them.
        keys: the way to the value: a parameter, then what leads on through mappings and lists.
        annotation: the type of the value; `Any` where nothing says more.
        own: the value.
        whole: the way to the value from the component where the path began.
    """

    model: type[BaseModel]
    content: Mapping[str, Any]
    keys: tuple[Key, ...]
    annotation: Any
    own: Any
    whole: tuple[Key, ...]


def find(
    model: type[BaseModel], content: Mapping[str, Any], keys: list[str], registry: Registry, where: str, so_far: str
) -> Place:
    """The place to which a path leads.

    Args:
        model: of the parameters of the component where the path begins.
        content: these parameters; components in them with all their parameters.
        keys: the parts of the path.
        registry: knows the components on the way.
        where: the place of the path in the spec, for messages.
        so_far: the component where the path begins, in words.

    Raises:
        SpecError: if it leads nowhere.
    """
    name, *rest = keys
    if name not in model.model_fields:
        raise SpecError(
            f"{so_far} has no parameter {name!r}",
            where=where,
            expected="a parameter that exists",
            hint="choices of whole components change which one it is: {choices: [{name: ...}, {name: ...}]}"
            if name == "name"
            else did_you_mean(name, model.model_fields),
        )
    annotation, value = model.model_fields[name].rebuild_annotation(), content[name]
    way: list[Key] = [name]
    for number, key in enumerate(rest):
        mark = component_mark(annotation)
        if mark is not None and isinstance(value, Mapping) and "name" in value:
            inner = {parameter: item for parameter, item in value.items() if parameter != "name"}
            described = f"the {mark.kind} {value['name']!r}"
            schema = registry.parameters(mark.kind, value["name"])
            place = find(schema, inner, rest[number:], registry, where, described)
            return Place(place.model, place.content, place.keys, place.annotation, place.own, (*way, *place.whole))
        entry = _position(value, key, ".".join(map(str, way)), where)
        annotation, value = _below(annotation, entry), value[entry]
        way.append(entry)
    return Place(model, content, tuple(way), annotation, value, tuple(way))


def put(content: Any, keys: tuple[Key, ...], value: Any) -> Any:
    """A copy of mappings and lists with one value replaced."""
    if not keys:
        return value
    key, *rest = keys
    changed: Any = dict(content) if isinstance(content, Mapping) else list(content)
    changed[key] = put(content[key], tuple(rest), value)
    return changed


def written_out(value: Any, annotation: Any, registry: Registry, where: str) -> Any:
    """A validated value as a spec would give it, components with all their parameters.

    Raises:
        SpecError: if a component in it does not exist, or cannot be built.
    """
    mark = nested(annotation)
    if isinstance(value, ComponentSpec) and mark is not None:
        component = registry.build(mark.kind, value, where)
        if not isinstance(component, mark.base):
            raise SpecError(
                f"{value.name!r} is no {mark.base.__name__}",
                where=where,
                expected=f"a {mark.kind} that is a {mark.base.__name__}",
            )
        return spec_of(component, registry)
    if isinstance(value, Component):
        return spec_of(value, registry)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): written_out(item, annotation, registry, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [written_out(item, annotation, registry, where) for item in value]
    return value


def arms(annotation: Any) -> Iterator[Any]:
    """The types that an annotation takes, one by one; a component is its mark."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *metadata = get_args(annotation)
        mark = next((entry for entry in metadata if isinstance(entry, Nested)), None)
        yield from [mark] if mark is not None else arms(base)
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from arms(part)
    else:
        yield annotation


def component_mark(annotation: Any) -> Nested | None:
    """What kind of component an annotation takes itself, not as an entry of a list or a mapping."""
    return next((arm for arm in arms(annotation) if isinstance(arm, Nested)), None)


def _position(value: Any, key: str, parent: str, where: str) -> Key:
    """The key or index behind one part of a path."""
    if isinstance(value, Mapping):
        if key in value:
            return key
        raise SpecError(
            f"{parent} has no entry {key!r}",
            where=where,
            expected="an entry that exists",
            hint=did_you_mean(key, map(str, value)),
        )
    if isinstance(value, list):
        if key.isascii() and key.isdecimal() and int(key) < len(value):
            return int(key)
        raise SpecError(
            f"{key!r} is no position in {parent}, a list of {len(value)}",
            where=where,
            expected=f"0 to {len(value) - 1}" if value else "a list with entries",
        )
    given = "null" if value is None else repr(value)
    raise SpecError(
        f"there is no {key!r} below {parent}, which is {given}",
        where=where,
        expected="a path to a parameter",
        hint=f"give {parent} in the spec first" if value is None else f"search {parent} itself",
    )


def _below(annotation: Any, key: Key) -> Any:
    """The type of an entry of a value."""
    for arm in arms(annotation):
        origin, arguments = get_origin(arm), get_args(arm)
        if isinstance(key, int) and origin is tuple:
            return arguments[0] if arguments[-1] is ... else arguments[key]
        if isinstance(key, int) and isinstance(origin, type) and len(arguments) == 1:
            return arguments[0]
        if isinstance(key, str) and isinstance(origin, type) and len(arguments) == 2 and origin is not tuple:
            return arguments[1]
        if isinstance(arm, type) and issubclass(arm, BaseModel) and key in arm.model_fields:
            return arm.model_fields[str(key)].rebuild_annotation()
    return Any
