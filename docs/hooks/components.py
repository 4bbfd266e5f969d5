"""Tables of the built-in components, made from the registry while the site is built.

`<!-- components: operator -->` in a page is replaced by all components of that kind with their parameters, and
`<!-- parameters: operator radon -->` by the parameters of one of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_KIND = re.compile(r"^<!-- components: (?P<kind>\w+) -->$", re.MULTILINE)
_PARAMETERS = re.compile(r"^<!-- parameters: (?P<kind>\w+) (?P<name>\w+) -->$", re.MULTILINE)
# Where the prose of a Google-style docstring ends.
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Example|Examples|Source|Sources)\b[^\n]*:", re.MULTILINE)
_REFERENCE = re.compile(r"\[(`[^`]+`)\]\[[^\]]*\]")
# In formulas, characters that mean something to Markdown are meant as they are.
_CODE_OR_SPECIAL = re.compile(r"`[^`]*`|[*_\[\]<]")


def on_page_markdown(markdown: str, **_: Any) -> str:
    markdown = _KIND.sub(lambda match: "\n".join(_kind(match["kind"])), markdown)
    return _PARAMETERS.sub(lambda match: "\n".join(_parameters(_registry().entry(*match.groups()))), markdown)


@cache
def _registry() -> Any:
    from invreg import Registry

    return Registry.installed()


def _kind(kind: str) -> Iterator[str]:
    registry = _registry()
    entries = [registry.entry(kind, name) for name in registry.names(kind)]
    for entry in entries:
        # What else is installed where the site is built does not belong into it.
        if entry.plugin.distribution == "invreg":
            yield from _component(entry)


def _component(entry: Any) -> Iterator[str]:
    yield f"### `{entry.name}` {{ #{entry.kind}-{entry.name} }}\n"
    yield _prose(inspect.getdoc(entry.cls) or "") + "\n"
    yield from _parameters(entry)


def _parameters(entry: Any) -> Iterator[str]:
    from invreg.schema.parameters import parameters_model

    model = parameters_model(entry.cls)
    if not model.model_fields:
        yield "No parameters.\n"
        return
    properties = model.model_json_schema()["properties"]
    yield "| parameter | type | default | |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        cells = (f"`{name}`", _type(info, properties[name]), _default(info), _meaning(info))
        yield "| " + " | ".join(cell.replace("|", "&#124;").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _prose(documentation: str) -> str:
    """The first paragraph: `invreg describe` and the pages on methods say more."""
    section = _SECTION.search(documentation)
    prose = (documentation[: section.start()] if section else documentation).split("\n\n")[0].strip()
    # References lead into the API pages, where not every module of a plugin is listed.
    return _escaped(re.sub(r"[:,]$", ".", _REFERENCE.sub(r"\1", prose)))


def _escaped(text: str) -> str:
    return _CODE_OR_SPECIAL.sub(lambda match: match[0] if match[0][0] == "`" else f"&#{ord(match[0])};", text)


def _type(info: Any, described: dict[str, Any]) -> str:
    from invreg.plugins import describe
    from invreg.schema.parameters import nested

    mark = nested(info.rebuild_annotation())
    if mark:
        optional = any(option.get("type") == "null" for option in described.get("anyOf", []))
        return f"a {mark.kind}" + (" or nothing" if optional else "")
    text = describe.type_in_words(described)
    return re.sub(r"'(\w+)'", r"`\1`", text).replace(">=", "≥").replace("<=", "≤")


def _default(info: Any) -> str:
    if info.is_required():
        return "**required**"
    default = info.default
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:.6g}`" if isinstance(default, float) else f"`{default}`"


def _meaning(info: Any) -> str:
    parts = [_escaped(info.description or "")]
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "search" in extra:
        search = extra["search"]
        if "choices" in search:
            parts.append("searched among " + ", ".join(f"`{choice}`" for choice in search["choices"]))
        else:
            scale = ", logarithmic" if search.get("log") else ""
            parts.append(f"searched from {search['low']:g} to {search['high']:g}{scale}")
    return "; ".join(part for part in parts if part)
