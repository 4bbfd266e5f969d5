"""The JSON Schema of a spec: what is valid passes, what is wrong does not, and plugins are in it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import torch
from pydantic import BaseModel, Field

import invreg
from invreg import Registry, cli
from invreg.schema.kinds import KINDS
from invreg.specs.json_schema import spec_schema
from invreg.specs.yaml import parse_yaml

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "data": "photos",
    "operator": {"name": "gaussian_blur", "std": 2},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {"tv": {"name": "tv", "weight": 0.01}, "net": {"reconstructor": "unet", "trainer": "reconstruction"}},
    "analyses": ["quality", {"name": "examples", "count": 2}],
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return spec_schema(Registry.installed())


def problems(schema: dict[str, Any], content: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(content)]


def _documented() -> list[tuple[str, str]]:
    found = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```yaml[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if "\nmethods:" in match[1] and page.name != "plugins.md":  # that page's spec needs its own plugin
                found.append((f"{page.name}:{text[: match.start()].count(chr(10)) + 1}", match[1]))
    return found


SPECS = [
    *(
        (path.name, path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "specs").rglob("*.yaml"))
        if path.name != "references.yaml"  # values from the literature, which specs name
    ),
    *_documented(),
]


@pytest.mark.slow
def test_it_is_a_schema_with_everything_in_it(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    registry = Registry.installed()
    for kind in KINDS:
        for name in registry.names(kind):
            described = schema["$defs"][f"{kind}.{name}"]
            assert described["properties"]["name"] == {"const": name}
            assert set(described["properties"]) == {"name", *registry.parameters(kind, name).model_fields}
    text = json.dumps(schema)
    assert "ComponentSpec" not in text
    for reference in re.findall(r'"#/\$defs/([^"]+)"', text):
        assert reference in schema["$defs"]


@pytest.mark.parametrize(("name", "text"), SPECS, ids=[name for name, _ in SPECS])
def test_specs_that_run_are_valid(schema: dict[str, Any], name: str, text: str) -> None:
    assert problems(schema, parse_yaml(text, name)) == []


def test_enough_specs_were_found() -> None:
    assert len(SPECS) >= 8


@pytest.mark.parametrize(
    "change",
    [
        {"operator": "gaussian_blurr"},
        {"operator": {"name": "gaussian_blur", "stdd": 2}},
        {"operator": {"name": "gaussian_blur", "std": -1}},
        {"operator": {"name": "gaussian_blur", "std": "2"}},
        {"operator": {"name": "gaussian_blur", "boundary": "open"}},
        {"operator": "convolution"},  # its kernel is required
        {"operator": "tv"},
        {"noise": {"std": 0.1}},
        {"noise": "gaussian"},
        {"methods": {}},
        {"methods": {"a/b": "tv"}},
        {"methods": {"net": {"reconstructor": "unet", "trainr": "reconstruction"}}},
        {"methods": {"net": {"reconstructor": "unet", "trainer": {"name": "reconstruction", "epochs": 0.5}}}},
        {"methods": {"net": {"reconstructor": "unet", "trainer": {"name": "parameter_search", "trainer": "unet"}}}},
        {"metrics": []},
        {"analyses": "quality"},
        {"seed": -1},
        {"sead": 1},
        {"evaluation": {"batch_size": 0}},
        {"matrix": {"noise.std": 0.1}},
        {"matrix": {}},
        {"study_analyses": ["method_comparison"]},
        {"matrix": {"noise.std": [0.1]}, "study_analyses": ["quality"]},
    ],
    ids=json.dumps,
)
def test_wrong_specs_are_not(schema: dict[str, Any], change: dict[str, Any]) -> None:
    assert problems(schema, GOOD) == []
    assert problems(schema, {**GOOD, **change})


def test_a_spec_without_methods_needs_a_matrix(schema: dict[str, Any]) -> None:
    without = {key: value for key, value in GOOD.items() if key != "operator"}
    assert problems(schema, without)
    assert problems(schema, {**without, "matrix": {"operator": ["gaussian_blur", "identity"]}}) == []


class Corner(BaseModel):
    row: int
    column: int = 0


class Window(invreg.Operator):
    """What is seen through a window.

    Args:
        corner: where it begins.
        behind: what lies behind it.
        panes: what it is made of.
    """

    def __init__(
        self,
        corner: Corner,
        height: Annotated[int, Field(ge=1, le=9, description="its height", json_schema_extra={"unit": "pixels"})] = 3,
        behind: invreg.LinearOperator | None = None,
        panes: list[invreg.Operator] = [],  # noqa: B006
    ) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Square(invreg.Operator):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


class Same(invreg.LinearOperator):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _plugin(**components: type) -> SimpleNamespace:
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return components

    return SimpleNamespace(invreg_components=invreg_components)


@pytest.mark.parametrize(
    ("operator", "is_valid"),
    [
        ({"name": "window", "corner": {"row": 1}}, True),
        ({"name": "window", "corner": {"row": "1"}}, False),
        ({"name": "window"}, False),
        ("window", False),
        ({"name": "window", "corner": {"row": 1}, "height": 10}, False),
        ({"name": "window", "corner": {"row": 1}, "behind": None}, True),
        ({"name": "window", "corner": {"row": 1}, "behind": "same"}, True),
        ({"name": "window", "corner": {"row": 1}, "behind": {"name": "same"}}, True),
        ({"name": "window", "corner": {"row": 1}, "behind": "square"}, False),
        ({"name": "window", "corner": {"row": 1}, "panes": ["square", {"name": "same"}]}, True),
        ({"name": "window", "corner": {"row": 1}, "panes": "square"}, False),
        ("shared", False),
        ("beta:shared", True),
        ({"name": "alpha:shared"}, True),
    ],
    ids=lambda value: json.dumps(value),
)
def test_components_of_new_plugins_are_in_it(operator: Any, is_valid: bool) -> None:
    plugins = {
        "mine": _plugin(window=Window, square=Square, same=Same),
        "alpha": _plugin(shared=Square),
        "beta": _plugin(shared=Same),
    }
    schema = spec_schema(Registry(plugins))
    jsonschema.Draft202012Validator.check_schema(schema)
    window = schema["$defs"]["operator.window"]
    assert window["description"] == "What is seen through a window."
    height = {"default": 3, "description": "its height", "maximum": 9, "minimum": 1, "type": "integer"}
    assert window["properties"]["height"] == {**height, "unit": "pixels"}
    found = problems({"$ref": "#/$defs/operator", "$defs": schema["$defs"]}, operator)
    assert (found == []) is is_valid


@pytest.mark.slow
def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        return int(done.value.code or 0)

    assert call("schema", "--output", str(tmp_path / "schema.json")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "schema.json")
    assert call("schema") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "schema.json").read_text(encoding="utf-8"))
    assert call("schema", "--output", str(tmp_path / "no" / "schema.json")) == 1
    assert "cannot be written" in capsys.readouterr().err
