"""A run on volumes, from the spec to the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import invreg
from invreg import ImageStack, InvregError, SpecError, TrainingImages
from invreg.components.dataset import Splits
from invreg.components.operator import Shape
from invreg.errors import DataError
from invreg.studies import study

SPEC: dict[str, Any] = {
    "title": "Volumes",
    "seed": 0,
    "data": {"name": "phantoms", "image_size": [11, 12, 13], "train": 1, "val": 1, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.02},
    "methods": {"observation": "observation", "tv": {"reconstructor": {"name": "tv", "weight": 0.003}}},
    "metrics": ["psnr", "ssim", "mse"],
}
NET: dict[str, Any] = {
    "reconstructor": {"name": "explicit_iresnet", "subnetworks": 2, "channels": 2, "hidden": 2, "lipschitz": 0.5},
    "trainer": {"name": "reconstruction", "steps": 2, "batch_size": 1},
}


@pytest.mark.slow
def test_a_run_on_volumes(tmp_path: Path) -> None:
    spec = SPEC | {"analyses": ["quality", "examples"]}
    result = invreg.run(spec, output=tmp_path, device="cpu", progress=False)
    table = result.metrics.set_index(["method", "image"])
    for name in result.images().names:
        assert table.loc[("tv", name), "psnr"] > table.loc[("observation", name), "psnr"] + 1
    assert result.methods["tv"].reconstructions.shape == (2, 1, 11, 12, 13)
    assert "11 × 12 × 13 voxels" in (result.folder / "report.html").read_text("utf-8")
    assert result.findings["examples"].arrays["truth"].shape == (2, 1, 24, 25)
    assert "three slices" in result.findings["examples"].text
    again = invreg.load(result.folder)
    z = again.measurements(2)
    with torch.no_grad():
        found = again.methods["tv"].reconstructor(z)
    assert torch.allclose(found, again.methods["tv"].reconstructions, atol=1e-6)


@pytest.mark.slow
def test_a_study_of_volumes(tmp_path: Path) -> None:
    matrix = {"noise.std": [0.05, 0.02], "methods.net.reconstructor.lipschitz": [0.5, 0.7]}
    names = [
        name
        for name, entry in invreg.Registry.installed().entries("study_analyzer").items()
        # Two have nothing to compare here, and certificates take a while.
        if entry.cls.takes_volumes and name not in ("convergence", "training_size", "quality_against_bound")  # type: ignore[attr-defined]
    ]
    convergence = {"name": "convergence", "choice": [[0.05, 0.5], [0.02, 0.7]]}
    small = {"data": {**SPEC["data"], "image_size": [6, 7, 8]}, "metrics": ["psnr"]}
    net = NET | {"reconstructor": NET["reconstructor"] | {"padding": 0}}
    changes = {"methods": {"observation": "observation", "net": net}, "matrix": matrix}
    spec = SPEC | small | changes | {"study_analyses": [*names, convergence]}
    result = invreg.run(spec, output=tmp_path, device="cpu", progress=False)
    assert isinstance(result, invreg.StudyResult)
    assert not result.failures
    assert not result.failed_analyses
    assert result.findings["example_grid"].arrays["grid_0_truth"].shape == (1, 7 + 1 + 6, 8 + 1 + 6)
    errors = result.findings["convergence"].tables["errors"]
    assert (errors["inversion"] < errors["error"]).all()


@pytest.mark.slow
def test_a_study_whose_cells_were_not_looked_at_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As with an executor: the sizes of the images are known when the cells have been run.
    monkeypatch.setattr(study, "_check_cells", lambda plan, *_: [None] * len(plan.cells))
    small = {"data": {**SPEC["data"], "image_size": [6, 7, 8]}, "metrics": ["psnr"]}
    changes = {"methods": {"observation": "observation"}, "matrix": {"noise.std": [0.02, 0.05]}}
    spec = SPEC | small | changes | {"study_analyses": ["saliency_by_noise", "settings_table"]}
    result = invreg.run(spec, output=tmp_path, device="cpu", progress=False)
    assert isinstance(result, invreg.StudyResult)
    assert list(result.findings) == ["settings_table"]
    assert "'saliency_by_noise' is for images" in result.failed_analyses["saliency_by_noise"]
    assert "'saliency_by_noise' is for images" in (result.folder / "report.html").read_text("utf-8").replace(
        "&#39;", "'"
    )


def test_stacks_of_volumes() -> None:
    volumes = torch.rand(2, 1, 4, 5, 6)
    stack = ImageStack(volumes, ["a", "b"])
    assert stack.image_shape == (1, 4, 5, 6)
    assert torch.equal(stack.select([1]).images, volumes[1:])
    training = TrainingImages(list(volumes), ["c", "d"], (2, 3, 3))
    splits = Splits(training, stack, stack)
    assert splits.fingerprint()["image_shape"] == [1, 4, 5, 6]
    assert "1x4x5x6" in repr(splits)
    with pytest.raises(DataError, match=r"volumes \[N, C, D, H, W\]"):
        ImageStack(torch.rand(2, 1, 2, 4, 5, 6), ["a", "b"])


def test_three_slices_stand_side_by_side() -> None:
    volumes = np.random.default_rng(0).random((2, 3, 4, 5, 6)).astype(np.float32)
    found = invreg.as_pictures(volumes)
    assert found.shape == (2, 3, 5 + 1 + 4, 6 + 1 + 4)
    assert np.array_equal(found[..., :5, :6], volumes[:, :, 2])
    assert np.array_equal(found[..., 6:, :6], volumes[:, :, :, 2])
    assert np.array_equal(found[..., :5, 7:], volumes[..., 3].swapaxes(-1, -2))
    assert (found[..., 6:, 7:] == 1).all()
    assert invreg.as_pictures(np.zeros((1, 1, 2, 2, 2), np.uint8))[..., -1, -1] == 255
    images = volumes[:, :, 0]
    assert invreg.as_pictures(images) is images


class Shear(invreg.Operator):
    """Images whose rows are moved, by somebody who did not think of volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        return x.roll(1, 3).reshape(batch, channels, height, width)


