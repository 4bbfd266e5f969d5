"""Trainings start from the weights of a model, of a run or of one that comes with invreg."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import invreg
from invreg import Registry, Result, SpecError
from invreg.specs.plan import make_plan
from invreg.specs.spec import Spec, parse_spec
from invreg.storage.seal import digest

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow

MakeSpec = Callable[..., dict[str, Any]]

_installed = cache(Registry.installed)


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invreg.export_model(run_folder, "net", to=tmp_path_factory.mktemp("models") / "net", registry=_installed())


@pytest.fixture
def spec(run_spec: dict[str, Any]) -> MakeSpec:
    def make(start: Any, trainer: Any = None, **parameters: Any) -> dict[str, Any]:
        reconstructor = {**run_spec["methods"]["net"]["reconstructor"], **parameters}
        method = {"reconstructor": reconstructor, "start_from": start} | ({"trainer": trainer} if trainer else {})
        return {**run_spec, "methods": {"net": method}, "analyses": []}

    return make


def _run(spec: dict[str, Any], output: Path) -> Result:
    result = invreg.run(spec, output, "cpu", progress=False, registry=_installed())
    assert isinstance(result, Result)
    return result


def test_without_a_trainer_it_is_the_model(spec: MakeSpec, run_folder: Path, exported: Path, tmp_path: Path) -> None:
    original = invreg.load_model(run_folder, "net", "cpu", _installed())
    for number, start in enumerate((str(exported), {"model": str(run_folder), "method": "net"})):
        net = _run(spec(start), tmp_path / str(number)).methods["net"].reconstructor
        z = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
        assert torch.equal(net(z).detach(), original.reconstructor(z))


def test_a_training_goes_on_from_it(spec: MakeSpec, exported: Path, tmp_path: Path) -> None:
    trainer = {"name": "reconstruction", "steps": 1, "batch_size": 2, "lr": 1e-9, "muon_lr": 1e-9}
    net = _run(spec(str(exported), trainer), tmp_path).methods["net"].reconstructor
    weights = load_file(exported / "model.safetensors")
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, weights[name], atol=1e-4), name
    other = _run(spec(None, trainer), tmp_path).methods["net"].reconstructor  # at random, it starts elsewhere
    assert any(not torch.allclose(tensor, weights[name], atol=0.01) for name, tensor in other.state_dict().items())


def test_the_weights_are_part_of_what_a_run_is(spec: MakeSpec, exported: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    before = make_plan(parse_spec(spec(str(model))), _installed())
    start = before.spec.methods["net"].start_from
    assert start is not None
    assert start.weights == digest((model / "model.safetensors").read_bytes())
    weights = load_file(model / "model.safetensors")
    changed = {name: 0.9 * tensor if tensor.ndim else tensor for name, tensor in weights.items()}
    save_file(changed, model / "model.safetensors")
    assert make_plan(parse_spec(spec(str(model))), _installed()).digest != before.digest
    with pytest.raises(SpecError, match="other weights than the hash says") as error:
        _run(before.spec.model_dump(mode="json"), tmp_path)
    assert "methods.net.start_from" in str(error.value)


def test_a_finished_run_needs_the_model_no_longer(spec: MakeSpec, exported: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    first = _run(spec(str(model)), tmp_path)
    resolved = Spec.model_validate(first.spec.model_dump())
    shutil.rmtree(model)
    loaded = invreg.load(first.folder, "cpu", _installed())
    assert isinstance(loaded, Result)
    z = torch.rand(1, 1, 20, 20)
    assert torch.equal(loaded.methods["net"].reconstructor(z), first.methods["net"].reconstructor(z))
    assert _run(resolved.model_dump(), tmp_path).folder == first.folder


def test_specs_without_it_are_as_before(run_spec: dict[str, Any]) -> None:
    plan = make_plan(parse_spec(run_spec), _installed())
    assert "start_from" not in plan.spec.to_yaml()
    assert all("start_from" not in method for method in plan.spec.model_dump()["methods"].values())


@pytest.mark.parametrize("name", ["gaussian-deblur", "denoise"])
def test_models_that_come_with_invreg_are_a_start(spec: MakeSpec, name: str) -> None:
    start = make_plan(parse_spec({**spec(name), "operator": "identity"}), _installed()).spec.methods["net"].start_from
    assert start is not None
    assert start.model == name
    assert start.weights is not None


def test_what_cannot_be_a_start_is_refused(spec: MakeSpec, run_folder: Path, exported: Path, tmp_path: Path) -> None:
    def refusal(start: Any, **parameters: Any) -> str:
        with pytest.raises(SpecError) as error:
            _run(spec(start, **parameters), tmp_path)
        return str(error.value)

    assert "did you mean 'gaussian-deblur'" in refusal("gausian-deblur")
    assert "there is no such model" in refusal("nowhere/at/all")
    assert "a run with 3 methods" in refusal(str(run_folder))
    assert "did you mean 'net'" in refusal({"model": str(run_folder), "method": "nett"})
    assert "its weights do not fit" in refusal(str(exported), hidden=7)
    assert "methods.net.start_from" in refusal(str(exported), hidden=7)
    assert "weights" in refusal({"model": str(exported), "weights": "abc"})
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"nothing")
    assert "cannot be read" in refusal(str(broken))
