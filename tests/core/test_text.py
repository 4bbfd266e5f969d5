"""Numbers in words."""

from __future__ import annotations

import math

import pytest

from invreg.text import MISSING, percent


@pytest.mark.parametrize(
    ("share", "words"), [(0.123, "12.3 %"), (0, "0.00 %"), (-0.05, "−5.00 %"), (math.nan, MISSING)]
)
def test_shares_as_percentages(share: float, words: str) -> None:
    assert percent(share) == words
