"""The plugin of pytest adds tests when asked, and is not to be noticed otherwise."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TORCH = """
import sys

def test_torch_is_not_imported():
    assert "invreg.pytest_plugin" in sys.modules
    assert "torch" not in sys.modules
    assert "invreg.plugins.registry" not in sys.modules
"""

EXAMPLES = """
def pytest_invreg_examples():
    return {"convolution": {"kernel": [[0.0, 1.0, 0.0], [1.0, -3.0, 2.0], [0.0, 1.0, 0.0]]}}

def pytest_invreg_settings():
    return {"identity": {"image_shape": (1, 7, 5)}}
"""


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a process of its own, where the plugin is loaded by name unless it is installed."""
    installed = any(e.value == "invreg.pytest_plugin" for e in importlib.metadata.entry_points(group="pytest11"))
    load = [] if installed else ["-p", "invreg.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *load, *arguments]
    # On a build server, pytest repeats the whole message of a failure in its summary.
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
    return subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_without_the_option_nothing_is_added_and_nothing_imported(folder: Path) -> None:
    (folder / "test_imports.py").write_text(TORCH)
    done = _pytest(folder, "-v")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "operator:" not in done.stdout


def test_one_item_for_each_component(folder: Path) -> None:
    (folder / "conftest.py").write_text(EXAMPLES)
    done = _pytest(folder, "-v", "--invreg-plugin", "operators", "-k", "identity or convolution or none")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("operator:identity", "operator:convolution", "noise:none"):
        assert f"invreg::{name} PASSED" in done.stdout


def test_all_plugins_are_listed_once(folder: Path) -> None:
    done = _pytest(folder, "--collect-only", "-q", "--invreg-plugin", "all", "--invreg-plugin", "operators")
    items = [line for line in done.stdout.splitlines() if line.startswith("invreg::")]
    assert {"invreg::operator:identity", "invreg::metric:psnr", "invreg::reconstructor:tv"} <= set(items), done.stdout
    assert len(items) == len(set(items))


def test_a_component_without_defaults_fails_with_a_sentence_unless_an_example_is_given(folder: Path) -> None:
    arguments = ("--invreg-plugin", "operators", "-k", "convolution")
    failed = _pytest(folder, *arguments)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "invreg_examples" in failed.stdout
    assert failed.stdout.count("expected:") == 1
    assert "jit.script" not in failed.stdout
    (folder / "pytest.ini").write_text(
        "[pytest]\ninvreg_examples =\n    convolution: {kernel: [[0.0, 1.0, 0.0], [1.0, -3.0, 2.0], [0.0, 1.0, 0.0]]}\n"
    )
    passed = _pytest(folder, *arguments)
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_unknown_plugins_and_lines_are_refused(folder: Path) -> None:
    done = _pytest(folder, "--invreg-plugin", "operaters")
    assert done.returncode == 4
    assert "there is no such plugin" in done.stdout + done.stderr
    (folder / "pytest.ini").write_text("[pytest]\ninvreg_examples =\n    convolution\n")
    done = _pytest(folder, "--invreg-plugin", "operators")
    assert done.returncode == 4
    assert "is not of the form" in done.stdout + done.stderr
