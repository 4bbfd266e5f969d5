"""Checks for components: does an operator, a network, a data set keep what its kind promises?

Nothing here needs pytest; failures are `CheckFailure`, an `AssertionError`.
"""

from __future__ import annotations

from invreg.testing.analyzers import check_analyzer
from invreg.testing.checks import CheckFailure, Failure
from invreg.testing.datasets import check_dataset
from invreg.testing.executors import check_executor
from invreg.testing.metrics import check_metric
from invreg.testing.noises import check_noise
from invreg.testing.operators import check_operator
from invreg.testing.plugins import check_plugin, component_checks
from invreg.testing.reconstructors import check_reconstructor
from invreg.testing.studies import check_study_analyzer
from invreg.testing.trainers import check_trainer

__all__ = [
    "CheckFailure",
    "Failure",
    "check_analyzer",
    "check_dataset",
    "check_executor",
    "check_metric",
    "check_noise",
    "check_operator",
    "check_plugin",
    "check_reconstructor",
    "check_study_analyzer",
    "check_trainer",
    "component_checks",
]
