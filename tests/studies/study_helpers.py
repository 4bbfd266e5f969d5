"""Small studies on disk, made by running one: two operators, noise levels, a network with a Lipschitz parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import invreg_analyses.plugin as analyses_plugin
import toy
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult

L_PATH = "methods.net.reconstructor.lipschitz"
SMALL_PATH = "methods.small.reconstructor.lipschitz"

SPEC: dict[str, Any] = {
    "title": "A study",
    "data": {"name": "toy_images", "count": 4},
    "operator": "halve",
    "noise": {"name": "white", "std": 0.02},
    "methods": {
        "raw": "raw",
        "net": {"reconstructor": "scale", "trainer": "nothing"},
        "small": {"reconstructor": {"name": "scale", "width": 2}, "trainer": {"name": "nothing", "seconds": 5.0}},
    },
    "matrix": {
        "operator": [{"name": "halve", "factor": 0.5}, {"name": "halve", "factor": 0.6}],
        "noise.std": [0.05, 0.01],
        L_PATH: [0.5, 0.9, 0.99],
        "include": [{L_PATH: value, SMALL_PATH: value} for value in (0.5, 0.9, 0.99)],
    },
    "study_analyses": ["method_comparison", "lipschitz_sweep", "example_grid", "settings_table"],
}


def registry_with(**plugins: object) -> Registry:
    """The toys, all analyses, and plugins of a test."""
    return Registry({**toy.plugins(), "analyses": analyses_plugin, **plugins})


def run_study(output: Path, **changes: Any) -> StudyResult:
    result = toy.run_study({**SPEC, **changes}, output, registry_with())
    assert not result.failures
    return result
