"""Methods without iterations become programs that give the same images; others are refused with the reason."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import invreg
from invreg import InvregError, Model, Problem, Registry
from invreg.models.program import ONNX, TORCH, programs

pytestmark = pytest.mark.slow

_installed = cache(Registry.installed)


def test_a_program_of_torch_gives_the_same_images(run_folder: Path, tmp_path: Path) -> None:
    folder = invreg.export_model(run_folder, "net", to=tmp_path / "net", torch_export=True, registry=_installed())
    model = invreg.load_model(folder, device="cpu", registry=_installed())
    program = torch.export.load(folder / TORCH).module()
    for shape in ((1, 1, 32, 32), (4, 1, 21, 50)):
        z = torch.rand(shape, generator=torch.Generator().manual_seed(4))
        assert float((program(z) - model.reconstructor(z)).abs().max()) <= 1e-5
    assert TORCH in (folder / "model.sha256").read_text()


def test_a_program_of_onnx_gives_the_same_images(run_folder: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    import onnxruntime

    model = invreg.load_model(run_folder, "net", "cpu", _installed())
    session = onnxruntime.InferenceSession(programs(model, as_torch=False, as_onnx=True)[ONNX])
    z = torch.rand(2, 1, 24, 40, generator=torch.Generator().manual_seed(4))
    (image,) = session.run(None, {session.get_inputs()[0].name: z.numpy()})
    assert np.abs(image - model.reconstructor(z).numpy()).max() <= 1e-5


def test_methods_that_iterate_are_refused(run_folder: Path) -> None:
    problem = invreg.load_model(run_folder, "net", "cpu", _installed()).problem
    for spec in ({"name": "iresnet", "subnetworks": 2, "channels": 2, "hidden": 4}, {"name": "tv"}):
        method = _installed().build("reconstructor", spec)
        method.setup(problem, (1, 32, 32))
        model = Model("iterates", method, problem, (1, 32, 32))
        with pytest.raises(InvregError, match="no iterations"):
            programs(model, as_torch=True, as_onnx=False)


def test_methods_with_sparse_matrices_are_refused() -> None:
    operator = _installed().build("operator", {"name": "radon", "angles": 6})
    problem = Problem(operator, _installed().build("noise", {"name": "gaussian", "std": 0.01}))
    fbp = _installed().build("reconstructor", "fbp")
    fbp.setup(problem, (1, 16, 16))
    with pytest.raises(InvregError, match="FilteredBackProjection cannot become a program"):
        programs(Model("fbp", fbp, problem, (1, 16, 16)), as_torch=True, as_onnx=False)


def test_a_torch_that_is_too_old_is_named(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = invreg.load_model(run_folder, "net", "cpu", _installed())
    monkeypatch.delattr(torch.export.Dim, "DYNAMIC")
    with pytest.raises(InvregError, match=r"makes no programs\n.*expected: torch 2.6 or newer"):
        programs(model, as_torch=True, as_onnx=False)


def test_a_missing_package_is_named(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = invreg.load_model(run_folder, "net", "cpu", _installed())
    monkeypatch.setattr("invreg.models.program.find_spec", lambda name: None)
    with pytest.raises(InvregError, match=r"invreg\[onnx\]"):
        programs(model, as_torch=False, as_onnx=True)
