"""Checks for components: does an operator, a network, a data set keep what its kind promises?

Nothing here needs pytest; failures are `CheckFailure`, an `AssertionError`.
"""

from __future__ import annotations

from invreg.testing.checks import CheckFailure, Failure

__all__ = ["CheckFailure", "Failure"]
