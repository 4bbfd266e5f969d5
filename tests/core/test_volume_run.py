"""A run on volumes, from the spec to the report."""

from pathlib import Path

import pytest
import torch

import invreg
from invreg import ImageStack, TrainingImages
from invreg.components.dataset import Splits
from invreg.errors import DataError

SPEC = {
    "title": "Volumes",
    "seed": 0,
    "data": {"name": "phantoms", "image_size": [11, 12, 13], "train": 1, "val": 1, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.02},
    "methods": {"observation": "observation", "tv": {"reconstructor": {"name": "tv", "weight": 0.003}}},
    "metrics": ["psnr", "ssim", "mse"],
}


@pytest.mark.slow
def test_a_run_on_volumes(tmp_path: Path) -> None:
    result = invreg.run(SPEC, output=tmp_path, device="cpu", progress=False)
    table = result.metrics.set_index(["method", "image"])
    for name in result.images().names:
        assert table.loc[("tv", name), "psnr"] > table.loc[("observation", name), "psnr"] + 1
    assert result.methods["tv"].reconstructions.shape == (2, 1, 11, 12, 13)
    assert "11 × 12 × 13 voxels" in (result.folder / "report.html").read_text("utf-8")
    again = invreg.load(result.folder)
    z = again.measurements(2)
    with torch.no_grad():
        found = again.methods["tv"].reconstructor(z)
    assert torch.allclose(found, again.methods["tv"].reconstructions, atol=1e-6)


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
