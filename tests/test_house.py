"""The laws of the house: formatting, types, import contracts, light imports."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("importlinter", "lint"),
    ],
    ids=lambda command: command[0] + "-" + command[-1],
)
def test_checks_pass(command: tuple[str, ...]) -> None:
    if command[0] == "importlinter":
        code = "from importlinter.cli import lint_imports_command; lint_imports_command([])"
        done = run(sys.executable, "-c", code)
    else:
        done = run(sys.executable, "-m", *command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_ships_its_types() -> None:
    packages = [ROOT / "invreg", *sorted((ROOT / "plugins").glob("*/invreg_*"))]
    assert len(packages) == 13
    assert [package.name for package in packages if not (package / "py.typed").is_file()] == []
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert checked["strict"]
    assert sorted(checked["packages"]) == sorted(package.name for package in packages)


@pytest.mark.slow
def test_import_is_light() -> None:
    heavy = ("torch", "matplotlib", "sklearn", "numpy", "pandas", "scipy")
    code = f"import sys, invreg; print([m for m in {heavy} if m in sys.modules])"
    done = run(sys.executable, "-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_exist() -> None:
    import invreg

    for name in invreg.__all__:
        assert getattr(invreg, name) is not None


@pytest.mark.slow
def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; sys.argv = ['invreg', '--help']\n"
        "from invreg.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = [m for m in ('torch', 'matplotlib', 'sklearn', 'numpy', 'pandas', 'scipy') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "describe" in done.stdout
