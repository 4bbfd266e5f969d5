"""What is refused when a plugin registers: a foreign interface, bad names, constructors that are no schema."""

from __future__ import annotations

import importlib.util
import re
import textwrap
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

import invreg
from invreg import Registry
from invreg.components.hookspecs import INTERFACE_VERSION

HEAD = """
from __future__ import annotations
import dataclasses
import enum
from typing import Annotated, Any, Literal, NamedTuple, NewType
from collections.abc import Callable, Mapping
from pathlib import Path
import torch
from pydantic import Field
import invreg


class Kind(enum.Enum):
    weak = 1
    strong = 2


class Pair(NamedTuple):
    first: int = 1


@dataclasses.dataclass
class Record:
    first: int = 1


Choice = NewType("Choice", int)
"""

COMPONENT = """
class Mine(invreg.Operator):
    def __init__(
        self,
        level: float = 1.0,
        {parameter}
    ) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@invreg.hookimpl
def invreg_components() -> dict[str, type]:
    return {{"mine": Mine}}
"""

count = 0


def problem_of(source: str, folder: Path) -> str:
    """What a registry says about a plugin with this source; every file and line in it is shown as its text."""
    path = folder / "their_plugin.py"
    path.write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
    (plugin,) = Registry({"theirs": _module(path)}).plugins
    lines = path.read_text(encoding="utf-8").splitlines()
    return re.sub(
        rf"{re.escape(str(path))}:(\d+)", lambda match: f"<{lines[int(match[1]) - 1].strip()}>", plugin.problem or ""
    )


def _module(path: Path) -> ModuleType:
    global count
    count += 1
    specification = importlib.util.spec_from_file_location(f"their_plugin_{count}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    return module


def declares(value: str) -> str:
    return f"@invreg.hookimpl\ndef invreg_interface() -> int:\n    return {value}\n"


# -- interface versions


def test_a_plugin_for_this_interface_is_let_in(tmp_path: Path) -> None:
    assert invreg.INTERFACE_VERSION == INTERFACE_VERSION == 1
    assert problem_of(COMPONENT.format(parameter="") + declares(str(INTERFACE_VERSION)), tmp_path) == ""
    assert problem_of(COMPONENT.format(parameter=""), tmp_path) == ""


def test_a_plugin_for_a_later_interface_is_refused_before_its_hooks_are_read(tmp_path: Path) -> None:
    unknown = "@invreg.hookimpl\ndef invreg_dreams(sheep: int) -> None: ...\n"
    later = "@invreg.hookimpl\ndef invreg_run_started(folder: str, planet: str) -> None: ...\n"
    assert problem_of(unknown + later + declares("2"), tmp_path).splitlines() == [
        f"written for plugin interface 2, and this invreg ({invreg.__version__}) speaks interface 1",
        "  try: upgrade invreg, or ask the plugin's author for a version for this one",
    ]


def test_an_interface_that_is_no_longer_spoken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invreg.components.hookspecs.OLDEST_INTERFACE", 3)
    monkeypatch.setattr("invreg.components.hookspecs.INTERFACE_VERSION", 5)
    problem = problem_of(COMPONENT.format(parameter=""), tmp_path)
    assert "written for plugin interface 1" in problem
    assert "interfaces 3 to 5" in problem
    assert "try: upgrade the plugin" in problem
    assert problem_of(COMPONENT.format(parameter="") + declares("4"), tmp_path) == ""


@pytest.mark.parametrize("value", ["None", "True", "0", "-1", "1.0", "'1'", "[1]"])
def test_an_interface_that_is_no_number_is_refused(value: str, tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter="") + declares(value), tmp_path)
    assert "invreg_interface() returned" in problem
    assert problem.startswith("<@invreg.hookimpl>, invreg_interface")


def test_an_interface_that_is_not_marked_is_not_overlooked(tmp_path: Path) -> None:
    source = COMPONENT.format(parameter="") + "def invreg_interface() -> int:\n    return 2\n"
    problem = problem_of(source, tmp_path)
    assert problem.startswith("<def invreg_interface() -> int:>")
    assert "@invreg.hookimpl" in problem


def test_an_interface_alone_is_no_plugin(tmp_path: Path) -> None:
    assert "implements no hook" in problem_of(declares("1"), tmp_path)


def test_our_own_plugins_say_what_they_are_written_for() -> None:
    own = [plugin for plugin in Registry.installed().plugins if plugin.distribution == "invreg"]
    assert len(own) >= 8
    assert all(plugin.problem is None and plugin.interface == INTERFACE_VERSION for plugin in own)


