"""The built-in components pass the checks that everybody's do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from invreg.plugins.registry import Registry
from invreg.testing.plugins import CHECKS, check_component

CHAIN = {"subnetworks": 2, "channels": 2, "hidden": 4, "kernel_size": 3, "padding": 2}
STAGES = [{"scale": scale, "subnetworks": 1, "hidden": 4, "kernel_size": 3} for scale in (1, 2)]

#: Parameters where there are no defaults, or these are too large for a test.
EXAMPLES: dict[str, Mapping[str, Any]] = {
    "convolution": {"kernel": [[0.0, 1.0, 0.0], [1.0, -3.0, 2.0], [0.0, 1.0, 0.0]]},
    "composition": {"operators": [{"name": "gaussian_blur", "kernel_size": 3}, "gamma"]},
    "stack": {"operators": ["identity", {"name": "motion_blur", "length": 3.0}]},
    "gaussian": {"std": 0.1},
    "correlated": {"std": 0.1},
    "poisson": {"photons": 100.0},
    "phantoms": {"image_size": 24, "train": 4, "val": 2, "test": 2},
    "unet": {"channels": [4, 6]},
    "conv_resnet": {"subnetworks": 2, "channels": 2, "hidden": 4},
    "diffnet": {"subnetworks": 1, "hidden": 4},
    "iresnet": {**CHAIN, "lipschitz": 0.9},
    "explicit_iresnet": {**CHAIN, "lipschitz": 0.7},
    "multiscale_iresnet": {"stages": STAGES, "channels": 2, "padding": 2, "lipschitz": 0.9},
    "multiscale_explicit_iresnet": {"stages": STAGES, "channels": 2, "padding": 2, "lipschitz": 0.7},
}

#: What needs files, minutes or a tolerance of its own, and is tested elsewhere.
ELSEWHERE = {"image_folder", "volume_folder", "measured_pairs", "stl10", "photos", "finite_differences", "tv"} | {
    "deepinv",
    "pylops",
    "scipy_matrix",
}

REGISTRY = Registry.installed()
OWN = [
    (kind, name)
    for kind in CHECKS
    for name, entry in REGISTRY.entries(kind).items()
    if entry.plugin.distribution == "invreg" and name not in ELSEWHERE
]


@pytest.mark.parametrize(("kind", "name"), OWN, ids=lambda value: value)
def test_it_keeps_what_its_kind_promises(kind: str, name: str) -> None:
    check_component(REGISTRY, kind, name, EXAMPLES.get(name, {}), {})
