"""JSON Schema of a whole spec, so that an editor completes what a person writes, with everything that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invreg.components.base_classes import BASE_CLASSES
from invreg.components.named_classes import TakesNamedClasses
from invreg.errors import InvregError
from invreg.plugins.describe import first_sentence
from invreg.plugins.registry import Entry, Registry
from invreg.schema.kinds import KINDS
from invreg.schema.parameters import NESTED_KEY, Nested, json_schema_of, nested, parameters_model
from invreg.specs.references import Reference
from invreg.specs.spec import _LABEL, EvaluationSpec, Spec
from invreg.specs.starting import StartFrom

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SECTIONS = {"data": "dataset", "operator": "operator", "noise": "noise"}
_LISTS = {"metrics": "metric", "analyses": "analyzer"}


def spec_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec or a study, for the components of a registry.

    A component is its name alone, if it needs no parameters, or a mapping with `name` and its parameters. What no
    schema can say (whether a combination of parameters makes sense, whether an analysis fits the methods) is left to
    `invreg validate`.
    """
    definitions: dict[str, Any] = {}
    bases: dict[str, Nested] = {}
    for kind in KINDS:
        for name, entry in registry.entries(kind).items():
            definitions[f"{kind}.{_pointer(name)}"] = _component(name, entry, definitions, bases)
        mark = Nested(kind, BASE_CLASSES[kind])
        bases[mark.group] = mark
    for group, mark in bases.items():
        definitions[group] = {"anyOf": list(_choices(registry, mark)) or [{"not": {}}]}
    definitions["method"] = _method()
    described = Spec.model_json_schema()["properties"]
    properties: dict[str, Any] = {key: described[key] for key in ("title", "seed")}
    for key, kind in _SECTIONS.items():
        properties[key] = {"description": described[key]["description"], "$ref": _reference(kind)}
    properties["methods"] = {
        "type": "object",
        "description": "label: reconstructor and trainer",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{_LABEL.pattern}$"},
        "additionalProperties": {"$ref": _reference("method")},
    }
    for key, kind in _LISTS.items():
        properties[key] = {"type": "array", "items": {"$ref": _reference(kind)}}
    properties["metrics"]["minItems"] = 1
    properties["evaluation"] = EvaluationSpec.model_json_schema()
    properties["matrix"] = _matrix()
    properties["study_analyses"] = {"type": ["array", "null"], "items": {"$ref": _reference("study_analyzer")}}
    properties["headings"] = {
        "description": "study analysis: what stands beside its heading in the report, as in Figures 4 and 5",
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
    }
    definitions["reference"] = Reference.model_json_schema()
    properties["references"] = {
        "description": "study analysis: values from the literature that the report shows beside it; or a file of them",
        "type": ["object", "string", "null"],
        "additionalProperties": {"type": "array", "minItems": 1, "items": {"$ref": _reference("reference")}},
    }
    properties["executor"] = {
        "description": "where the cells of a study are computed, as in local or {name: local, jobs: 4}",
        "$ref": _reference("executor"),
    }
    return {
        "$schema": DIALECT,
        "title": "invreg spec",
        "description": "A problem, methods that solve it, and what is to be found out about them.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        # What a matrix varies need not stand in the spec itself.
        "anyOf": [{"required": ["data", "operator", "methods"]}, {"required": ["matrix"]}],
        "dependentRequired": {key: ["matrix"] for key in ("study_analyses", "headings", "references", "executor")},
        "$defs": definitions,
    }


def add_named_classes(schema: dict[str, Any], registry: Registry) -> None:
    """Adds to the schema of a spec those of classes of other packages that components take by name.

    This imports these packages. One that cannot be imported is left out.
    """
    for kind in KINDS:
        for name, entry in registry.entries(kind).items():
            if isinstance(entry.cls, TakesNamedClasses):
                _add_classes_of(entry.cls, f"{kind}.{_pointer(name)}", schema["$defs"])


