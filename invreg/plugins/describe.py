"""A component in words: what it is, its parameters with types, ranges and defaults."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from invreg.components.hookspecs import INTERFACE_VERSION
from invreg.components.named_classes import TakesNamedClasses
from invreg.errors import SpecError
from invreg.plugins.discovery import SLOW, Plugin
from invreg.plugins.examples import example_spec
from invreg.plugins.registry import Entry, Registry
from invreg.plugins.tracking import Offer
from invreg.schema.parameters import NESTED_KEY, json_schema_of, parameters_model
from invreg.text import with_article

_INDENT = 6 * " "

# In docstrings, links to pages of the documentation: [`text`][name], [text](page.md).
_LINK = re.compile(r"\[(`[^`]+`)\]\[[^\]]*\]|\[([^\[\]]+)\](?:\[\w+[.][\w.]*\]|\([\w:/#-]*[./][\w:/.#-]*\))")
_SENTENCE = re.compile(r".*?[.?!](?= |$)(?<!e[.]g[.])(?<!i[.]e[.])")
_POINT = re.compile(r" *([-*]|\d+[.]) |\w+:$")


def first_sentence(cls: type) -> str:
    """The first sentence of the class's documentation. One that a formula goes on is cut where it can end."""
    paragraph = " ".join(documentation(cls).split("\n\n")[0].split()) or "(no documentation)"
    sentence = _SENTENCE.match(paragraph)
    if sentence:
        return sentence[0]
    if paragraph[-1] in ",:;":
        return f"{paragraph[:-1]}."
    return f"{paragraph.rpartition(': ')[0] or paragraph.rpartition(', ')[0] or paragraph}."


def documentation(cls: type) -> str:
    """The documentation of a class as plain text: references to pages are the words that they stand behind.

    A paragraph is one line, to be broken where it is shown; what is indented, as formulas are, stays as it is.
    """
    text = _LINK.sub(lambda link: link[1] or link[2], inspect.getdoc(cls) or "")
    return "\n\n".join(_joined(part) for part in text.split("\n\n"))


def _joined(paragraph: str) -> str:
    """A paragraph in one line; points of a list and sections begin lines of their own."""
    lines: list[str] = []
    for line in paragraph.splitlines():
        starts = not lines or line.startswith("    ") or _POINT.match(line) or lines[-1].startswith("    ")
        if starts and not (lines and lines[-1].startswith("    ") and line.startswith(8 * " ")):
            lines.append(line.rstrip())
        else:
            lines[-1] += f" {line.strip()}"
    return "\n".join(lines)


def describe_plugin(plugin: Plugin) -> Iterator[str]:
    """Lines that say where a plugin comes from, what it registers, and what is wrong with it."""
    origin = f"{plugin.distribution} {plugin.version}".rstrip()
    interface = plugin.interface or INTERFACE_VERSION
    yield f"{plugin.name} ({origin})" + ("" if interface == INTERFACE_VERSION else f", for interface {interface}")
    if plugin.problem:
        yield f"  SET ASIDE: {plugin.problem}"
    for conflict in plugin.conflicts:
        yield f"  NAME TAKEN: {conflict}"
    if plugin.seconds > SLOW:
        yield (
            f"  SLOW: loading it took {plugin.seconds:.1f} s of CPU time; heavy libraries are best imported where they "
            "are used"
        )
    by_kind: dict[str, list[str]] = {}
    for kind, name in plugin.components:
        by_kind.setdefault(kind, []).append(name)
    for kind, names in by_kind.items():
        yield f"  {kind}: {', '.join(sorted(names))}"
    if plugin.trackers:
        yield f"  tracker: {', '.join(sorted(plugin.trackers))}"


def describe_component(entry: Entry, registry: Registry) -> str:
    """Text with the documentation, the origin and the parameters of a component, and how a spec names it.

    Lines are as long as their paragraphs; see `invreg.commands.layout`.
    """
    model = parameters_model(entry.cls)
    schema = json_schema_of(model)
    origin = f"from {entry.plugin.distribution} {entry.plugin.version}".rstrip()
    lines = [
        f"{entry.kind} {entry.name}",
        f"{origin} ({entry.cls.__module__}.{entry.cls.__qualname__})",
        "",
        documentation(entry.cls) or "(no documentation)",
        "",
        "Parameters:" if schema.get("properties") else "No parameters.",
    ]
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else f"default {_default(info.default)}"
        lines.append(f"  {name}: {type_in_words(schema['properties'][name])}, {default}")
        lines += [f"{_INDENT}{' '.join(info.description.split())}"] if info.description else []
    if isinstance(entry.cls, TakesNamedClasses):
        lines += ["", f"What `parameters` can be for one {entry.cls.name_parameter}:"]
        lines += [f"    invreg describe {entry.kind} {entry.name} {entry.cls.name_parameter.upper()}"]
    lines += ["", "In a spec:", textwrap.indent(example_spec(entry, registry), "    ")]
    return "\n".join(lines)


