from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator as SciPyLinearOperator, aslinearoperator

import invreg
from invreg import Registry
from invreg.errors import InvregError
from invreg.interop import operator_from_scipy, operator_to_scipy
from invreg.interop.foreign import require

DOMAIN, RANGE = (1, 6, 5), (2, 4, 3)
REGISTRY = Registry.installed()


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def matrix() -> torch.Tensor:
    return random(0, 24, 30) - 0.5


@pytest.fixture
def operator(matrix: torch.Tensor) -> invreg.LinearOperator:
    return operator_from_scipy(aslinearoperator(matrix.numpy()), DOMAIN, RANGE)


@pytest.mark.slow
def test_products_are_those_of_the_matrix(operator: invreg.LinearOperator, matrix: torch.Tensor) -> None:
    x, y = random(1, 3, *DOMAIN), random(2, 3, *RANGE)
    torch.testing.assert_close(operator(x), (x.flatten(1) @ matrix.T).view(3, *RANGE))
    torch.testing.assert_close(operator.adjoint(y), (y.flatten(1) @ matrix).view(3, *DOMAIN))
    left, right = float((operator(x) * y).sum()), float((x * operator.adjoint(y)).sum())
    assert left == pytest.approx(right, rel=1e-10)
    assert operator.range_shape(DOMAIN) == RANGE
    assert operator.domain_shape(RANGE) == DOMAIN
    assert operator.norm(DOMAIN).value == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-5)


