"""A short form of tests/long/images.py: whole and mutated files are read as they are, or refused by name."""

from __future__ import annotations

import pytest
from scripts import script


@pytest.mark.slow
def test_images_are_read_as_they_are_or_refused() -> None:
    images = script("tests/long/images.py")
    table, failures, longest = images.campaign(240, seed=0)
    assert failures == []
    assert longest < images.LONGEST_SECONDS
    assert set(table) == set(images.FORMATS), "each format was tried"
    for kind, counts in table.items():
        never_read = kind in ("APNG", "WebP, animated", "others")
        assert (counts["equal"] == 0) == never_read, kind
        assert counts["refused"] > 0, kind
