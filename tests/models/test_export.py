"""Methods become folders that load without their run, are there as a whole or not at all, and cannot be altered."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import invreg
from invreg import CertificateError, Model, Registry, SpecError, StoreError, cli
from invreg.models.bundled import bundled_model
from invreg.models.export import without_paths
from invreg.models.model_folder import ModelFolder
from invreg.specs.yaml import parse_yaml
from invreg.storage.seal import SUFFIX, digest, seal_text

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow

_installed = cache(Registry.installed)


def load(source: Path, method: str | None = None) -> Model:
    return invreg.load_model(source, method, device="cpu", registry=_installed())


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invreg.export_model(run_folder, "net", to=tmp_path_factory.mktemp("models") / "net")


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return np.random.default_rng(0).random((25, 33), np.float32)


def _reseal(folder: Path) -> None:
    """What someone does who alters a model and its hashes."""
    names = [path.name for path in folder.iterdir() if path.suffix not in (SUFFIX, ".md")]
    seal = seal_text({name: digest((folder / name).read_bytes()) for name in names})
    (folder / f"model{SUFFIX}").write_text(seal)


def test_the_files_are_those_of_a_model_on_the_hub(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "certificate.json", "model.sha256"}
    config = json.loads((exported / "config.json").read_text())
    assert config["operator"] == {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0, "boundary": "symmetric"}
    assert config["noise"] == {"name": "gaussian", "std": 0.02}
    assert config["reconstructor"]["name"] == "explicit_iresnet"
    assert config["packages"]["reconstructor"] == ["invreg", invreg.__version__]


def test_the_exported_model_is_the_method_of_the_run(run_folder: Path, exported: Path, z: np.ndarray) -> None:
    method, model = (load(*source) for source in ((run_folder, "net"), (exported,)))
    first, second = method.reconstruct(z, data_error=0.1), model.reconstruct(z, data_error=0.1)
    assert np.array_equal(first.image, second.image)
    assert (first.distance, first.data_distance, first.residual) == (
        second.distance,
        second.data_distance,
        second.residual,
    )
    assert model.certificate == method.certificate
    assert (model.name, model.image_shape, model.folder) == ("net", (1, 32, 32), exported)


def test_it_loads_in_another_process_without_the_run_its_images_and_pickle(exported: Path, tmp_path: Path) -> None:
    z = torch.rand(1, 1, 21, 27, generator=torch.Generator().manual_seed(3))
    expected = load(exported).reconstruct(z)
    np.save(tmp_path / "z.npy", z.numpy())
    moved = shutil.copytree(exported, tmp_path / "elsewhere")
    program = f"""
import pickle, sys
def refuse(*_, **__):
    raise AssertionError("pickle")
import invreg, numpy as np
registry = invreg.Registry.installed()
pickle.load = pickle.loads = pickle.Unpickler = refuse
model = invreg.load_model({str(moved)!r}, device="cpu", registry=registry)
z = np.load({str(tmp_path / "z.npy")!r})
np.save({str(tmp_path / "x.npy")!r}, model.reconstruct(z).image)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(tmp_path / "x.npy"), expected.image.numpy(), atol=1e-6)


def test_a_model_without_a_certificate_says_so(run_folder: Path, tmp_path: Path, z: np.ndarray) -> None:
    folder = invreg.export_model(run_folder, "unet", to=tmp_path / "unet", name="my unet")
    assert not (folder / "certificate.json").exists()
    model = load(folder)
    assert (model.name, model.certificate, model.reconstruct(z).distance) == ("my unet", None, None)
    assert "Nothing: the method cannot certify" in (folder / "README.md").read_text()


def test_a_missing_certificate_is_made(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for name in ("certificate.json", "certificate.sha256"):
        (run / "methods" / "net" / name).unlink()
    folder = invreg.export_model(run, "net", to=tmp_path / "net")
    assert load(folder).certificate is not None


def test_what_is_proven_at_an_export_is_not_proven_again(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("invreg.storage.proofs._proven", set())
    folder = invreg.export_model(run_folder, "net", to=tmp_path / "net")
    verified: list[str] = []
    model = load(run_folder, "net")
    monkeypatch.setattr(type(model.reconstructor), "verify", lambda self, certificate: verified.append("net"))
    assert load(folder).certificate == model.certificate
    assert verified == []
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "name": "other"}))
    _reseal(folder)
    load(folder)
    assert verified == ["net"]