def test_complex_vectors_keep_their_imaginary_parts(operator: invreg.LinearOperator, matrix: torch.Tensor) -> None:
    wrapped, dense = operator_to_scipy(operator, DOMAIN), matrix.numpy()
    x, y = (random(seed, size).numpy() + 1j * random(seed + 1, size).numpy() for seed, size in ((1, 30), (3, 24)))
    np.testing.assert_allclose(wrapped @ x, dense @ x, rtol=1e-12)
    np.testing.assert_allclose(wrapped.rmatvec(y), dense.T @ y, rtol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_matrices_are_taken_as_well(kind: type, matrix: torch.Tensor) -> None:
    x = random(1, 2, *DOMAIN)
    found = operator_from_scipy(kind(matrix.numpy()), DOMAIN, RANGE)(x)
    torch.testing.assert_close(found, (x.flatten(1) @ matrix.T).view(2, *RANGE))


@pytest.mark.slow
def test_gradients_are_those_of_the_matrix(operator: invreg.LinearOperator, matrix: torch.Tensor) -> None:
    x, h, v = random(1, 2, *DOMAIN).requires_grad_(), random(2, 2, *DOMAIN), random(3, 2, *RANGE)
    assert torch.autograd.gradcheck(operator, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: operator(x) ** 2, (x,))
    (gradient,) = torch.autograd.grad((operator(x) ** 2).sum(), x)
    torch.testing.assert_close(gradient, (2 * x.flatten(1) @ matrix.T @ matrix).view_as(x))
    torch.testing.assert_close(torch.func.jvp(operator, (x.detach(),), (h,))[1], operator.jvp(x, h))
    torch.testing.assert_close(torch.func.vjp(operator, x.detach())[1](v)[0], operator.vjp(x, v))
    dense = torch.func.jacrev(operator)(x[:1].detach()).reshape(24, 30)
    torch.testing.assert_close(dense, matrix)
    torch.testing.assert_close(torch.func.vmap(operator)(x[None]), operator(x)[None])


def test_a_network_is_trained_through_it(operator: invreg.LinearOperator) -> None:
    net = torch.nn.Conv2d(1, 1, 3, padding=1).double()
    operator(net(random(1, 2, *DOMAIN))).square().mean().backward()
    assert net.weight.grad is not None
    assert float(net.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_precision_of_the_image_is_kept(dtype: torch.dtype, operator: invreg.LinearOperator) -> None:
    x = random(1, 2, *DOMAIN).to(dtype)
    before = x.clone()
    found = operator(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, operator(x.double()).to(dtype))
    assert torch.equal(x, before)


def test_an_operator_in_single_precision_does_not_lower_that_of_float64() -> None:
    exact = SciPyLinearOperator((4, 4), matvec=lambda v: v / 3, rmatvec=lambda v: v / 3, dtype=np.float32)
    x = random(1, 1, 1, 2, 2)
    torch.testing.assert_close(operator_from_scipy(exact, (1, 2, 2))(x), x / 3, rtol=1e-15, atol=0)


def test_a_greedy_operator_cannot_change_its_input() -> None:
    def double(vector: np.ndarray) -> np.ndarray:
        vector *= 2
        return vector

    greedy = operator_from_scipy(SciPyLinearOperator((4, 4), matvec=double, rmatvec=double, dtype=float), (1, 2, 2))
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    assert torch.equal(greedy(x), 2 * torch.ones_like(x))
    assert torch.equal(x, torch.ones_like(x))


def test_an_image_does_not_depend_on_its_batch(operator: invreg.LinearOperator) -> None:
    x = random(1, 5, *DOMAIN)
    assert torch.equal(operator(x)[2:3], operator(x[2:3]))
    assert operator(x[:0]).shape == (0, *RANGE)


def test_copies_share_what_is_wrapped(operator: invreg.LinearOperator) -> None:
    copied = copy.deepcopy(operator).double()
    assert copied.linear_operator is operator.linear_operator  # type: ignore[attr-defined]
    x = random(1, 1, *DOMAIN)
    assert torch.equal(copied(x), operator(x))
    assert copied.linearize(x).norm(DOMAIN).value == pytest.approx(operator.norm(DOMAIN).value)


def test_there_and_back() -> None:
    blur = REGISTRY.build("operator", {"name": "gaussian_blur", "boundary": "zero"})
    flat = operator_to_scipy(blur, (2, 16, 12))
    again = operator_from_scipy(flat, (2, 16, 12))
    x = random(1, 2, 2, 16, 12)
    torch.testing.assert_close(again(x), blur(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(again.adjoint(x), blur.adjoint(x), rtol=1e-12, atol=1e-12)
    assert flat.dtype == np.float64


@pytest.mark.slow
def test_tv_on_it_is_tv_on_our_own_operator() -> None:
    blur = REGISTRY.build("operator", {"name": "gaussian_blur"})
    wrapped = operator_from_scipy(operator_to_scipy(blur, (1, 24, 24)), (1, 24, 24))
    z = invreg.Problem(blur, REGISTRY.build("noise", {"name": "gaussian", "std": 0.02})).measure(
        random(1, 2, 1, 24, 24), seed=0
    )
    found = []
    for operator in (blur, wrapped):
        tv = REGISTRY.build("reconstructor", {"name": "tv", "weight": 0.002, "tolerance": 1e-4})
        tv.setup(invreg.Problem(operator), (1, 24, 24))
        found.append(tv(z))
    # Two operator norms, each right to its own last digits, lead along two paths to the same minimiser.
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-3)


def test_iresnet_is_trained_on_it() -> None:
    blur = REGISTRY.build("operator", {"name": "gaussian_blur"})
    operator = operator_from_scipy(operator_to_scipy(blur, (1, 16, 16)), (1, 16, 16))
    problem = invreg.Problem(operator, REGISTRY.build("noise", {"name": "gaussian", "std": 0.02}))
    net = REGISTRY.build("reconstructor", {"name": "iresnet", "subnetworks": 2, "channels": 2, "hidden": 4})
    net.setup(problem, (1, 16, 16))
    x = random(1, 2, 1, 16, 16, dtype=torch.float32)
    net(problem.measure(x, seed=0)).sub(x).square().mean().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_no_spec_can_name_it(operator: invreg.LinearOperator) -> None:
    with pytest.raises(invreg.SpecError, match="no spec can name it") as caught:
        invreg.spec_of(operator)
    assert "in Python" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "domain", "range_", "message"),
    [
        (np.eye(4), (1, 2, 3), None, "6 values"),
        (np.eye(4), (1, 2, 2), (1, 2, 1), "2 values"),
        (np.eye(4) * 1j, (1, 2, 2), (1, 2, 1), "2 values"),
        ("nonsense", (1, 2, 2), None, "not a linear operator"),
        (None, (1, 2, 2), None, "not a linear operator"),
    ],
)
def test_bad_operators_are_refused(given: object, domain: tuple, range_: tuple | None, message: str) -> None:
    with pytest.raises(invreg.InvregError, match=message):
        operator_from_scipy(given, domain, range_)


def test_images_that_do_not_fit_are_refused(operator: invreg.LinearOperator) -> None:
    with pytest.raises(invreg.ShapeError, match=r"\(2, 1, 5, 6\)"):
        operator(random(1, 2, 1, 5, 6))
    with pytest.raises(invreg.ShapeError, match="only"):
        operator.range_shape((1, 5, 6))
    with pytest.raises(invreg.ShapeError, match="floating-point"):
        operator(torch.ones(1, *DOMAIN, dtype=torch.int64))


def test_an_operator_without_adjoint_says_so() -> None:
    one_way = operator_from_scipy(SciPyLinearOperator((4, 4), matvec=lambda v: v, dtype=float), (1, 2, 2))
    assert torch.equal(one_way(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))
    with pytest.raises(invreg.InvregError, match="no adjoint"):
        one_way.adjoint(torch.ones(1, 1, 2, 2))


def test_nonlinear_operators_are_not_linear() -> None:
    with pytest.raises(invreg.InvregError, match="linearize"):
        operator_to_scipy(REGISTRY.build("operator", "perona_malik"), (1, 16, 16))


@pytest.mark.slow
def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import sys, invreg.interop\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'pylops', 'deepinv') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_operator_that_is_complex_all_the_same_is_refused() -> None:
    sly = SciPyLinearOperator((4, 4), matvec=lambda v: 1j * v, rmatvec=lambda v: v, dtype=float)
    with pytest.raises(invreg.InvregError, match="is complex"):
        operator_from_scipy(sly, (1, 2, 2))(torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_values_come_as_real_and_imaginary_channels(matrix: torch.Tensor, dtype: type) -> None:
    values = (matrix + 1j * random(7, 24, 30)).numpy().astype(dtype)
    operator = operator_from_scipy(scipy.sparse.csr_array(values), DOMAIN, RANGE)
    assert operator.range_shape(DOMAIN) == (4, 4, 3)
    x, y = random(1, 2, *DOMAIN), random(2, 2, 4, 4, 3)
    expected = (values @ x[0].flatten().numpy()).reshape(RANGE)
    found = operator(x)[0].numpy()
    np.testing.assert_allclose(found[0::2] + 1j * found[1::2], expected, rtol=1e-5)
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), rel=1e-6)
    z = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((operator(z) * y).sum(), z)
    torch.testing.assert_close(gradient, operator.adjoint(y))


