"""Models of volumes: saved, loaded, proven, and as programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import invreg
from invreg import DataError, Model, Problem, Registry, Shape, ShapeError
from invreg.models.arrays import as_batch
from invreg.models.file_sources import find_sources
from invreg.models.measured_files import Options, reconstruct_files
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


def test_files_of_volumes(tmp_path: Path) -> None:
    """TIFF stacks and arrays in, the same kind out; images are refused, and the page shows the middle slices."""
    tv = model("tv", {"weight": 0.05})
    stored = (np.random.default_rng(0).random(SHAPE[1:]) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
    np.save(tmp_path / "b.npy", (stored / 255).astype(np.float32))
    np.save(tmp_path / "flat.npy", np.zeros((6, 7), np.float32))
    output = tmp_path / "out"
    sources = find_sources([tmp_path / "a.tif", tmp_path / "b.npy", tmp_path / "flat.npy"], output)
    done = reconstruct_files(tv, sources, output, Options(), progress=False)
    assert [one.size for one in done.files] == [(5, 6, 7), (5, 6, 7)]
    assert "[D, H, W]" in next(iter(done.failures.values()))
    expected = tv.reconstruct((stored / 255).astype(np.float32)).image
    found = [invreg.read_volume(output / name) for name in ("a.tif", "b.npy")]
    assert [one.depth for one in found] == ["uint8", "float32"]
    assert np.abs(found[0].pixels[0] / 255 - expected).max() < 0.51 / 255
    assert np.allclose(found[1].pixels[0], expected, atol=1e-6)
    assert done.table["slices"].tolist()[:2] == [5, 5]
    assert done.page.read_text("utf-8").count("data:image/png") >= 4
    again = reconstruct_files(tv, sources[:2], output, Options(), progress=False)
    assert again.kept == 2


def test_volumes_are_written_as_they_are_read(tmp_path: Path) -> None:
    for dtype in ("uint8", "float32"):
        volume = np.random.default_rng(0).random((3, 4, 5, 6))
        values = (volume * 255).astype("uint8") if dtype == "uint8" else volume.astype("float32")
        for name in ("a.tif", "b.npy", "c.npz"):
            invreg.write_image(tmp_path / name, values, dtype, layout="CDHW")  # type: ignore[arg-type]
            found = invreg.read_volume(tmp_path / name)
            assert found.depth == dtype
            assert np.array_equal(found.pixels, values)
    with pytest.raises(DataError, match="PNG does not hold volumes"):
        invreg.write_image(tmp_path / "d.png", values)
