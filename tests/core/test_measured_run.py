"""From a folder of measured pairs to a certified network applied to a new measurement: one spec and two commands."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from seals import reseal

from invreg import (
    DataError,
    InvregWarning,
    MeasuredStack,
    Problem,
    Registry,
    SpecError,
    Splits,
    TrainingPairs,
    cli,
    export_model,
    load,
    load_model,
    run,
    train,
)
from invreg.specs.plan import make_plan
from invreg.specs.spec import parse_spec
from invreg.storage.result import Result
from invreg_operators.measured import Measured

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


def spec_of_pairs(folder: Path, **changes: Any) -> dict[str, Any]:
    small = {"subnetworks": 1, "channels": 2, "hidden": 4, "kernel_size": 3}
    reconstructors: dict[str, dict[str, Any]] = {
        "iresnet": {**small, "lipschitz": 0.9},
        "explicit_iresnet": {**small, "lipschitz": 0.4},
        "unet": {"channels": [2, 4], "kernel_size": 3},
        "diffnet": {"subnetworks": 1, "hidden": 4},
        "conv_resnet": {"subnetworks": 1, "channels": 2, "hidden": 4},
    }
    trainer = {"name": "reconstruction", "steps": 1, "batch_size": 2}
    methods: dict[str, Any] = {
        name: {"reconstructor": {"name": name, **given}, "trainer": trainer} for name, given in reconstructors.items()
    }
    approximation = {"reconstructor": {"name": "iresnet", **reconstructors["iresnet"]}}
    methods["phi"] = approximation | {"trainer": trainer | {"name": "approximation", "steps": 20, "lr": 3e-3}}
    return {
        "data": {"name": "measured_pairs", "path": str(folder), "train_size": 16},
        "operator": "measured",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"observation": "observation", **methods},
        "metrics": ["psnr", "ssim"],
        **changes,
    }


@pytest.mark.slow
def test_all_that_does_not_evaluate_the_operator_works(tmp_path: Path) -> None:
    registry = Registry.installed()
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(measure(scene(50))).save(new / "a.png")
    given: dict[str, dict[str, Any]] = {
        "new_measurements": {"path": str(new)},
        "stability": {"images": 1, "iterations": 1, "draws": 1},
        "adversarial": {"images": 1, "iterations": 1, "radii": [1.0]},
        "conformal": {"coverage": 0.5},
        "architecture": {},
    }
    analyses = [
        {"name": name, **given.get(name, {})}
        for name, entry in registry.entries("analyzer").items()
        if not entry.cls.needs_operator and entry.plugin.distribution == "invreg"  # type: ignore[attr-defined]
    ]
    assert {one["name"] for one in analyses} >= {"quality", "examples", "forward_map", "certificate", *given}
    spec = spec_of_pairs(pairs(tmp_path / "pairs"), analyses=analyses)
    result = run(spec, tmp_path / "runs", "cpu", progress=False)
    assert isinstance(result, Result)
    assert set(result.findings) == {one["name"] for one in analyses}
    accuracy = result.findings["forward_map"].tables["accuracy"]
    assert set(accuracy["method"]) == {"iresnet", "explicit_iresnet", "phi"}
    # What approximation training fits is the measurement.
    means = accuracy.groupby("method")[["relative", "identity"]].mean()
    assert means.loc["phi", "relative"] < 0.8 * means.loc["phi", "identity"]
    assert (result.findings["stability"].tables["ratios"]["ratio"] > 0).any()


def test_what_evaluates_the_operator_says_so_when_the_spec_is_checked(tmp_path: Path) -> None:
    registry = Registry.installed()
    refused = {
        name: entry.cls
        for name, entry in registry.entries("analyzer").items()
        if entry.cls.needs_operator  # type: ignore[attr-defined]
    }
    assert {"local_ill_posedness", "saliency_clusters", "edge_saliency", "regularization_map"} <= set(refused)
    spec = spec_of_pairs(tmp_path, analyses=sorted(refused))
    spec["methods"] |= {"tv": "tv", "adjoint": "adjoint", "fbp": "fbp"}
    with pytest.raises(SpecError) as caught:
        make_plan(parse_spec(spec), registry)
    message = str(caught.value)
    for index, name in enumerate(sorted(refused)):
        assert f"analyses.{index}: {name!r} evaluates the operator" in message
    for name in ("tv", "adjoint", "fbp"):
        assert f"methods.{name}.reconstructor" in message
    known = spec_of_pairs(tmp_path, analyses=sorted(refused), operator={"name": "gaussian_blur"})
    assert make_plan(parse_spec(known), registry).operator is not None


@pytest.mark.slow
def test_training_from_python_takes_measured_pairs(tmp_path: Path) -> None:
    data = {"name": "measured_pairs", "path": str(pairs(tmp_path / "pairs")), "train_size": 16}
    spec = spec_of_pairs(tmp_path)
    model = train(
        spec["methods"]["iresnet"]["reconstructor"],
        Problem(Measured()),
        data,
        trainer={"name": "reconstruction", "steps": 2, "batch_size": 2},
        progress=False,
    )
    found = model.reconstruct(measure(scene(60, (30, 33))))
    assert found.residual is None
    assert found.distance is not None
    assert found.image.shape == (30, 33)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


def counts(white: float) -> Splits:
    """Pairs whose measurements are counts of a detector, up to `white`."""
    x = torch.stack([torch.from_numpy(scene(number) / np.float32(255))[None] for number in range(6)])
    names = [f"{number}" for number in range(6)]
    stack = MeasuredStack(x[4:], names[4:], white * x[4:])
    return Splits(TrainingPairs(list(x[:4]), names[:4], (16, 16), list(white * x[:4])), stack, stack)


@pytest.mark.parametrize("operator", ["measured", "identity"])
def test_measurements_on_another_scale_than_in_training_are_noticed(
    operator: str, tmp_path: Path, registry: Registry
) -> None:
    problem = Problem(registry.build("operator", operator))
    options: Any = {"trainer": {"name": "reconstruction", "steps": 1, "batch_size": 2}, "progress": False}
    trained = train({"name": "unet", "channels": [2, 4]}, problem, counts(3000), registry=registry, **options)
    loaded = load_model(trained.save(tmp_path / "model"), device="cpu")
    text = (tmp_path / "model" / "README.md").read_text()
    low, high = trained.problem.measured_range or (0, 0)
    assert 2900 < high <= 3000
    assert f"whose measurements have values from {low:.4g} to {high:.4g}" in text
    assert ("found.residual" in text, "the residual is far" in text) == 2 * (operator == "identity",)
    x = scene(60) / np.float32(255)
    for model in (trained, loaded):
        where = f"model {model.name!r}: values from 0 to 1e"
        with pytest.raises(DataError, match=rf"{where}(.|\n)*measurements in training: values from 0 to {high:.4g}"):
            model.reconstruct(100_000 * x)
        assert not any("scale" in note for note in model.reconstruct(2900 * x).notes)
        for wrong, given in (
            (x, "values from 0 to 1"),
            (9000 * x, "values from 0 to 9000"),
            (x - 2500, "values from -2"),
        ):
            (note,) = [note for note in model.reconstruct(wrong).notes if "scale" in note]
            assert note.startswith(given)
            assert note.endswith(f"had values from 0 to {high:.4g}: are they on the same scale?")


def test_a_run_remembers_the_scale_of_its_pairs(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "pairs")
    spec = spec_of_pairs(folder)
    spec["methods"] = {"unet": spec["methods"]["unet"]}
    result = run(spec, tmp_path / "runs", "cpu", progress=False)
    assert isinstance(result, Result)
    largest = max(np.asarray(Image.open(path)).max() for path in folder.glob("train/measurement/*.png")) / 255
    record = json.loads((result.folder / "methods" / "unet" / "training.json").read_text())
    assert record["measured_range"] == pytest.approx([0, largest])
    for model in (load_model(result.folder, device="cpu"), load_model(export_model(result.folder, to=tmp_path / "m"))):
        assert model.problem.measured_range == pytest.approx((0, largest))
    reconstructor = load(result.folder, "cpu").methods["unet"].reconstructor
    with pytest.warns(InvregWarning, match="measurements from 0 to 2e"):
        reconstructor(200 * torch.rand(1, 1, 24, 30).round())
    # Runs of earlier versions have no such record.
    del record["measured_range"]
    (result.folder / "methods" / "unet" / "training.json").write_text(json.dumps(record))
    reseal(result.folder)
    assert load_model(result.folder, device="cpu").problem.measured_range is None


@pytest.mark.slow
def test_sinograms_with_a_known_operator(tmp_path: Path) -> None:
    registry = Registry.installed()
    operator = {"name": "radon", "angles": 8}
    radon: Any = registry.build("operator", operator)
    for number in range(8):
        x = torch.from_numpy(scene(number, (16, 16)) / np.float32(255))[None, None]
        z = radon(x) + 0.01 * torch.randn(radon(x).shape, generator=torch.Generator().manual_seed(number))
        for kind, values in (("truth", x[0, 0]), ("sinogram", z[0, 0])):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "pairs" / kind / f"{number}.npy", values.numpy())
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "scan.npy", z[0, 0].numpy())
    spec = spec_of_pairs(
        tmp_path / "pairs",
        data={"name": "measured_pairs", "path": str(tmp_path / "pairs"), "measurement": "sinogram"},
        operator=operator,
        analyses=["quality", "examples", {"name": "new_measurements", "path": str(tmp_path / "new")}],
    )
    spec["methods"] = {
        "fbp": "fbp",
        "tv": {"name": "tv", "weight": 1e-3},
        "iresnet": spec["methods"]["iresnet"],
        "unet": spec["methods"]["unet"],
    }
    result = run(spec, tmp_path / "runs", "cpu", progress=False)
    assert isinstance(result, Result)
    z = result.measurements()
    assert z.shape[1:] == tuple(radon.range_shape((1, 16, 16)))
    assert torch.equal(
        z[0, 0], torch.from_numpy(np.load(tmp_path / "pairs/sinogram" / f"{result.images().names[0]}.npy"))
    )
    psnr = result.summary.set_index("method")["psnr"]
    assert psnr["tv"] > 20
    table = result.findings["new_measurements"].tables["measurements"].set_index("method")
    # Regularised little, tv fits the noise, too.
    assert table.loc["tv", "residual"] < 2 * table.loc["tv", "expected"]
    assert table.loc["iresnet", "residual"] > 2 * table.loc["iresnet", "expected"]
    assert table.loc["iresnet", "p"] < 0.05
    assert table.loc["iresnet", "distance"] > 0
