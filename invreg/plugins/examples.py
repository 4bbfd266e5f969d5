"""How a spec names a component: a few lines to copy, made from the parameters of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from invreg.plugins.registry import Entry, Registry
from invreg.schema.parameters import NESTED_KEY, json_schema_of, parameters_model

#: So many parameters that have defaults are shown where none is required.
_SHOWN = 2

_LISTED = ("metric", "analyzer", "study_analyzer")

_KEYS = {
    "operator": "operator",
    "noise": "noise",
    "dataset": "data",
    "metric": "metrics",
    "analyzer": "analyses",
    "study_analyzer": "study_analyses",
    "executor": "executor",
}

#: A parameter that must be given is called for by its type, where its field has no `examples`.
_BY_TYPE = {"string": "...", "number": 1.0, "integer": 1, "boolean": True, "array": [], "object": {}}


def example_spec(entry: Entry, registry: Registry) -> str:
    """Lines of a spec with a component: what must be given, or the first parameters with their defaults."""
    component = _component(entry, registry)
    if entry.kind == "reconstructor":
        method = {"reconstructor": component, **_trained_by(entry, registry)}
        return _text({"methods": {entry.name.partition(":")[2] or entry.name: method}})
    if entry.kind == "trainer":
        return _text({"methods": {"label": {"trainer": component}}})  # beside a reconstructor that it can train
    return _text({_KEYS[entry.kind]: [component] if entry.kind in _LISTED else component})


def _component(entry: Entry, registry: Registry) -> Any:
    model = parameters_model(entry.cls)
    schema = json_schema_of(model).get("properties", {})
    fields = model.model_fields
    given = {name: _value(schema[name], registry) for name, field in fields.items() if field.is_required()}
    if not given:
        simple = {name: field.default for name, field in fields.items() if type(field.default) in (int, float, str)}
        given = dict(list(simple.items())[:_SHOWN])
    return {"name": entry.name, **{name: _rounded(value) for name, value in given.items()}} if given else entry.name


def _value(described: Mapping[str, Any], registry: Registry) -> Any:
    if described.get("examples"):
        return described["examples"][0]
    if NESTED_KEY in described:
        return _nested(*str(described[NESTED_KEY]).partition(".")[::2], registry)
    if isinstance(described.get("items"), dict):
        return [_value(described["items"], registry)]
    options = described.get("anyOf")
    if options:
        return _value(options[0], registry)
    low = described.get("minimum", described.get("exclusiveMinimum"))
    value = _BY_TYPE.get(str(described.get("type")), "...")
    return max(value, low + 1) if low is not None and isinstance(value, int | float) else value


def _nested(kind: str, base: str, registry: Registry) -> str:
    """The simplest component that a parameter takes: of those that need nothing, the one with the fewest parameters."""

    def is_taken(entry: Entry) -> bool:
        return (not base or any(cls.__name__ == base for cls in entry.cls.__mro__)) and _needs_nothing(entry)

    known = [entry for name in registry.names(kind) if is_taken(entry := registry.entry(kind, name))]
    simplest = min(known, key=lambda entry: (len(parameters_model(entry.cls).model_fields), entry.name), default=None)
    return simplest.name if simplest else "..."


def _needs_nothing(entry: Entry) -> bool:
    return not any(field.is_required() for field in parameters_model(entry.cls).model_fields.values())


def _trained_by(entry: Entry, registry: Registry) -> dict[str, Any]:
    """The trainer of a method that says that it needs one: the last one that needs nothing itself."""
    names = [name for name in registry.names("trainer") if _needs_nothing(registry.entry("trainer", name))]
    return {"trainer": names[-1]} if getattr(entry.cls, "needs_training", False) and names else {}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _text(content: Mapping[str, Any], indent: str = "") -> str:
    """YAML: mappings of mappings as blocks, components in one line."""
    lines = []
    for key, value in content.items():
        if isinstance(value, Mapping) and "name" not in value:
            lines += [f"{indent}{key}:", _text(value, f"{indent}  ")]
        else:
            lines.append(f"{indent}{key}: {_line(value)}")
    return "\n".join(lines)


def _line(value: Any) -> str:
    text = str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf")))
    return text.partition("\n...")[0].strip()
