"""Checks for components: does an operator, a network, a data set keep what its kind promises?

Nothing here needs pytest; failures are `CheckFailure`, an `AssertionError`.
"""

from __future__ import annotations

from invreg.testing.checks import CheckFailure, Failure
from invreg.testing.operators import check_operator
from invreg.testing.plugins import check_plugin

__all__ = ["CheckFailure", "Failure", "check_operator", "check_plugin"]
