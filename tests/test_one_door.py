"""Plugins use public names only: the built-in ones, the example, and what `new-plugin` writes."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import invreg

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "invreg" / "plugins" / "templates"

#: Public modules beside `invreg` itself; what they define without a leading underscore is public.
MODULES = ("invreg.errors", "invreg.text", "invreg.testing", "invreg.interop")

SOURCES = [
    *sorted((ROOT / "plugins").rglob("*.py")),
    *sorted((ROOT / "examples").rglob("*.py")),
    *sorted(TEMPLATES.rglob("*.py.in")),
]


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import from invreg in a file, at any depth; for `import a.b` the name is empty."""
    text = (
        path.read_text(encoding="utf-8").replace("@", "placeholder_")
        if path.suffix == ".in"
        else path.read_text("utf-8")
    )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "invreg")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "invreg":
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_public(module: str, name: str) -> bool:
    if module == "invreg":
        return name in ("", *invreg.__all__)
    return (
        module in MODULES
        and not name.startswith("_")
        and (name == "" or hasattr(importlib.import_module(module), name))
    )


@pytest.mark.slow
def test_plugins_import_public_names_only() -> None:
    assert len(SOURCES) > 150
    private = [
        f"{path.relative_to(ROOT)}: {module} {name}"
        for path in SOURCES
        for module, name in imported(path)
        if not is_public(module, name)
    ]
    assert private == []


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("from invreg import Operator", True),
        ("import invreg", True),
        ("from invreg.text import number", True),
        ("from invreg.testing import check_operator", True),
        ("from invreg.components.operator import Operator", False),
        ("import invreg.storage.run_folder", False),
        ("from invreg.text import _DECIMALS", False),
        ("from invreg import plugins", False),
        ("def f():\n    from invreg.schema.parameters import nested", False),
    ],
)
def test_what_the_door_lets_through(line: str, allowed: bool, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(line)
    assert [is_public(module, name) for module, name in imported(tmp_path / "plugin.py")] == [allowed]
