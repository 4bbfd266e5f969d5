"""Models of volumes: saved, loaded, proven, and as programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import invreg
from invreg import Model, Problem, Registry, Shape, ShapeError
from invreg.models.arrays import as_batch
from invreg.models.program import TORCH, programs

SHAPE = (1, 5, 6, 7)
NETWORK = {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 1, "lipschitz": 0.7}


def model(name: str, parameters: dict[str, Any], image_shape: Shape = SHAPE) -> Model:
    registry = Registry.installed()
    problem = Problem(registry.build("operator", "identity"), registry.build("noise", {"name": "gaussian", "std": 0.1}))
    torch.manual_seed(0)
    net = registry.build("reconstructor", {"name": name, **parameters})
    net.setup(problem, image_shape)
    if hasattr(net, "finalise"):
        net.finalise()
    return Model(name, net, problem, image_shape)


def test_measurements_of_volumes_come_back_as_they_were_given() -> None:
    problem = Problem(Registry.installed().build("operator", "identity"))
    for shape in ((5, 6, 7), (1, 5, 6, 7), (4, 1, 5, 6, 7), (5, 6, 7, 1)):
        given = np.random.default_rng(0).random(shape, np.float32)
        batch = as_batch(given, problem, SHAPE, "here")
        assert batch.z.shape[1:] == SHAPE
        assert np.array_equal(batch.back(batch.z), given)
    for shape in ((6, 7), (3, 5, 6, 7), (1, 2, 1, 5, 6, 7)):
        with pytest.raises(ShapeError, match=r"\[N, 1, D, H, W\]"):
            as_batch(np.zeros(shape, np.float32), problem, SHAPE, "here")


@pytest.mark.slow
def test_a_model_of_volumes_is_saved_loaded_and_proves_its_reconstructions(tmp_path: Path) -> None:
    saved = model("explicit_iresnet", NETWORK | {"border": "tapered"})
    folder = saved.save(tmp_path / "model")
    loaded = invreg.load_model(folder)
    assert loaded.image_shape == SHAPE
    assert "slices, rows, columns" in (folder / "README.md").read_text("utf-8")
    z = np.random.default_rng(0).random((6, 5, 8), np.float32)
    found = loaded.reconstruct(z, data_error=0.1)
    assert found.image.shape == z.shape
    assert np.array_equal(found.image, saved.reconstruct(z).image)
    assert found.distance is not None
    assert found.data_distance is not None
    assert found.distance < found.data_distance < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("explicit_iresnet", NETWORK | {"border": "tapered"}),
        ("conv_resnet", {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 1}),
        ("unet", {"channels": [2, 3], "kernel_size": 3, "padding": 1}),
    ],
)
def test_models_of_volumes_become_programs(name: str, parameters: dict[str, Any]) -> None:
    found = programs(model(name, parameters), as_torch=True, as_onnx=False)
    assert set(found) == {TORCH}
