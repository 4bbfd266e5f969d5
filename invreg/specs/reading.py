"""Reading specs: from YAML and JSON files, mappings and models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.errors import SpecError, did_you_mean
from invreg.files import usable_path
from invreg.specs.overrides import apply_override
from invreg.specs.yaml import INTEGERS, MOST_CHARACTERS, MOST_LEVELS, MOST_VALUES, parse_yaml

if TYPE_CHECKING:
    from invreg.specs.spec import Spec


def read_spec(source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> Spec:
    """A spec from a model, a mapping or a YAML or JSON file, with `path=value` overrides applied.

    Raises:
        SpecError: if the file is missing or malformed, or the structure is wrong (names and parameters of
            components are checked later, by the registry).
    """
    from invreg.specs.spec import parse_spec

    return parse_spec(read_content(source, overrides))


def read_content(source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a spec, or the spec of a study, says, with `path=value` overrides applied; its structure is not checked.

    Raises:
        SpecError: if the file is missing or malformed, or an override has no place.
    """
    content: Any
    if isinstance(source, Mapping):
        content = dict(source)
    elif isinstance(source, str | Path):
        path = usable_path(source, "spec")
        content = _with_references(_read_file(path), path.parent)
    else:
        from invreg.specs.spec import Spec  # it knows components, and so torch: a file is read without them

        content = source.model_dump() if isinstance(source, Spec) else _read_file(usable_path(source, "spec"))
    if isinstance(overrides, str) or not isinstance(overrides, Iterable):
        raise SpecError(repr(overrides), where="overrides", expected="a list of texts, as in ['noise.std=0.02']")
    for override in overrides:
        content = apply_override(content, override)
    content = _with_references(content, Path())
    check_values(content)
    return dict(content)


def _with_references(content: Any, folder: Path) -> Any:
    """The content with the values from the literature, where it names a file of them: a study keeps them with its spec.

    Args:
        content: of a spec.
        folder: where a relative path starts: beside the spec, or the current directory for what is no file.
    """
    if not isinstance(content, Mapping) or not isinstance(named := content.get(REFERENCES), str | Path):
        return content
    path = folder / usable_path(named, REFERENCES)
    try:
        found = _read_file(path, "study analyses and lists of references, each with source and values")
    except SpecError as error:
        error.where = f"{REFERENCES}: {error.where}"
        raise
    return {**content, REFERENCES: found}


#: No text in a spec is longer: a title, a path.
LONGEST_TEXT = 4096

# Control characters but tab and line feed, halves of characters, and the two that XML cannot hold.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_values(content: Any) -> None:
    """Refuses what no file or no machine can hold: characters, long texts, whole numbers beyond 64 bits, size, depth.

    Raises:
        SpecError: with the path of the value.
    """
    count = 0

    def check(value: Any, path: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1
        if count > MOST_VALUES:
            raise SpecError(f"more than {MOST_VALUES:,} values", expected="a spec that a person can read")
        if len(path) > MOST_LEVELS:
            raise SpecError(f"nested more than {MOST_LEVELS} deep", where=_dotted(path))
        if isinstance(value, Mapping):
            for key, item in value.items():
                _check_plain(key, (*path, "(a key)"))
                check(item, (*path, key))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                check(item, (*path, index))
        else:
            _check_plain(value, path)

    check(content, ())


def _check_plain(value: Any, path: tuple[Any, ...]) -> None:
    if isinstance(value, str | Path):
        text = str(value)
        if len(text) > LONGEST_TEXT:
            expected = f"at most {LONGEST_TEXT:,} characters"
            raise SpecError(f"a text of {len(text):,} characters", where=_dotted(path), expected=expected)
        if odd := _UNWRITABLE.search(text):
            raise SpecError(
                f"{text!r} holds the character U+{ord(odd[0]):04X}",
                where=_dotted(path),
                expected="a text without control characters",
            )
    elif isinstance(value, int) and value not in INTEGERS:
        expected = "a number from -2^63 to 2^63 - 1"
        raise SpecError("a whole number beyond 64 bits", where=_dotted(path), expected=expected)


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


#: Where a study has values from the literature, or names a file of them.
REFERENCES = "references"
_OF_A_SPEC = "data, operator and methods"

#: What a file can hold instead of a mapping.
_KINDS = {list: "list", str: "text", int: "number", float: "number", bool: "truth value"}


def _read_file(path: Path, holds: str = _OF_A_SPEC) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(4 * MOST_CHARACTERS + 1)  # at most: /dev/zero never ends
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else None
        raise SpecError(
            "no such file", where=str(path), expected=f"a YAML or JSON file with {holds}", hint=near
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        raise _unreadable(error, path) from None
    return parse_file(raw, path, holds)


def parse_file(raw: bytes, path: Path, holds: str = _OF_A_SPEC) -> dict[str, Any]:
    """The mapping that the content of a spec file holds.

    Args:
        raw: the content.
        path: the file, for messages.
        holds: what it should hold, for messages.

    Raises:
        SpecError: if it is not a mapping in YAML or JSON.
    """
    try:
        text = raw.decode("utf-8-sig")
    except ValueError as error:
        raise _unreadable(error, path) from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise SpecError(
            "is empty" if content is None else f"holds a {_KINDS.get(type(content), 'value')}",
            where=str(path),
            expected=f"a mapping with {holds}",
        )
    return content


def _unreadable(error: Exception, path: Path) -> SpecError:
    reason = error.strerror if isinstance(error, OSError) else error
    return SpecError(f"cannot be read: {reason}", where=str(path), expected="a YAML or JSON file in UTF-8")
