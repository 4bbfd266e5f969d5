"""What a person writes: the models of a spec, and reading it from YAML, JSON or Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from invreg.component import Component
from invreg.errors import SpecError, did_you_mean


class ComponentSpec(BaseModel):
    """A component by name, with its parameters beside the name: `{name: gaussian_blur, std: 2.0}`.

    A bare string is a name without parameters; a component instance stands for the spec it was built with.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Component):
            from invreg.registry import spec_of

            return spec_of(value)
        return value

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as given."""
        return dict(self.model_extra or {})


class MethodSpec(BaseModel):
    """A reconstructor and how it is trained. A bare reconstructor (a name, or with parameters) is not trained."""

    model_config = ConfigDict(extra="forbid")

    reconstructor: ComponentSpec
    trainer: ComponentSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        is_reconstructor = isinstance(value, str | Component) or (isinstance(value, Mapping) and "name" in value)
        return {"reconstructor": value} if is_reconstructor else value


class EvaluationSpec(BaseModel):
    """How the test images are reconstructed. It changes no result beyond rounding."""

    model_config = ConfigDict(extra="forbid")

    batch_size: Annotated[int, Field(ge=1, description="images reconstructed at once")] = 16


_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")


class Spec(BaseModel):
    """One experiment: a problem, methods that solve it, and what is to be found out about them."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(description="shown at the head of the report")] = "Untitled"
    seed: Annotated[int, Field(ge=0, strict=True, description="all random choices derive from it")] = 0
    data: Annotated[ComponentSpec, Field(description="the images: a dataset")]
    operator: Annotated[ComponentSpec, Field(description="the forward operator F")]
    noise: Annotated[ComponentSpec, Field(description="the noise on F(x)")] = ComponentSpec(name="none")
    methods: Annotated[dict[str, MethodSpec], Field(min_length=1, description="label: reconstructor and trainer")]
    metrics: Annotated[list[ComponentSpec], Field(min_length=1)] = [
        ComponentSpec(name="psnr"),
        ComponentSpec(name="ssim"),
    ]
    analyses: list[ComponentSpec] = []
    evaluation: EvaluationSpec = EvaluationSpec()

    @field_validator("methods")
    @classmethod
    def _labels(cls, methods: dict[str, MethodSpec]) -> dict[str, MethodSpec]:
        for label in methods:
            if not _LABEL.fullmatch(label) or label.endswith((".", " ")):
                raise ValueError(f"the label {label!r} cannot name a folder: use letters, digits, space and _ . + -")
        if len({label.casefold() for label in methods}) < len(methods):
            raise ValueError("two labels differ only in upper and lower case")
        return methods


def read_spec(source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> Spec:
    """A spec from a model, a mapping or a YAML or JSON file, with `path=value` overrides applied.

    Raises:
        SpecError: if the file is missing or malformed, or the structure is wrong (names and parameters of
            components are checked later, by the registry).
    """
    try:
        return Spec.model_validate(read_content(source, overrides))
    except ValidationError as error:
        raise spec_errors(error, "", Spec) from None


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
        content = _override(content, override)
    return dict(content)


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML (or JSON) text; unsafe tags and duplicate keys are refused."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise SpecError(
            f"not valid YAML: {problem}",
            where=place,
            hint="check the indentation, colons and quotes around here",
        ) from None


def dump_yaml(content: Any) -> str:
    """YAML that `parse_yaml` reads back to the same content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def spec_errors(error: ValidationError, where: str, model: type[BaseModel]) -> SpecError:
    """One readable error for all that pydantic found wrong below `where`."""
    problems = []
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in (where, *detail["loc"]) if part != "")
        given = detail.get("input")
        if detail["type"] == "extra_forbidden":
            known = model.model_fields if len(detail["loc"]) == 1 else {}
            problems.append(
                SpecError("unknown parameter", where=path, hint=did_you_mean(str(detail["loc"][-1]), known))
            )
        elif detail["type"] == "missing":
            problems.append(SpecError("missing", where=path, expected="a value"))
        else:
            message = detail["msg"].removeprefix("Value error, ")
            shown = (
                f" (given: {given!r})" if not isinstance(given, Mapping | Component) and len(repr(given)) < 80 else ""
            )
            problems.append(SpecError(message[0].lower() + message[1:] + shown, where=path or None))
    return join_errors(problems)


def join_errors(problems: list[SpecError]) -> SpecError:
    """One error for several problems, so that a spec need not be mended one message at a time."""
    if len(problems) == 1:
        return problems[0]
    return SpecError(f"{len(problems)} problems in the spec\n" + "\n".join(str(problem) for problem in problems))


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
            f"holds a {type(content).__name__}",
            where=str(path),
            expected="a mapping with data, operator and methods",
        )
    return content


def set_path(content: Any, path: str, value: Any, where: str) -> Any:
    """A copy of `content` with the value at a dotted path changed; shorthands on the way are written out.

    Raises:
        SpecError: if the path leads below a plain value or beyond the end of a list.
    """
    return _set(content, path.split("."), value, where)


def _override(content: Any, override: str) -> Any:
    path, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not all(path.split(".")):
        raise SpecError(f"cannot set {override!r}", where="--set", expected="path=value, as in noise.std=0.02")
    where = f"--set {path}"
    return set_path(content, path, parse_yaml(text, where), where)


def _set(node: Any, keys: list[str], value: Any, where: str) -> Any:
    if not keys:
        return value
    key, *rest = keys
    if node is None:
        node = {}
    if isinstance(node, str):  # the shorthand for a method, or for a component without parameters
        node = {"reconstructor": node} if key in MethodSpec.model_fields else {"name": node}
    if key == "reconstructor" and isinstance(node, Mapping) and "name" in node:
        node = {"reconstructor": node}  # a method written as its reconstructor alone
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise SpecError(
                f"{key!r} is no position in a list of {len(node)}", where=where, expected=f"0 to {len(node) - 1}"
            )
        return [_set(item, rest, value, where) if index == int(key) else item for index, item in enumerate(node)]
    if not isinstance(node, Mapping):
        raise SpecError(f"{key!r} lies below a plain value ({node!r})", where=where, expected="a path to a parameter")
    return {**node, key: _set(node.get(key), rest, value, where)}


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: 1e-4 is a number, and a key that is written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                key = repr(key)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(
    r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)|[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Short lists of plain values on one line."""


def _represent_list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, str | int | float | bool) or item is None for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Dumper.add_representer(list, _represent_list)
