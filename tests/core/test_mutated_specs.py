"""The short form of `tests/long/specs.py`: mutated specs are validated or refused in one message; some are run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_mutated_specs_end_in_one_message() -> None:
    source = Path(__file__).parents[1] / "long" / "specs.py"
    module_spec = importlib.util.spec_from_file_location("mutated_specs", source)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules["mutated_specs"] = module
    module_spec.loader.exec_module(module)
    record = module.check(count=150, runs=2, seed=1)
    assert record.faults == []
    assert sum(record.outcomes.values()) == 152
    assert record.outcomes["run: accepted"] >= 1
    assert record.longest < 4000
