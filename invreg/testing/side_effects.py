"""What a component must leave as it finds it: the state that a whole process shares."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from invreg.plugins.isolation import put_back, shared_settings
from invreg.testing.checks import Refused


def _states() -> dict[str, Any]:
    return {
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's global random state": repr(np.random.get_state(legacy=False)),  # noqa: NPY002 (looked at, not used)
        "Python's global random state": random.getstate(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's choice of deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        **shared_settings(),
    }


@contextmanager
def restored() -> Iterator[None]:
    """Puts shared settings and all global random states back to what they were."""
    settings, threads = shared_settings(), torch.get_num_threads()
    state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        put_back(settings)
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


#: Where random numbers come from in work that is given no generator.
_OF_ITS_OWN = "a torch.Generator of your own (invreg.generator)"


def check_no_global_state(
    work: Callable[[], object], but: Collection[str] = (), random_from: str = _OF_ITS_OWN
) -> None:
    """Refuses work that changes what it shares with everything else in the process.

    Args:
        work: what is done.
        but: what it may change, by name.
        random_from: what it should draw random numbers from, for the message.
    """
    # Work that seeds a generator would find it as it left it the last time.
    torch.rand(1), np.random.random(), random.random()  # noqa: NPY002, S311 (no secrets here)
    before = _states()
    work()
    after = _states()
    changed = [name for name, value in before.items() if name not in but and after[name] != value]
    if changed:
        raise Refused(
            f"a call changed {', '.join(changed)}",
            "everything outside the component as it was",
            f"draw random numbers from {random_from}, and set nothing global",
        )
