"""From a folder of measured pairs to a certified network applied to a new measurement: one spec and two commands."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invreg import cli, load, load_model
from invreg.storage.result import Result

SPEC = Path(__file__).parents[2] / "specs" / "measured_pairs.yaml"
SMALL = {
    "methods.iresnet.reconstructor.subnetworks": 2,
    "methods.iresnet.reconstructor.channels": 2,
    "methods.iresnet.reconstructor.hidden": 4,
    "methods.iresnet.reconstructor.kernel_size": 3,
    "methods.iresnet.reconstructor.lipschitz": 0.9,
    "methods.iresnet.trainer.steps": 3,
    "methods.iresnet.trainer.batch_size": 2,
    "data.train_size": 16,
}


def scene(number: int, size: tuple[int, int] = (24, 30)) -> np.ndarray:
    noise = np.random.default_rng(number).random((1, *size))
    smooth = torch.nn.functional.avg_pool2d(torch.from_numpy(noise), 5, 1, 2, count_include_pad=False)
    pixels: np.ndarray = (255 * (smooth - smooth.min()) / (smooth.max() - smooth.min()))[0].numpy().round()
    return pixels.astype(np.uint8)


def measure(pixels: np.ndarray) -> np.ndarray:
    """Blurred to the right, and darker: an operator that commutes with no flip."""
    shifted = np.pad(pixels.astype(float), ((0, 0), (2, 0)), mode="edge")
    return (0.9 * (shifted[:, 2:] + shifted[:, 1:-1] + shifted[:, :-2]) / 3).astype(np.uint8)


def pairs(folder: Path) -> Path:
    numbers = iter(range(100))
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for kind in ("truth", "measurement"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            pixels = scene(next(numbers))
            Image.fromarray(pixels).save(folder / split / "truth" / f"{split}{index}.png")
            Image.fromarray(measure(pixels)).save(folder / split / "measurement" / f"{split}{index}.png")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
    with pytest.raises(SystemExit) as done:
        cli.main()
    captured = capsys.readouterr()
    assert not done.value.code, captured.err
    return captured.out


@pytest.mark.slow
def test_one_spec_and_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "pairs")
    small = [part for path, value in SMALL.items() for part in ("--set", f"{path}={value}")]
    out = call(monkeypatch, capsys, "run", str(SPEC), "--set", "data.path=pairs", "--device", "cpu", *small)
    folder = Path(out.splitlines()[-1])
    result = load(folder, "cpu")
    assert isinstance(result, Result)
    assert result.metrics["image"].nunique() == 3, "a folder of one's own is taken whole"
    assert (result.folder / "report.html").is_file()
    z = result.measurements()
    assert torch.equal(z[0, 0], torch.from_numpy(measure(scene(8)) / np.float32(255)))
    assert torch.equal(result.methods["observation"].reconstructions, z)

    # The forward map was learned from the measurements, and is shown beside them.
    maps = result.findings["forward_map"]
    assert maps.scalars["target"] == "z"
    accuracy = maps.tables["accuracy"].set_index("image")
    net: Any = result.methods["iresnet"].reconstructor
    x = result.images().images
    with torch.no_grad():
        away = (net.forward_map(x) - z).flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1)
    assert accuracy["relative"].to_numpy() == pytest.approx(away.numpy(), rel=1e-4)
    assert "from the measurement z" in maps.text
    model = load_model(folder, "iresnet", "cpu")
    assert model.certificate is not None
    assert (model.certificate.reconstruction_lipschitz or 0) >= 1

    # A new measurement, of another size and without truth.
    new = measure(scene(77, (40, 50)))
    Image.fromarray(new).save("new.png")
    out = call(monkeypatch, capsys, "reconstruct", str(folder), "new.png", "--method", "iresnet", "--quiet")
    made = Path(out.splitlines()[-1])
    with (made / "reconstructions.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert 0 < float(row["distance"]) < 1
    assert not row["residual"], "F is not known"
    written = np.asarray(Image.open(made / row["output"]))
    found = model.reconstruct(new)
    assert np.abs(written / 255 - np.clip(found.image, 0, 1)).max() <= 0.5 / 255 + 1e-6
    assert found.residual is None
    assert found.distance == pytest.approx(float(row["distance"]), rel=1e-6)
