"""What a component must leave as it finds it: the state that a whole process shares."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from invreg.testing.checks import Refused


def _states() -> dict[str, Any]:
    return {
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's global random state": repr(np.random.get_state(legacy=False)),  # noqa: NPY002 (looked at, not used)
        "Python's global random state": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's choice of deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the working directory": os.getcwd(),  # noqa: PTH109 (a text to compare)
        "the environment variables": dict(os.environ),
    }


def check_no_global_state(work: Callable[[], object]) -> None:
    """Refuses work that changes what it shares with everything else in the process."""
    before = _states()
    try:
        work()
    finally:
        after = _states()
        torch.set_default_dtype(before["torch's default dtype"])
        torch.set_grad_enabled(before["torch's gradient mode"])
        torch.set_num_threads(before["torch's number of threads"])
    changed = [name for name, value in before.items() if after[name] != value]
    if changed:
        raise Refused(
            f"a call changed {', '.join(changed)}",
            "everything outside the component as it was",
            "draw random numbers from a torch.Generator of your own (invreg.streams.generator), and set nothing global",
        )
