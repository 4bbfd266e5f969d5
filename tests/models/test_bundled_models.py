"""The models that come with invreg: small, certified, what their specs say, and better than total variation."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch

import invreg
from invreg import CertificateError, CertifiesStability, Model, ReconstructsWithBound, Registry, StoreError
from invreg.models.bundled import bundled_model, bundled_models
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_content
from invreg.specs.spec import parse_spec

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "specs" / "models").glob("*.yaml"))

_installed = cache(Registry.installed)


def _load(name: str) -> Model:
    return invreg.load_model(name, device="cpu", registry=_installed())


def test_there_are_four() -> None:
    assert bundled_models() == NAMES == ["denoise", "denoise-strong", "gaussian-deblur", "gaussian-deblur-noisy"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_what_its_spec_says(name: str) -> None:
    folder = bundled_model(name)
    assert (folder / "model.safetensors").stat().st_size <= 135_000
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 150 * 1024
    plan = make_plan(parse_spec(read_content(ROOT / "specs" / "models" / f"{name}.yaml", ())), _installed())
    config = json.loads((folder / "config.json").read_text())
    spec = plan.spec.model_dump(mode="json")
    assert config["name"] == name
    assert config["operator"] == spec["operator"]
    assert config["noise"] == spec["noise"]
    assert config["reconstructor"] == spec["methods"][name]["reconstructor"]
    assert config["history"]["data"] == spec["data"]
    assert config["history"]["trainer"] == spec["methods"][name]["trainer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_its_certificate_is_proven_again(name: str) -> None:
    model = _load(name)
    assert model.certificate is not None
    assert model.certificate.reconstruction_lipschitz is not None
    assert isinstance(model.reconstructor, CertifiesStability)
    model.reconstructor.verify(model.certificate)


@pytest.mark.parametrize("name", NAMES)
def test_its_card_compares_it_on_photographs_that_it_never_saw(name: str) -> None:
    history = json.loads((bundled_model(name) / "config.json").read_text())["history"]
    assert "used for nothing else" in next(iter(history["further"]))
    for rows in (history["results"], *history["further"].values()):
        psnr = {row["method"]: row["psnr"] for row in rows}
        assert psnr[name] > psnr["tv"] + 0.2 > psnr["observation"] + 1


@pytest.mark.parametrize("name", NAMES)
def test_it_reconstructs_as_its_card_says(name: str) -> None:
    model = _load(name)
    splits = _installed().build("dataset", {"name": "photos", "image_size": 96, "train_size": 48}).splits()
    x, keys = splits.test.images, range(len(splits.test.names))
    z = model.problem.measure(x, keys=[invreg.stream_key(0, "noise", "test", index) for index in keys])
    found = model.reconstruct(z, prove=False)
    psnr = float(invreg.peak_signal_to_noise_ratio(found.image, x).mean())
    history = json.loads((bundled_model(name) / "config.json").read_text())["history"]
    claimed = next(row["psnr"] for row in history["results"] if row["method"] == name)
    assert psnr == pytest.approx(claimed, abs=0.01)
    assert found.residual == pytest.approx(found.expected_residual, rel=0.2)


def test_distances_are_proven_at_once() -> None:
    model = _load("gaussian-deblur")
    z = torch.rand(1, 40, 30, generator=torch.Generator().manual_seed(0))
    found = model.reconstruct(z, data_error=0.01)
    exact = model.reconstructor.double()(z[None].double())[0]
    assert found.distance is not None
    assert found.data_distance is not None
    assert float((exact - found.image.double()).norm()) <= found.distance < 0.05
    assert found.distance < found.data_distance


def test_a_name_that_is_misspelt_is_answered_with_a_near_one() -> None:
    with pytest.raises(StoreError) as error:
        invreg.load_model("gausian-deblur")
    assert "did you mean 'gaussian-deblur'?" in str(error.value)
    assert error.value.exit_status == 2  # the command line is wrong, as with other names
    with pytest.raises(StoreError, match="one of denoise, "):
        invreg.load_model("colours")
    with pytest.raises(StoreError, match="gaussian-deblur"):
        bundled_model("gaussian-deblurr")


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "denoise").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="denoise"):
        invreg.load_model("denoise")


def test_a_certificate_of_other_weights_is_not_accepted() -> None:
    strong, weak = _load("denoise-strong"), _load("denoise")
    assert weak.certificate is not None
    assert isinstance(strong.reconstructor, ReconstructsWithBound)
    with pytest.raises(CertificateError, match="other weights"):
        strong.reconstructor.accept(weak.certificate)


def test_a_copy_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _load("denoise")
    verified: list[str] = []

    def note(self: object, certificate: invreg.StabilityCertificate) -> None:
        verified.append(certificate.content["weights"])

    monkeypatch.setattr(type(model.reconstructor), "verify", note)
    _load("denoise")
    assert verified == []
    folder = shutil.copytree(bundled_model("denoise"), tmp_path / "copy")
    (folder / "README.md").write_text("a copy")
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("invreg.storage.proofs._proven", set())
    for _ in range(2):
        invreg.load_model(folder, device="cpu", registry=_installed())
    assert len(verified) == 1


def test_a_measurement_of_another_problem_is_noticed() -> None:
    sharp = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    model = invreg.load_model("gaussian-deblur")
    blurred = model.problem.operator(sharp)
    assert any("times that of the noise" in note for note in model.reconstruct(sharp, prove=False).notes)
    assert not any("times that of the noise" in note for note in model.reconstruct(blurred, prove=False).notes)