def describe_named_class(entry: Entry, name: str) -> str:
    """Text with the documentation and the parameters of a class of another package that a component takes by name.

    Raises:
        SpecError: if the component takes none, or there is none of this name.
        InvregError: if the package cannot be imported.
    """
    cls = _takes_named_classes(entry, name)
    found = cls.class_named(name)
    properties = found.schema["properties"]
    lines = [
        f"{entry.kind} {entry.name}, {cls.name_parameter} {found.name}",
        f"({found.place})",
        "",
        found.documentation or "(no documentation)",
        "",
        "Parameters:" if properties else "No parameters.",
    ]
    for parameter, described in properties.items():
        default = "required" if parameter in found.schema["required"] else "optional"
        default = f"default {_default(described['default'])}" if "default" in described else default
        lines.append(f"  {parameter}: {described.get('annotation', 'any'):.100}, {default}")
        lines += [f"{_INDENT}{described['description']}"] if "description" in described else []
    return "\n".join(lines)


def describe_named_class_as_data(entry: Entry, name: str) -> dict[str, Any]:
    """What `describe_named_class` says, for programs.

    Raises:
        SpecError: if the component takes none, or there is none of this name.
        InvregError: if the package cannot be imported.
    """
    cls = _takes_named_classes(entry, name)
    found = cls.class_named(name)
    return {
        "kind": entry.kind,
        "name": entry.name,
        cls.name_parameter: found.name,
        "class": found.place,
        "documentation": found.documentation,
        **found.schema,
    }


def _takes_named_classes(entry: Entry, name: str) -> type[TakesNamedClasses]:
    if not isinstance(entry.cls, TakesNamedClasses):
        raise SpecError(
            f"{entry.kind} {entry.name} takes no class of another package by its name, such as {name!r:.80}",
            where="CLASS",
            expected=f"nothing after {entry.name}",
        )
    return entry.cls


def describe_as_data(entry: Entry, registry: Registry) -> dict[str, Any]:
    """What `describe_component` says, for programs: the JSON Schema of the parameters, and where they come from."""
    origin = {"distribution": entry.plugin.distribution, "version": entry.plugin.version, "plugin": entry.plugin.name}
    return {
        "kind": entry.kind,
        "name": entry.name,
        **origin,
        "class": f"{entry.cls.__module__}.{entry.cls.__qualname__}",
        "documentation": inspect.getdoc(entry.cls) or "",
        "example": example_spec(entry, registry),
        **json_schema_of(parameters_model(entry.cls)),
    }


def describe_tracker(offer: Offer) -> str:
    """Text with the documentation and the origin of a tracker; it has no parameters."""
    origin = f"from {offer.plugin.distribution} {offer.plugin.version}".rstrip()
    return "\n".join(
        [
            f"tracker {offer.name}",
            f"{origin} ({offer.cls.__module__}.{offer.cls.__qualname__})",
            "",
            documentation(offer.cls) or "(no documentation)",
            "",
            f"Ask for it with --track {offer.name}, or by the environment variable INVREG_TRACK.",
        ]
    )


def describe_tracker_as_data(offer: Offer) -> dict[str, Any]:
    """What `describe_tracker` says, for programs."""
    return {
        "kind": "tracker",
        "name": offer.name,
        "distribution": offer.plugin.distribution,
        "version": offer.plugin.version,
        "plugin": offer.plugin.name,
        "class": f"{offer.cls.__module__}.{offer.cls.__qualname__}",
        "documentation": inspect.getdoc(offer.cls) or "",
    }


def type_in_words(described: Mapping[str, Any]) -> str:
    """The type, unit and range of a parameter, given its part of the JSON Schema: `integer in pixels (>= 1, odd)`."""
    unit = f" in {described['unit']}" if "unit" in described else ""
    options = described.get("anyOf", [described])
    # What may be nothing has its unit beside the numbers.
    texts = [_type(option) + ("" if option.get("type") == "null" else unit) + _range(option) for option in options]
    return " or ".join(dict.fromkeys(texts))


def _type(described: Mapping[str, Any]) -> str:
    if NESTED_KEY in described:
        kind, _, base = str(described[NESTED_KEY]).partition(".")
        return with_article(kind) + (f" that is {with_article(base)}" if base else "")
    if "enum" in described:
        return "one of " + ", ".join(map(repr, described["enum"]))
    if "const" in described:
        return repr(described["const"])
    if "anyOf" in described:
        return type_in_words(described)
    if described.get("type") == "array":
        return _list_in_words(described)
    if "$ref" in described:
        return str(described["$ref"]).rsplit("/", 1)[-1]
    return {"null": "nothing", "object": "mapping"}.get(
        str(described.get("type")), str(described.get("type", "anything"))
    )


def _list_in_words(described: Mapping[str, Any]) -> str:
    if "prefixItems" in described:
        return f"[{', '.join(map(type_in_words, described['prefixItems']))}]"
    items = described.get("items")
    return f"list of {type_in_words(items)}" if isinstance(items, dict) else "list"


def _default(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:.6g}" if isinstance(value, float) and value != int(value) else repr(value)


def _range(described: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {described[key]:g}" for key, sign in signs.items() if key in described]
    if described.get("not") == {"multipleOf": 2}:
        bounds.append("odd")
    return f" ({', '.join(bounds)})" if bounds else ""