def test_a_certificate_that_takes_long_is_told(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("invreg.computing.waiting._FIRST", 0.02)
    monkeypatch.setattr("invreg.computing.waiting._NEXT", 0.02)
    folder = Path(shutil.copytree(bundled_model("denoise"), tmp_path / "copy"))
    (folder / "README.md").write_text("a copy")
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("invreg.storage.proofs._proven", set())
    kind = type(load(run_folder, "net").reconstructor)
    monkeypatch.setattr(kind, "verify", lambda self, certificate: time.sleep(0.3))
    for progress in (False, True):
        monkeypatch.setattr("invreg.storage.proofs._proven", set())
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        capsys.readouterr()
        invreg.load_model(folder, device="cpu", registry=_installed(), progress=progress)
        lines = capsys.readouterr().err.splitlines()
        assert bool(lines) == progress
    assert lines[0] == f"{folder}: verifying the certificate against the weights, once on this machine"
    assert lines[1] == f"{lines[0]}: 0 s so far"
    load(folder)
    assert capsys.readouterr().err == "", "on this machine, it has been verified"


def test_models_can_be_saved_and_exported_models_again(exported: Path, tmp_path: Path, z: np.ndarray) -> None:
    model = load(exported)
    again = load(model.save(tmp_path / "again"))
    assert np.array_equal(again.reconstruct(z).image, model.reconstruct(z).image)
    assert "Nothing is known of the training" in (tmp_path / "again" / "README.md").read_text()


def test_a_model_of_components_without_names_cannot_be_saved(exported: Path, tmp_path: Path) -> None:
    class Mine(invreg.Reconstructor):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z

    problem = load(exported).problem
    with pytest.raises(SpecError, match="not registered"):
        Model("mine", Mine(), problem, (1, 32, 32)).save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


# -- the card


def test_the_card_says_what_it_is_and_what_it_is_not(run_folder: Path, exported: Path) -> None:
    text = (exported / "README.md").read_text()
    head = parse_yaml(text.split("---\n")[1], "")
    assert head["library_name"] == "invreg"
    assert head["pipeline_tag"] == "image-to-image"
    assert {"invreg", "explicit_iresnet", "certified"} <= set(head["tags"])
    summary = invreg.load(run_folder, device="cpu").summary.set_index("method")
    measured = head["model-index"][0]["results"][0]["metrics"]
    assert measured == [{"type": "psnr", "value": round(float(summary.psnr["net"]), 4)}]
    for method in ("observation", "net", "unet"):
        assert f"| {method} | {summary.psnr[method]:.2f} |" in text
    assert "`gaussian_blur(kernel_size=5, std=1.0, boundary='symmetric')`" in text
    assert "`gaussian(std=0.02)`" in text
    assert "Proven: two measurements that differ by d" in text
    for section in ("Use", "Problem", "Training", "Results", "What is proven", "Limits"):
        assert f"\n## {section}\n" in text
    assert "8 for train" in text


def test_no_path_of_the_maker_is_in_a_model() -> None:
    spec = {"name": "image_folder", "path": "/home/me/private/scans", "list": ["C:\\data\\x"], "size": 4}
    assert without_paths(spec) == {"name": "image_folder", "path": "scans", "list": ["x"], "size": 4}


def test_further_results_stand_in_the_card(run_folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"method": ["observation", "net"], "psnr": [20.0, 25.123]})
    folder = invreg.export_model(run_folder, "net", to=tmp_path / "net", further={"On ten scans": table})
    text = (folder / "README.md").read_text()
    assert "On ten scans:\n\n| method | PSNR dB |" in text
    assert "| net | 25.12 |" in text
    assert parse_yaml(text.split("---\n")[1], "")["model-index"][0]["results"][1]["dataset"]["name"] == "On ten scans"


