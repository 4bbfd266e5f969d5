"""A small finished run with a certified network, a convolutional one and a method without weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import invreg

SPEC: dict[str, Any] = {
    "title": "Small",
    "data": {"name": "photos", "image_size": 32, "train_size": 24},
    "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.02},
    "methods": {
        "observation": "observation",
        "net": {
            "reconstructor": {
                "name": "explicit_iresnet",
                "subnetworks": 4,
                "channels": 4,
                "hidden": 6,
                "kernel_size": 3,
                "lipschitz": 0.9,
                "padding": 2,
            },
            "trainer": {"name": "reconstruction", "steps": 4, "batch_size": 2},
        },
        "unet": {
            "reconstructor": {"name": "unet", "channels": [4, 8], "kernel_size": 3},
            "trainer": {"name": "reconstruction", "steps": 2, "batch_size": 2},
        },
    },
    "metrics": ["psnr"],
    "analyses": ["certificate"],
}


@pytest.fixture
def run_spec() -> dict[str, Any]:
    return copy.deepcopy(SPEC)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = invreg.run(SPEC, output=tmp_path_factory.mktemp("runs"), device="cpu", progress=False)
    return result.folder
