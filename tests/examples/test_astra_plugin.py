"""The plugin that brings ASTRA's projectors: its own tests, and its spec, where ASTRA is installed."""

from __future__ import annotations

import os
from pathlib import Path

import processes
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "invreg-astra-plugin"


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    pytest.importorskip("astra", reason="the ASTRA toolbox is not installed", exc_type=ImportError)
    path = os.pathsep.join(filter(None, [str(EXAMPLE / "src"), os.environ.get("PYTHONPATH")]))
    command = ("pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"))
    done = processes.call(*command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