# -- what is not as it should be


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "certificate.json"])
def test_an_altered_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-3] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(StoreError, match=re.escape(name)) as error:
        load(copy)
    assert "was changed after it had been written" in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "certificate.json", "model.sha256"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(StoreError, match=re.escape(name)):
        load(copy)


def test_the_card_may_be_edited(copy: Path) -> None:
    (copy / "README.md").write_text("mine")
    assert load(copy).name == "net"


def test_other_weights_under_a_new_seal_are_refused_by_the_certificate(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = next(key for key in weights if "kernels" in key)
    save_file({**weights, name: 1.5 * weights[name]}, copy / "model.safetensors")
    _reseal(copy)
    with pytest.raises(CertificateError, match=r"certificate\.json"):
        load(copy)


def test_weights_that_do_not_fit_are_named(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    save_file({key: weights[key] for key in list(weights)[1:]}, copy / "model.safetensors")
    _reseal(copy)
    with pytest.raises(StoreError, match="do not fit"):
        load(copy)


def _edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    _reseal(folder)


@pytest.mark.parametrize("kind", ["reconstructor", "operator", "noise"])
def test_a_missing_plugin_is_named(copy: Path, kind: str) -> None:
    packages = json.loads((copy / "config.json").read_text())["packages"]
    _edit(copy, **{kind: {"name": "camera"}}, packages={**packages, kind: ["invreg-camera", "1.2"]})
    with pytest.raises(SpecError) as error:
        load(copy)
    text = str(error.value)
    assert f"there is no {kind} 'camera', which this model needs" in text
    assert "the plugin of invreg-camera 1.2" in text
    assert "pip install invreg-camera" in text


@pytest.mark.parametrize(
    "changes",
    [{"image_shape": [1, 32]}, {"image_shape": [1, 0, 32]}, {"reconstructor": 3}, {"parameters": "many"}],
)
def test_a_config_that_makes_no_sense_is_refused(copy: Path, changes: dict[str, object]) -> None:
    _edit(copy, **changes)
    with pytest.raises(StoreError, match=r"config\.json: cannot be read"):
        load(copy)


def test_parameters_that_the_plugin_refuses_are_named(copy: Path) -> None:
    _edit(copy, operator={"name": "gaussian_blur", "std": -1.0})
    with pytest.raises(SpecError, match=r"operator\.std"):
        load(copy)


def test_a_later_format_is_named(copy: Path) -> None:
    _edit(copy, format="invreg-model-9")
    with pytest.raises(StoreError, match="invreg-model-9"):
        load(copy)


def test_a_model_has_one_method(exported: Path) -> None:
    assert load(exported, "net").name == "net"
    with pytest.raises(StoreError, match="no method 'unet'"):
        load(exported, "unet")


def test_nothing_is_overwritten(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(StoreError, match="exists already"):
            invreg.export_model(run_folder, "net", to=target)
    (tmp_path / "empty").mkdir()
    assert invreg.export_model(run_folder, "net", to=tmp_path / "empty").is_dir()


def test_a_place_that_cannot_be_written_is_named(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        invreg.export_model(run_folder, "net", to=tmp_path / "file" / "model")


@pytest.mark.parametrize("last", range(1, 6))
def test_an_export_that_is_interrupted_leaves_no_model(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    write, written = ModelFolder.write_bytes, []

    def killed(self: ModelFolder, name: str, content: bytes) -> None:
        write(self, name, content)
        written.append(name)
        if len(written) == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(ModelFolder, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        invreg.export_model(run_folder, "net", to=tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_is_not_trained_is_not_exported(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / "methods" / "net" / "training.json").unlink()
    with pytest.raises(StoreError, match="not trained yet"):
        invreg.export_model(run, "net", to=tmp_path / "net")
    with pytest.raises(SpecError, match="net, unet"):
        invreg.export_model(run, to=tmp_path / "net")
    assert not (tmp_path / "net").exists()


# -- the command


def test_the_command_prints_the_folder_last(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "exported"
    monkeypatch.setattr(sys, "argv", ["invreg", "export", str(run_folder), "net", "--to", str(target)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    captured = capsys.readouterr()
    assert not done.value.code, captured.err
    assert captured.out.splitlines()[-1] == str(target)
    assert load(target).name == "net"
