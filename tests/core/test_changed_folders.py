"""A short form of tests/long/folders.py: changed folders are named, or give the same results."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "long" / "folders.py"


@pytest.mark.slow
def test_changed_folders_are_named_or_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVREG_CACHE", "")  # the harness sets its own
    outcomes, violations = runpy.run_path(str(HARNESS))["run"](60, seed=1)
    assert violations == []
    assert outcomes.total() == 60
    assert any("named" in outcome for outcome in outcomes)
    assert any("same" in outcome for outcome in outcomes)
