"""Reading specs: from YAML and JSON files, mappings and models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from invreg.errors import SpecError, did_you_mean
from invreg.specs.overrides import apply_override
from invreg.specs.spec import Spec, parse_spec
from invreg.specs.yaml import parse_yaml


def read_spec(source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> Spec:
    """A spec from a model, a mapping or a YAML or JSON file, with `path=value` overrides applied.

    Raises:
        SpecError: if the file is missing or malformed, or the structure is wrong (names and parameters of
            components are checked later, by the registry).
    """
    return parse_spec(read_content(source, overrides))


def read_content(source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a spec, or the spec of a study, says, with `path=value` overrides applied; its structure is not checked.

    Raises:
        SpecError: if the file is missing or malformed, or an override has no place.
    """
    if isinstance(source, Spec):
        content: Any = source.model_dump()
    elif isinstance(source, Mapping):
        content = dict(source)
    else:
        content = _read_file(Path(source).expanduser())
    for override in overrides:
        content = apply_override(content, override)
    return dict(content)


#: What a file can hold instead of a mapping.
_KINDS = {list: "list", str: "text", int: "number", float: "number", bool: "truth value"}


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else None
        raise SpecError(
            "no such file", where=str(path), expected="a YAML or JSON file with a spec", hint=near
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read: {error}", where=str(path), expected="a YAML or JSON file in UTF-8") from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise SpecError(
            "is empty" if content is None else f"holds a {_KINDS.get(type(content), 'value')}",
            where=str(path),
            expected="a mapping with data, operator and methods",
        )
    return content
