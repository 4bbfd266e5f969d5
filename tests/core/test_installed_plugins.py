"""Plugins as strangers ship them: separate packages, built and installed by pip, found through their entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest

pytestmark = pytest.mark.slow

GOOD = '''
import torch
import invreg


class Negative(invreg.Operator):
    """1 - x."""

    def __init__(self, level: float = 1.0) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.level - x


@invreg.hookimpl
def invreg_components():
    return {"negative": Negative}
'''
SOURCES = {
    "good": GOOD,
    "cannot-import": "import a_module_that_does_not_exist",
    "misspelt": "import invreg\n@invreg.hookimpl\ndef invreg_componentz():\n    return {}\n",
    "no-mapping": "import invreg\n@invreg.hookimpl\ndef invreg_components():\n    return ['negative']\n",
    "taken-name": GOOD.replace('{"negative": Negative}', '{"identity": Negative}'),
    "exits": "raise SystemExit(3)",
}
CAUSES = {
    "cannot-import": "a_module_that_does_not_exist",
    "misspelt": "did you mean 'invreg_components'",
    "no-mapping": "returned list",
    "exits": "SystemExit",
}


def module(name: str) -> str:
    return "invreg_test_" + name.replace("-", "_")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A process environment in which all these packages are installed beside invreg."""
    root = tmp_path_factory.mktemp("plugins")
    target = root / "site"
    for name, source in SOURCES.items():
        package = root / name
        package.mkdir()
        (package / f"{module(name)}.py").write_text(source)
        (package / "pyproject.toml").write_text(
            f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "invreg-test-{name}"
version = "1.2.3"
[project.entry-points.invreg]
{name} = "{module(name)}"
[tool.hatch.build.targets.wheel]
only-include = ["{module(name)}.py"]
"""
        )
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
    subprocess.run([*command, *(str(root / name) for name in SOURCES)], check=True)
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def invreg(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return processes.call("invreg", *arguments, env=environment, cwd=cwd)


def test_broken_plugins_are_named_and_the_others_work(environment: dict[str, str]) -> None:
    done = invreg(environment, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    plugins = {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)}
    assert ["operator", "negative"] in plugins["invreg-test-good"]["components"]
    assert plugins["invreg-test-good"]["version"] == "1.2.3"
    for name, cause in CAUSES.items():
        assert cause in plugins[f"invreg-test-{name}"]["problem"]
    assert "invreg-test-taken-name:identity" in plugins["invreg-test-taken-name"]["conflicts"][0]
    assert all(p["problem"] is None for p in json.loads(done.stdout) if p["distribution"] == "invreg")
    readable = invreg(environment, "plugins")
    assert "SET ASIDE" in readable.stdout
    assert "NAME TAKEN" in readable.stdout


def test_an_installed_operator_runs_from_a_spec(environment: dict[str, str], tmp_path: Path) -> None:
    spec = {
        "title": "Negative",
        "data": {"name": "photos", "image_size": 48, "train_size": 48},
        "operator": {"name": "negative", "level": 0.5},
        "methods": {"data": "observation"},
        "analyses": ["quality"],
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = invreg(environment, "run", "spec.json", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert (folder / "report.html").is_file()
    installed = json.loads((folder / "environment.json").read_text())
    assert installed["plugins"]["invreg-test-good"] == "1.2.3"
    assert "invreg-test-exits: exits" in installed["set_aside"]


def test_a_name_that_is_taken_is_reached_through_its_distribution(environment: dict[str, str]) -> None:
    ours = invreg(environment, "describe", "operator", "identity")
    theirs = invreg(environment, "describe", "operator", "invreg-test-taken-name:identity")
    assert "invreg_operators" in ours.stdout
    assert "invreg_test_taken_name" in theirs.stdout
    assert "level: number, default 1.0" in theirs.stdout


def test_a_spec_that_needs_a_broken_plugin_fails_with_its_cause(environment: dict[str, str], tmp_path: Path) -> None:
    spec = {"data": "photos", "operator": "from_cannot_import", "methods": {"data": "observation"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = invreg(environment, "validate", str(tmp_path / "spec.json"))
    assert done.returncode == 2
    assert "operator: there is no operator 'from_cannot_import'" in done.stderr
    assert "a_module_that_does_not_exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_can_be_switched_off(environment: dict[str, str]) -> None:
    done = invreg({**environment, "INVREG_DISABLE_PLUGINS": "invreg-test-good,taken-name"}, "plugins", "--json")
    plugins = {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)}
    assert "switched off" in plugins["invreg-test-good"]["problem"]
    assert "switched off" in plugins["invreg-test-taken-name"]["problem"]
