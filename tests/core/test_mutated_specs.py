"""The short form of `tests/long/specs.py`: mutated specs are validated or refused in one message; some are run."""

from __future__ import annotations

import pytest
from scripts import script


@pytest.mark.slow
def test_mutated_specs_end_in_one_message() -> None:
    module = script("tests/long/specs.py")
    record = module.check(count=150, runs=2, seed=1)
    assert record.faults == []
    assert sum(record.outcomes.values()) == 152
    assert record.outcomes["run: accepted"] >= 1
    assert record.longest < 4000
