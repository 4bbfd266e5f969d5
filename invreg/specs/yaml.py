"""YAML as people expect it: `1e-4` is a number, a key that is written twice is an error, and nothing is executed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from invreg.errors import SpecError

#: Characters of a text, values that it holds (each as often as aliases repeat it), and how deep they lie.
MOST_CHARACTERS, MOST_VALUES, MOST_LEVELS = 400_000, 20_000, 64

#: Whole numbers that every program can read.
INTEGERS = range(-(2**63), 2**63)


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML (or JSON) text: mappings, lists, texts, numbers, truth values and nothing.

    Size, depth and aliases are bounded before anything is made of them.

    Raises:
        SpecError: with line and column, if it is malformed or too large, or holds something else.
    """
    if len(text) > MOST_CHARACTERS:
        raise SpecError(
            f"more than {MOST_CHARACTERS:,} characters", where=where, expected="a text that a person can read"
        )
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        is_layout = isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
        raise _refused(
            error.problem or "malformed", error.problem_mark, where, _LAYOUT if is_layout else None
        ) from None
    except yaml.reader.ReaderError as error:
        lines = text[: error.position].splitlines() or [""]
        place = f"{where}, line {len(lines)}, column {len(lines[-1]) + 1}"
        raise SpecError(f"not valid YAML: the character U+{ord(text[error.position]):04X}", where=place) from None
    except (ValueError, OverflowError) as error:  # what the scanner makes of an escape or a version
        raise _refused(str(error), loader and loader.get_mark(), where) from None


def dump_yaml(content: Any) -> str:
    """YAML that `parse_yaml` reads back to the same content.

    Raises:
        SpecError: if a text holds half a character (a lone surrogate), which no file can.
    """
    if isinstance(content, dict) and content:
        return "".join(_dumped(_Section(key, f"{key!r}: {value!r}", value)) for key, value in content.items())
    return _dump(content)


@dataclass(frozen=True)
class _Section:
    """A section of a mapping, known by its text in Python."""

    key: Any = field(compare=False)
    text: str
    value: Any = field(compare=False)


@lru_cache(256)
def _dumped(section: _Section) -> str:
    """The cells of a study have most of their sections in common, and writing one takes milliseconds."""
    return _dump({section.key: section.value})


def _dump(content: Any) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


_LAYOUT = "check the indentation, colons and quotes around here"


def _refused(problem: str, mark: Any, where: str, hint: str | None = None) -> SpecError:
    place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
    return SpecError(f"not valid YAML: {problem}", where=place, hint=hint)


_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str")}
_COLLECTIONS = {yaml.SequenceNode: f"{_TAG}seq", yaml.MappingNode: f"{_TAG}map"}


class _Loader(yaml.SafeLoader):
    """Checks every value when it is composed, before Python objects are made of any."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._level = 0
        #: Of the nodes that are complete: how many values they hold, and how many levels of them.
        self._extents: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._extents:
                raise ComposerError(None, None, f"*{event.anchor} stands inside itself", mark)
            values, levels = self._extents[id(node)]
            self._count(values, levels, mark)
            return node
        before = self._values
        self._level += 1
        self._count(1, 0, mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        levels = 1 + max((self._extents[id(child)][1] for child in _children(node)), default=0)
        self._extents[id(node)] = self._values - before, levels
        is_key = index is None and isinstance(parent, yaml.MappingNode)
        self._check(node, is_key)
        return node

    def _count(self, values: int, levels: int, mark: Any) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES:,} values, aliases written out", mark)
        if self._level + levels > MOST_LEVELS:
            raise ComposerError(None, None, f"nested more than {MOST_LEVELS} deep", mark)

    def _check(self, node: Any, is_key: bool) -> None:
        """Refuses what is not one of the values that a spec can hold."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _MERGE and not is_key:
                node.tag = f"{_TAG}str"
            if node.tag != _MERGE:
                self._check_scalar(node)
            return
        if is_key:
            raise ConstructorError(None, None, "a list or a mapping as a key", node.start_mark)
        if node.tag != _COLLECTIONS[type(node)]:
            raise ConstructorError(None, None, _foreign(node.tag), node.start_mark)
        keys = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node)
            if key in keys:
                raise ConstructorError(None, None, f"the key {key!r} is written twice", key_node.start_mark)
            keys.add(key)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        if node.tag == f"{_TAG}timestamp":
            problem = f"{node.value!r} reads as a date; put a text like this in quotes"
            raise ConstructorError(None, None, problem, node.start_mark)
        if node.tag not in _SCALARS:
            raise ConstructorError(None, None, _foreign(node.tag), node.start_mark)
        kind = node.tag.removeprefix(_TAG)
        try:
            value = self.construct_object(node)
        except (ValueError, LookupError, OverflowError):
            problem = f"{node.value!r} cannot be read as {kind}"
            raise ConstructorError(None, None, problem, node.start_mark) from None
        too_large = isinstance(value, int) and value not in INTEGERS
        if too_large or (isinstance(value, float) and math.isinf(value) and "inf" not in node.value.lower()):
            raise ConstructorError(None, None, f"the number {node.value} is too large", node.start_mark)

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        try:  # JSON writes characters beyond U+FFFF as two escapes
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise ConstructorError(None, None, f"half a character in {text!r}", node.start_mark) from None


def _children(node: Any) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _foreign(tag: str) -> str:
    return f"the tag {tag.replace(_TAG, '!!')}: a spec holds texts, numbers, true, false, null, lists and mappings"


def _pattern(*forms: str) -> re.Pattern[str]:
    return re.compile(f"^(?:{'|'.join(forms)})$")


# Without the numbers to the base 60 of YAML 1.1: 1:30 is a text. No two parts of a pattern can take the same digits, so
# that long texts are decided as quickly as short ones.
_INT = _pattern(r"[-+]?0b[0-1_]+", r"[-+]?0[0-7_]+", r"[-+]?(?:0|[1-9][0-9_]*)", r"[-+]?0x[0-9a-fA-F_]+")
_FLOAT = _pattern(
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+",
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)",
    r"[-+]?\.(?:inf|Inf|INF)",
    r"\.(?:nan|NaN|NAN)",
)
_REPLACED = {f"{_TAG}int", f"{_TAG}float", f"{_TAG}value"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Short lists of plain values on one line; texts that any YAML could read as something else in quotes."""


# What this loader, YAML 1.1 or YAML 1.2 read as a number: a text that looks like it is quoted.
_Dumper.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Dumper.add_implicit_resolver(f"{_TAG}int", _pattern("[-+]?0o[0-7_]+"), list("-+0"))
_Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


def _represent_list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, str | int | float | bool) or item is None for item in value)
    return dumper.represent_sequence(f"{_TAG}seq", value, flow_style=plain)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError(f"half a character in {value!r}", expected="a text that UTF-8 can write") from None
    return dumper.represent_scalar(f"{_TAG}str", value, style=None if value.isprintable() else '"')


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