@pytest.mark.parametrize("dtype", [np.longdouble, np.int64, np.int8, None])
def test_any_real_type_of_operator_will_do(dtype: type | None) -> None:
    third = SciPyLinearOperator((4, 4), matvec=lambda v: 3 * v, rmatvec=lambda v: 3 * v, dtype=dtype)
    x = random(1, 1, 1, 2, 2)
    torch.testing.assert_close(operator_from_scipy(third, (1, 2, 2))(x), 3 * x, rtol=1e-15, atol=0)


def test_it_works_without_gradients_and_in_batches_of_one(operator: invreg.LinearOperator) -> None:
    x = random(1, 1, *DOMAIN).requires_grad_()
    with torch.no_grad():
        assert not operator(x).requires_grad
    with torch.inference_mode():
        assert operator(x).shape == (1, *RANGE)
    strided = random(1, 1, 5, 6, 1).permute(0, 3, 2, 1)
    assert torch.equal(operator(strided), operator(strided.contiguous()))


def test_packages_that_are_missing_or_broken_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package_of_a_test.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvregError, match="pip install missing-package"):
        require("missing_package_of_a_test", "missing-package")
    with pytest.raises(InvregError, match="RuntimeError: operator torchvision::nms") as caught:
        require("broken_package_of_a_test", "broken-package")
    assert "torchvision of one release" in str(caught.value)
