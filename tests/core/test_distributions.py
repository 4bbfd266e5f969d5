"""Installed distributions that are wrong in every way that entry points allow; the commands go on without them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import processes
import pytest

pytestmark = pytest.mark.slow

OPERATOR = """
import torch
import invreg


class Mine(invreg.Operator):
    def __init__(self, level: float = 1.0) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@invreg.hookimpl
def invreg_components():
    return {"NAME": Mine}
"""

BUSY = """
import time

end = time.process_time() + 1.2
while time.process_time() < end:
    pass
"""

#: Distribution: its module's source, and what its entry point names ("{module}" is its own module).
DISTRIBUTIONS: dict[str, tuple[str, str | None]] = {
    "claims-one": (OPERATOR.replace("NAME", "shared"), "{module}"),
    "claims-two": (OPERATOR.replace("NAME", "shared"), "{module}"),
    "claims-ours": (OPERATOR.replace("NAME", "gaussian_blur"), "{module}"),
    "newer": (OPERATOR + "@invreg.hookimpl\ndef invreg_interface():\n    return 99\n", "{module}"),
    "newer-import": ("from invreg import SomethingOfTheFuture", "{module}"),
    "raises": ("import torch\n\nraise RuntimeError('no licence')", "{module}"),
    "broken-syntax": ("import invreg\n\ndef f(:\n", "{module}"),
    "float64": ("import torch\n\ntorch.set_default_dtype(torch.float64)\n", "{module}"),
    "claims-three": (OPERATOR.replace("NAME", "shared"), "{module}"),
    "exits": ("import sys\nsys.exit('good bye')", "{module}"),
    "prints": ("print('hello from a plugin')\n" + OPERATOR.replace("NAME", "printing"), "{module}"),
    "slow": (BUSY + OPERATOR.replace("NAME", "slow_one"), "{module}"),
    "untyped": (OPERATOR.replace("NAME", "untyped").replace("level: float", "level"), "{module}"),
    "open": (OPERATOR.replace("NAME", "open_one").replace("level: float = 1.0", "**level"), "{module}"),
    "no-module": ("", "{module}_elsewhere"),
    "no-attribute": ("", "{module}:plugin"),
    "no-value": ("", "not a module!"),
    "no-entry-point": (OPERATOR.replace("NAME", "unheard"), None),
}

PROBLEMS = {
    "newer": ["written for plugin interface 99", "upgrade invreg"],
    "newer-import": ["SomethingOfTheFuture", "another version of invreg"],
    "raises": ["RuntimeError: no licence", "invreg_raises.py:3"],
    "broken-syntax": ["SyntaxError", "invreg_broken_syntax.py:3"],
    "float64": ["changes torch's default dtype of everybody"],
    "exits": ["SystemExit: good bye"],
    "untyped": ["invreg_untyped.py:6, Mine.__init__: parameter 'level' has no annotation"],
    "open": ["invreg_open.py:6, Mine.__init__: takes **level"],
    "no-module": ["invreg_no_module_elsewhere", "names a module that is not in the package"],
    "no-attribute": ["names something that invreg_no_attribute does not have"],
    "no-value": ["its entry point names 'not a module!'", "pyproject.toml"],
    "no-entry-point": ["no entry point of the group 'invreg'", "[project.entry-points.invreg]"],
}


def _install(folder: Path) -> None:
    """What pip leaves behind, without pip."""
    for name, (source, value) in DISTRIBUTIONS.items():
        module = f"invreg_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(source.strip() + "\n", encoding="utf-8")
        information = folder / f"{module}-1.2.3.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: invreg-{name}\nVersion: 1.2.3\n", encoding="utf-8"
        )
        if value is not None:
            points = f"[invreg]\n{name} = {value.format(module=module)}\n"
            (information / "entry_points.txt").write_text(points, encoding="utf-8")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process says in which all these are installed: plugins as JSON, as text, and errors of validation."""
    folder = tmp_path_factory.mktemp("site")
    _install(folder)
    # One process for everything: starting it is what takes the time.
    code = """
import contextlib, io, json, sys
from invreg import cli

def call(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["invreg", *arguments]
        try:
            cli.main()
        except SystemExit as done:
            return done.code, out.getvalue(), err.getvalue()

told = {
    "json": call("plugins", "--json"),
    "ambiguous": call("describe", "operator", "shared"),
    "qualified": call("describe", "operator", "invreg-claims-two:shared"),
    "ours": call("describe", "operator", "gaussian_blur"),
    "missing": call("describe", "operator", "untyped"),
    "slow": call("describe", "operator", "slow_one"),
}
from invreg.plugins import describe
from invreg.plugins import discovery
plugins = json.loads(told["json"][1])
told["text"] = "\\n".join(line for p in plugins for line in describe.describe_plugin(discovery.Plugin(**p)))
print(json.dumps(told))
"""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    (folder / "asked.py").write_text(code)
    done = processes.call(folder / "asked.py", env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def plugins(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    status, out, _ = told["json"]
    assert status == 0
    return {p["distribution"]: p for p in json.loads(out)}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_cannot_be_used_says_why(plugins: dict[str, dict[str, Any]], name: str) -> None:
    plugin = plugins[f"invreg-{name}"]
    for part in PROBLEMS[name]:
        assert part in plugin["problem"]
    assert plugin["components"] == []
    assert plugin["version"] == "1.2.3"


def test_everything_else_works_on(plugins: dict[str, dict[str, Any]], told: dict[str, Any]) -> None:
    assert plugins["invreg"]["problem"] is None
    assert plugins["invreg-prints"]["components"] == [["operator", "printing"]]
    assert told["ours"][0] == told["slow"][0] == 0


def test_distributions_that_claim_one_name_are_told_apart(
    plugins: dict[str, dict[str, Any]], told: dict[str, Any]
) -> None:
    for name in ("claims-one", "claims-two", "claims-three"):
        (conflict,) = plugins[f"invreg-{name}"]["conflicts"]
        assert "invreg-claims-one:shared, invreg-claims-three:shared, invreg-claims-two:shared" in conflict
    status, _, error = told["ambiguous"]
    assert status == 2
    assert "claimed by several plugins" in error
    assert told["qualified"][0] == 0
    assert "invreg_claims_two.Mine" in told["qualified"][1]
    assert "invreg-claims-ours:gaussian_blur" in plugins["invreg-claims-ours"]["conflicts"][0]
    assert "invreg_operators" in told["ours"][1]


def test_a_slow_import_is_said(plugins: dict[str, dict[str, Any]], told: dict[str, Any]) -> None:
    assert plugins["invreg-slow"]["seconds"] > 1.2
    lines = told["text"].splitlines()
    assert lines[lines.index("slow (invreg-slow 1.2.3)") + 1].startswith("  SLOW: loading it took ")
    assert "  operator: slow_one" in lines


def test_a_name_that_is_missing_lists_what_was_set_aside(told: dict[str, Any]) -> None:
    status, _, error = told["missing"]
    assert status == 2
    assert "there is no operator 'untyped'" in error
    assert "parameter 'level' has no annotation" in error
