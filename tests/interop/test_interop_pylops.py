from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import invreg
from invreg import Registry
from invreg.interop import operator_from_pylops, operator_from_scipy, operator_to_pylops

REGISTRY = Registry.installed()


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_derivative_of_pylops_is_a_difference() -> None:
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed")
    operator = operator_from_pylops(pylops.FirstDerivative((6, 5), axis=0, kind="forward"))
    x, y = random(1, 2, 1, 6, 5), random(2, 2, 1, 6, 5)
    torch.testing.assert_close(operator(x)[:, :, :-1], x[:, :, 1:] - x[:, :, :-1])
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), rel=1e-10)


def test_shapes_come_from_dims() -> None:
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed")
    summed = operator_from_pylops(pylops.Sum((3, 6, 5), axis=0))
    assert summed.range_shape((3, 6, 5)) == (1, 6, 5)
    x = random(1, 2, 3, 6, 5)
    torch.testing.assert_close(summed(x), x.sum(1, keepdim=True))
    flat = operator_from_pylops(pylops.MatrixMult(random(1, 4, 6).numpy()))
    assert flat.range_shape((1, 1, 6)) == (1, 1, 4)
    shaped = operator_from_pylops(pylops.MatrixMult(random(1, 4, 6).numpy()), (1, 2, 3), (1, 2, 2))
    assert shaped.range_shape((1, 2, 3)) == (1, 2, 2)


def test_gradients_are_those_of_the_dense_matrix() -> None:
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed")
    foreign = pylops.Restriction((4, 5), [0, 3], axis=0) @ pylops.FirstDerivative((4, 5), axis=1)
    dense = torch.from_numpy(np.asarray(foreign.todense()))
    operator = operator_from_pylops(foreign)
    x = random(1, 2, 1, 4, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(operator(x).square().sum(), x)
    torch.testing.assert_close(gradient, (2 * x.flatten(1) @ dense.T @ dense).view_as(x))
    assert torch.autograd.gradcheck(operator, (x,), check_forward_ad=True)


@pytest.mark.slow
def test_there_and_back() -> None:
    pytest.importorskip("pylops", reason="PyLops is not installed")
    blur = REGISTRY.build("operator", {"name": "gaussian_blur", "boundary": "zero"})
    foreign = operator_to_pylops(blur, (1, 16, 12))
    assert tuple(foreign.dims) == tuple(foreign.dimsd) == (1, 16, 12)
    x = random(1, 1, 1, 16, 12)
    torch.testing.assert_close(torch.from_numpy(foreign @ x[0].numpy()), blur(x)[0])
    again = operator_from_pylops(foreign)
    torch.testing.assert_close(again.adjoint(x), blur.adjoint(x), rtol=1e-12, atol=1e-12)
    assert foreign.shape == (192, 192)


def test_pylops_algebra_works_on_ours() -> None:
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed")
    blur = operator_to_pylops(REGISTRY.build("operator", "gaussian_blur"), (1, 16, 16))
    assert pylops.utils.dottest(blur, 256, 256, rtol=1e-10)
    normal = operator_from_pylops(blur.H @ blur)
    x = random(1, 1, 1, 16, 16)
    ours = REGISTRY.build("operator", "gaussian_blur")
    torch.testing.assert_close(normal(x), ours.adjoint(ours(x)))


@pytest.mark.slow
def test_tv_on_a_pylops_operator_is_tv_on_ours() -> None:
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed")
    kernel = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    theirs = operator_from_pylops(pylops.signalprocessing.Convolve2D((24, 24), h=kernel, offset=(1, 1)))
    ours = REGISTRY.build("operator", {"name": "convolution", "kernel": kernel.tolist(), "boundary": "zero"})
    x = random(1, 2, 1, 24, 24)
    torch.testing.assert_close(theirs(x), ours(x))
    z = invreg.Problem(ours, REGISTRY.build("noise", {"name": "gaussian", "std": 0.02})).measure(x, seed=0)
    found = []
    for operator in (ours, theirs):
        tv = REGISTRY.build("reconstructor", {"name": "tv", "weight": 0.005, "tolerance": 1e-5})
        tv.setup(invreg.Problem(operator), (1, 24, 24))
        found.append(tv(z))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-3)


def test_what_is_not_of_pylops_is_refused() -> None:
    with pytest.raises(invreg.InvregError, match="not an operator of PyLops"):
        operator_from_pylops(np.eye(4))
    with pytest.raises(invreg.InvregError, match="operator_from_scipy"):
        operator_from_pylops(operator_from_scipy(np.eye(4), (1, 2, 2)))


def test_without_pylops_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylops", None)
    with pytest.raises(invreg.InvregError, match="pip install pylops"):
        operator_to_pylops(REGISTRY.build("operator", "gaussian_blur"), (1, 16, 16))
