"""Every method on every operator: it runs through a brief spec, or is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invreg.api import run
from invreg.errors import InvregError
from invreg.plugins.registry import Registry

REGISTRY = Registry.installed()
CHAIN = {"subnetworks": 2, "channels": 2, "hidden": 4, "kernel_size": 3, "padding": 2}
BRIEFLY = {"name": "reconstruction", "steps": 2, "batch_size": 2, "validations": 1}

TV: dict[str, Any] = {"reconstructor": {"name": "tv", "weight": 0.01, "tolerance": 0.2}}
IRESNET: dict[str, Any] = {"reconstructor": {"name": "iresnet", **CHAIN, "lipschitz": 0.9}, "trainer": BRIEFLY}
EXPLICIT: dict[str, Any] = {
    "reconstructor": {"name": "explicit_iresnet", **CHAIN, "lipschitz": 0.7},
    "trainer": BRIEFLY,
}
UNET: dict[str, Any] = {"reconstructor": {"name": "unet", "channels": [2, 4]}, "trainer": BRIEFLY}

#: Operators by name; those with another range that are not linear last.
OPERATORS: dict[str, dict[str, Any]] = {
    "downsampling": {"name": "downsampling", "factor": 2},
    "inpainting": {"name": "inpainting", "mask": "blocks", "block_size": 3},
    "motion_blur": {"name": "motion_blur", "length": 5.0, "angle": 30.0},
    "uncertain_motion_blur": {"name": "uncertain_motion_blur", "length": 5.0, "deviation": 2.0},
    "saturation": {"name": "saturation", "level": 0.7, "knee": 0.05},
    "gamma": {"name": "gamma"},
    "multicoil_fourier": {"name": "multicoil_fourier", "coils": 2},
    "phase_retrieval_of_one": {"name": "phase_retrieval", "codes": 1},
    "composition": {
        "name": "composition",
        "operators": [{"name": "gaussian_blur", "kernel_size": 3}, {"name": "downsampling", "filter": "box"}],
    },
    "stack": {"name": "stack", "operators": [{"name": "motion_blur", "length": 3.0}, "inpainting"]},
}
NONLINEAR_WITH_ANOTHER_RANGE: dict[str, dict[str, Any]] = {
    "phase_retrieval": {"name": "phase_retrieval", "codes": 2},
    "composition": {"name": "composition", "operators": [{"name": "downsampling"}, "saturation"]},
    "stack": {"name": "stack", "operators": ["identity", "gamma"]},
}


def spec(operator: dict[str, Any], methods: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": "Brief",
        "data": {"name": "phantoms", "image_size": 16, "train": 4, "val": 1, "test": 2},
        "operator": operator,
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": methods,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_methods_run(name: str, tmp_path: Path) -> None:
    methods = {"tv": TV, "iresnet": IRESNET, "explicit": EXPLICIT, "unet": UNET}
    result = run(spec(OPERATORS[name], methods), tmp_path, device="cpu", progress=False)
    assert set(result.metrics["method"]) == set(methods)
    assert np.isfinite(result.metrics["psnr"]).all()


@pytest.mark.parametrize("name", NONLINEAR_WITH_ANOTHER_RANGE)
def test_nonlinear_operators_with_another_range_run_with_tv_alone(name: str, tmp_path: Path) -> None:
    operator = NONLINEAR_WITH_ANOTHER_RANGE[name]
    result = run(spec(operator, {"tv": TV}), tmp_path, device="cpu", progress=False)
    assert np.isfinite(result.metrics["psnr"]).all()
    for label, method in (("iresnet", IRESNET), ("explicit", EXPLICIT), ("unet", UNET)):
        with pytest.raises(InvregError, match=rf"(?s)methods\.{label}.*maps images .*linear"):
            run(spec(operator, {label: method}), tmp_path, device="cpu", progress=False)


@pytest.mark.parametrize("noise", ["poisson_gaussian", "salt_and_pepper", {"name": "correlated", "std": 0.02}])
def test_runs_draw_every_noise(noise: Any, tmp_path: Path) -> None:
    content = {**spec({"name": "identity"}, {"data": "observation"}), "noise": noise}
    result = run(content, tmp_path, device="cpu", progress=False)
    assert (result.metrics["psnr"] < 60).all()


def test_sizes_that_an_operator_does_not_take_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    content = spec({"name": "downsampling", "factor": 3}, {"adjoint": "adjoint"})
    with pytest.raises(InvregError, match="multiples of the factor 3"):
        run(content, tmp_path, device="cpu", progress=False)


def test_a_part_that_does_not_take_the_images_is_named_with_its_place(tmp_path: Path) -> None:
    operator = {"name": "composition", "operators": ["identity", {"name": "downsampling", "factor": 3}]}
    with pytest.raises(InvregError, match=r"^operator\.operators\.1: images of 16x16 pixels"):
        run(spec(operator, {"tv": TV}), tmp_path, device="cpu", progress=False)