def _add_classes_of(cls: type[TakesNamedClasses], definition: str, definitions: dict[str, Any]) -> None:
    try:
        names = list(cls.class_names())
    except InvregError:
        return
    cases = []
    for name in names:
        described = dict(cls.class_named(name).schema)
        # What they are for takes ten times the room of their types; `invreg describe` has it.
        described["properties"] = {
            parameter: {key: value for key, value in about.items() if key != "description"}
            for parameter, about in described["properties"].items()
        }
        definitions[f"{definition}.{name}"] = described
        parameters: dict[str, Any] = {"$ref": _reference(f"{definition}.{name}")}
        then: dict[str, Any] = {"required": ["parameters"]} if described["required"] else {}
        if not then:
            parameters = {"anyOf": [parameters, {"type": "null"}]}
        is_this_one = {"properties": {cls.name_parameter: {"const": name}}}
        cases.append({"if": is_this_one, "then": {"properties": {"parameters": parameters}, **then}})
    definitions[definition]["properties"][cls.name_parameter]["enum"] = names
    definitions[definition]["allOf"] = cases


def _component(name: str, entry: Entry, definitions: dict[str, Any], bases: dict[str, Nested]) -> dict[str, Any]:
    prefix = f"{entry.kind}.{_pointer(name)}."
    model = parameters_model(entry.cls)
    described = json_schema_of(model, _reference(prefix + "{model}"))
    for inner, definition in described.pop("$defs", {}).items():
        definitions[prefix + inner] = _with_references(definition)
    for info in model.model_fields.values():
        mark = nested(info.rebuild_annotation())
        if mark:
            bases[mark.group] = mark
    properties = _with_references(described.get("properties", {}))
    for parameter in properties.values():
        parameter.pop("title", None)
    return {
        "type": "object",
        "description": first_sentence(entry.cls),
        "properties": {"name": {"const": name}, **properties},
        "required": ["name", *described.get("required", [])],
        "additionalProperties": False,
    }


def _choices(registry: Registry, mark: Nested) -> Iterator[dict[str, Any]]:
    for name, entry in registry.entries(mark.kind).items():
        if not issubclass(entry.cls, mark.base):
            continue
        if not any(info.is_required() for info in parameters_model(entry.cls).model_fields.values()):
            yield {"const": name, "description": first_sentence(entry.cls)}
        yield {"$ref": _reference(f"{mark.kind}.{_pointer(name)}")}


def _method() -> dict[str, Any]:
    trained = {
        "type": "object",
        "description": "a reconstructor and how it is trained",
        "properties": {
            "reconstructor": {"$ref": _reference("reconstructor")},
            "trainer": {"anyOf": [{"$ref": _reference("trainer")}, {"type": "null"}]},
            "start_from": {
                "description": "a model whose weights the method starts from",
                "anyOf": [{"type": "string"}, StartFrom.model_json_schema(), {"type": "null"}],
            },
        },
        "required": ["reconstructor"],
        "additionalProperties": False,
    }
    return {"anyOf": [{"$ref": _reference("reconstructor")}, trained]}


def _matrix() -> dict[str, Any]:
    entries = {"type": ["array", "null"], "items": {"type": "object", "minProperties": 1}}
    return {
        "type": "object",
        "description": "dotted paths to lists of values; every combination is a cell of the study",
        "minProperties": 1,
        "properties": {
            "include": {**entries, "description": "further values for combinations, or further combinations"},
            "exclude": {**entries, "description": "combinations that are left out"},
        },
        "additionalProperties": {"type": "array", "minItems": 1},
    }


def _with_references(described: Any) -> Any:
    """The schema with the marks of nested components replaced by references to what can stand there."""
    if isinstance(described, list):
        return [_with_references(item) for item in described]
    if not isinstance(described, dict):
        return described
    described = {key: _with_references(value) for key, value in described.items()}
    group = described.pop(NESTED_KEY, None)
    if group is not None:
        described.pop("type", None)
        described["$ref"] = _reference(group)
    return described


def _reference(name: str) -> str:
    return f"#/$defs/{name}"


def _pointer(name: str) -> str:
    """A name as a part of a reference; `distribution:name` has a colon, which editors stumble over."""
    return name.replace(":", "..")