class Sheared(Shear):
    """The same, with a shape of its own."""

    def range_shape(self, domain_shape: Shape) -> Shape:
        channels, height, width = domain_shape
        return channels, height, width


class OwnOperators:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return {"shear": Shear, "sheared": Sheared}


@pytest.mark.parametrize("name", ["shear", "sheared"])
def test_an_operator_that_did_not_think_of_volumes_is_named(tmp_path: Path, name: str) -> None:
    registry = invreg.Registry.installed({"own": OwnOperators})
    with pytest.raises(InvregError) as caught:
        invreg.run(SPEC | {"operator": name}, output=tmp_path, device="cpu", registry=registry)
    message = str(caught.value)
    assert message.startswith(f"operator: {name.title()} raised ValueError: too many values to unpack")
    assert "here (1, 11, 12, 13)" in message
    assert f"{name.title()} seems to be for images alone" in message


def test_what_is_for_images_refuses_volumes_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"(?s)analyses.0: 'forward_map' is for images.*one of .*examples.*quality"):
        invreg.run(
            SPEC | {"analyses": ["forward_map"], "methods": SPEC["methods"] | {"net": NET}},
            output=tmp_path,
            device="cpu",
        )
    of_study = {"matrix": {"noise.std": [0.02, 0.05]}, "study_analyses": ["settings_table", "ill_posedness_by_noise"]}
    said = r"(?s)study_analyses.1: 'ill_posedness_by_noise' is for images.*one of convergence, example_grid.*table"
    with pytest.raises(SpecError, match=said):
        invreg.run(SPEC | of_study, output=tmp_path, device="cpu", progress=False)
    assert not list(tmp_path.iterdir())
    for name in ("wiener", "crr"):
        method = {"reconstructor": name} | (
            {"trainer": {"name": "reconstruction", "steps": 1}} if name == "crr" else {}
        )
        with pytest.raises(
            InvregError, match=rf"(?s)methods\.{name}.*volumes of shape \(1, 11, 12, 13\).*which takes volumes"
        ):
            invreg.run(SPEC | {"methods": {name: method}}, output=tmp_path, device="cpu")
    with pytest.raises(InvregError, match=r"(?s)operator.*\(1, 11, 12, 13\).*gaussian_blur"):
        invreg.run(SPEC | {"operator": "perona_malik"}, output=tmp_path, device="cpu")
