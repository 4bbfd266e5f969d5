"""Operators of PyLops, and matrices in files, by name."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import invreg
from invreg import Registry, ShapeError, SpecError, spec_of

REGISTRY = Registry.installed()
SHAPE = (1, 6, 5)


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape or (2, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(name: str, **given: Any) -> Any:
    return REGISTRY.build("operator", {"name": name, **given}, "operator")


@pytest.fixture
def pylops() -> Any:
    return pytest.importorskip("pylops", reason="PyLops is not installed")


def lops(operator: str, parameters: dict[str, Any] | None = None) -> Any:
    return build("pylops", operator=operator, parameters=parameters)


def test_dims_follow_from_the_images(pylops: Any) -> None:
    operator = lops("FirstDerivative", {"axis": -1, "kind": "forward"})
    x = images()
    torch.testing.assert_close(operator(x)[..., :-1], x.diff(dim=-1))
    assert operator.range_shape((3, 4, 5)) == (3, 4, 5)
    assert operator.adjoint_defect(SHAPE) < 1e-5
    torch.testing.assert_close(copy.deepcopy(operator).adjoint(x), operator.adjoint(x))
    assert spec_of(operator)["parameters"] == {"axis": -1, "kind": "forward"}


def test_arrays_and_other_operators_are_parameters(pylops: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "h.npy", np.full((3, 3), 1 / 9))
    blur = {"operator": "Convolve2D", "parameters": {"h": {"path": str(tmp_path / "h.npy")}, "offset": [1, 1]}}
    x = images()
    torch.testing.assert_close(lops("Convolve2D", blur["parameters"])(x)[:, :, 2, 2], x[:, :, 1:4, 1:4].mean((-2, -1)))
    both = lops("VStack", {"ops": [blur, {"operator": "Identity", "parameters": {"N": 30}}]})
    assert both.range_shape(SHAPE) == (1, 1, 60)
    torch.testing.assert_close(both(x)[:, 0, 0, 30:], x.flatten(1))
    assert both.adjoint_defect(SHAPE) < 1e-5


def test_complex_ones_come_as_real_and_imaginary_parts(pylops: Any) -> None:
    operator = lops("FFT2D")
    assert operator.range_shape(SHAPE) == (2, 6, 5)
    x = images()
    spectrum = torch.fft.fft2(x)
    ratio = float(operator(x).norm() / spectrum.abs().norm())
    torch.testing.assert_close(operator(x)[:, :1], spectrum.real * ratio)
    assert operator.adjoint_defect(SHAPE) < 1e-5


def test_lists_become_arrays(pylops: Any) -> None:
    x = images(2, 1, 2, 2)
    diagonal = lops("Diagonal", {"diag": [1.0, 2.0]})
    torch.testing.assert_close(diagonal(x), x * torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(diagonal.vjp(x, x), diagonal.adjoint(x))


def test_sizes_whose_measurements_look_alike_are_told_apart_by_the_image(pylops: Any) -> None:
    both = [{"operator": "FirstDerivative", "parameters": {"axis": axis}} for axis in (0, 1)]
    operator = lops("VStack", {"ops": both})
    assert operator.range_shape((1, 6, 5)) == operator.range_shape((1, 5, 6)) == (1, 1, 60)
    x = images(2, 1, 5, 6)
    left, right = (operator(x) ** 2).sum(), (x * operator.vjp(x, operator(x))).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-10)
    with pytest.raises(ShapeError, match="may be of images"):
        operator.adjoint(operator(x))


@pytest.mark.parametrize(
    ("operator", "parameters", "words"),
    [
        ("FirstDerivativ", None, ["operator.operator", "did you mean 'FirstDerivative'?"]),
        ("FirstDerivative", {"axes": 0}, ["operator.parameters.axes", "did you mean 'axis'?"]),
        ("Convolve2D", {"offset": [1, 1]}, ["Convolve2D needs h"]),
        ("FirstDerivative", {"axis": "rows"}, ["operator.parameters.axis", "'rows' is a text", "int"]),
        ("FirstDerivative", {"dims": [6, 5], "kind": "sideways"}, ["FirstDerivative refuses these parameters", "kind"]),
        ("FunctionOperator", {"f": "sin", "nrows": 3}, ["there is no operator of PyLops"]),
        (
            "VStack",
            {"ops": [{"operator": "Identty"}]},
            ["operator.parameters.ops.0.operator", "did you mean 'Identity'?"],
        ),
    ],
)
def test_what_is_wrong_is_said(pylops: Any, operator: str, parameters: Any, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        lops(operator, parameters)
    for word in words:
        assert word in str(caught.value)


def test_images_of_another_size_are_refused(pylops: Any) -> None:
    with pytest.raises(ShapeError, match="takes 12 values, and images"):
        lops("FirstDerivative", {"dims": [4, 3]}).range_shape(SHAPE)


def test_without_pylops_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylops", None)
    with pytest.raises(invreg.InvregError, match="pip install pylops"):
        lops("FirstDerivative")


# -- matrices


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.complex64])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_a_matrix_in_a_file_is_an_operator(tmp_path: Path, sparse: bool, dtype: type) -> None:
    values = (np.arange(8 * 30).reshape(8, 30) % 7 - 3).astype(dtype)
    values = values * dtype(1j) if dtype is np.complex64 else values
    path = tmp_path / ("a.npz" if sparse else "a.npy")
    if sparse:
        scipy.sparse.save_npz(path, scipy.sparse.csc_array(values))
    else:
        np.save(path, values)
    operator = build("scipy_matrix", path=str(path), range_shape=[1, 2, 4])
    x = images()
    expected = torch.from_numpy(np.asarray(values @ x.flatten(1).numpy().T)).T.reshape(2, 1, 2, 4)
    if dtype is np.complex64:
        expected = torch.cat([expected.real, expected.imag], 1)
    torch.testing.assert_close(operator(x), expected.double())
    assert operator.adjoint_defect(SHAPE) < 1e-5
    torch.testing.assert_close(copy.deepcopy(operator)(x), operator(x))
    assert build("scipy_matrix", path=str(path)).range_shape(SHAPE) == ((2 if dtype is np.complex64 else 1), 1, 8)
    assert spec_of(operator)["path"] == str(path)


def test_a_square_matrix_gives_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", 2 * np.eye(30))
    operator = build("scipy_matrix", path=str(tmp_path / "a.npy"))
    torch.testing.assert_close(operator(images()), 2 * images())
    with pytest.raises(ShapeError, match="30 x 30, and images of shape"):
        operator.range_shape((1, 7, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([{}], dtype=object), "holds no matrix"),
        (np.zeros(3), "a matrix of numbers"),
        (np.array([["a"]]), "a matrix of numbers"),
        (np.array([[1.0, np.nan]]), "NaN or infinite"),
        (None, "no such file"),
        (b"nonsense", "holds no matrix"),
    ],
)
def test_files_that_hold_no_matrix_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(SpecError, match=message):
        build("scipy_matrix", path=str(path))


def test_a_range_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 30)))
    with pytest.raises(SpecError, match=r"range_shape(.|\n)*6 rows"):
        build("scipy_matrix", path=str(tmp_path / "a.npy"), range_shape=[1, 2, 2])