# -- constructors that are no schema


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("width=2,", "parameter 'width' has no annotation"),
        ("*widths: int,", "takes *widths"),
        ("**widths: int,", "takes **widths"),
        ("name: str = 'me',", "parameter 'name'"),
        ("_width: int = 2,", "parameter '_width'"),
        ("width: Callable[[int], int] | None = None,", "parameter 'width' takes a function"),
        ("width: Annotated[float, Field(gt=0)] = -1.0,", "the default of 'width' is -1.0"),
        ("width: int = 'two',", "the default of 'width' is 'two'"),
    ],
)
def test_the_file_and_line_to_change_are_named(parameter: str, message: str, tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter=parameter), tmp_path)
    assert message in problem
    assert problem.startswith(f"<{parameter}>, Mine.__init__: ")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("weight: torch.Tensor | None = None,", "takes torch.Tensor, which no spec can say"),
        ("width: Annotated[str, Field(gt=0)] = None,", "has a range, and its type is str"),
        ("width: list[Annotated[str, Field(gt=0)]] = [],", "has a range, and its type is str"),
        ("kind: type = int,", "takes type"),
        ("kind: Kind = None,", "expected: Literal['weak', 'strong']"),
        ("pair: Pair = None,", "its fields as parameters of their own"),
        ("record: Record = None,", "its fields as parameters of their own"),
        ("widths: set[int] = None,", "expected: a list or a tuple"),
        ("widths: dict[int, float] = None,", "texts as keys"),
        ("widths: list[type] = [],", "takes type"),
        ("width: Any = torch.float32,", "the default of 'width' is torch.float32"),
        ("model_config: int = 1,", "this one is reserved"),
    ],
)
def test_types_that_no_spec_can_say_are_refused_with_their_line(parameter: str, message: str, tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter=parameter), tmp_path)
    assert message in problem
    assert problem.startswith(f"<{parameter}>, Mine.__init__: ")


def test_names_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter="width: Missing = None,"), tmp_path)
    assert problem.startswith("<def __init__(>, Mine.__init__: ")
    assert "'Missing' is not defined" in problem


@pytest.mark.parametrize(
    "parameter",
    [
        "width: Annotated[float | None, Field(gt=0)] = None,",
        "size: tuple[Annotated[int, Field(ge=1)], ...] | Literal['all'] = 'all',",
        "widths: Mapping[str, list[float]] = {},",
        "file: Path = Path('x'),",
        "anything: Any = None,",
        "choice: Choice = 1,",
        "inner: invreg.Operator | None = None,",
        "copy: int = 1,",
    ],
)
def test_types_that_a_spec_can_say_are_let_in(parameter: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert problem_of(COMPONENT.format(parameter=parameter), tmp_path) == ""


def test_positional_only_parameters_are_refused(tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter="/,"), tmp_path)
    assert problem.startswith("<level: float = 1.0,>")
    assert "positional only" in problem


def test_an_inherited_constructor_is_named_where_it_stands(tmp_path: Path) -> None:
    derived = COMPONENT.format(parameter="width=2,").replace(
        "@invreg.hookimpl", "class Derived(Mine):\n    pass\n\n\n@invreg.hookimpl"
    )
    problem = problem_of(derived.replace('"mine": Mine', '"derived": Derived'), tmp_path)
    assert problem.startswith("<width=2,>, Mine.__init__")


# -- names


@pytest.mark.parametrize("name", ["'two words'", "'a-b'", "''", "'1st'", "3", "None", "'a:b'"])
def test_names_that_are_no_identifiers_are_refused(name: str, tmp_path: Path) -> None:
    source = COMPONENT.format(parameter="").replace('"mine": Mine', f"\n        {name}: Mine,\n    ")
    problem = problem_of(source, tmp_path)
    assert problem.startswith(f"<{name}: Mine,>, invreg_components: registers the name {name}")


@pytest.mark.parametrize("name", ["null", "true", "No", "off"])
def test_names_that_yaml_does_not_read_as_texts_are_refused(name: str, tmp_path: Path) -> None:
    problem = problem_of(COMPONENT.format(parameter="").replace('"mine"', f'"{name}"'), tmp_path)
    assert "YAML" in problem


# -- plugins that do not behave


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "raise RuntimeError('no licence')", "1 / 0"])
def test_a_plugin_that_raises_while_it_registers_is_set_aside_with_its_line(statement: str, tmp_path: Path) -> None:
    source = f"@invreg.hookimpl\ndef invreg_components():\n    {statement}\n"
    assert problem_of(source, tmp_path).endswith(f"(<{statement}>)")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("torch.set_default_dtype(torch.float64)", "torch's default dtype"),
        ("torch.set_default_device('meta')", "torch's default device"),
        ("torch.set_grad_enabled(False)", "torch's grad mode"),
        ("os.chdir('/')", "the working directory"),
    ],
)
def test_a_plugin_that_changes_what_everybody_shares_is_set_aside(statement: str, what: str, tmp_path: Path) -> None:
    source = COMPONENT.format(parameter="").replace("    return {", f"    {statement}\n    return {{")
    folder = Path.cwd()
    assert f"changes {what} of everybody" in problem_of(f"import os\n{source}", tmp_path)
    assert Path.cwd() == folder
    assert torch.get_default_dtype() == torch.float32
    assert torch.empty(0).device == torch.device("cpu")
    assert torch.is_grad_enabled()


def test_a_working_directory_that_is_gone_is_no_concern_of_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert problem_of(COMPONENT.format(parameter=""), tmp_path) == ""


def test_what_a_plugin_prints_is_kept_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        problem_of(COMPONENT.format(parameter="").replace("    return {", "    print('hello')\n    return {"), tmp_path)
        == ""
    )
    assert capsys.readouterr() == ("", "hello\n")


def test_one_package_cannot_register_a_name_twice(tmp_path: Path) -> None:
    from invreg.plugins.discovery import Plugin

    path = tmp_path / "their_plugin.py"
    path.write_text(HEAD + COMPONENT.format(parameter=""), encoding="utf-8")
    registry = Registry()
    for name in ("first", "second"):
        registry._admit(Plugin(name, "theirs", "1"), _module(path))
    first, second = registry.plugins
    assert first.problem is None
    assert second.problem is not None
    assert "'first' of the same package" in second.problem
    assert registry.names("operator") == ["mine"]
