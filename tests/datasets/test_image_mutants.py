"""A short form of tests/long/images.py: whole and mutated files are read as they are, or refused by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

LONG = Path(__file__).resolve().parents[1] / "long" / "images.py"


@pytest.mark.slow
def test_images_are_read_as_they_are_or_refused() -> None:
    spec = importlib.util.spec_from_file_location("long_images", LONG)
    assert spec is not None
    assert spec.loader is not None
    images = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(images)
    table, failures, longest = images.campaign(240, seed=0)
    assert failures == []
    assert longest < images.LONGEST_SECONDS
    assert set(table) == set(images.FORMATS), "each format was tried"
    for kind, counts in table.items():
        never_read = kind in ("APNG", "WebP, animated", "others")
        assert (counts["equal"] == 0) == never_read, kind
        assert counts["refused"] > 0, kind
