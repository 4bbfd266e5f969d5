"""The short form of `tests/long/kills.py`: runs that are ended at a moment of any kind end as an undisturbed one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "long" / "kills.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")
def test_ended_runs_end_as_an_undisturbed_one() -> None:
    done = subprocess.run([sys.executable, str(HARNESS), "--count", "8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^(\d+) sessions ended, 0 wrong", done.stdout, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= 8
