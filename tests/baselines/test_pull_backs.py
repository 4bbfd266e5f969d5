"""Pull-backs against dense matrices, in float64."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg import LinearOperator, PullBack, Registry, Shape, spec_of
from invreg.components.problem import Problem
from invreg.errors import InvregError, SpecError
from invreg.testing import check_reconstructor
from invreg_baselines import normal_equations, tikhonov
from invreg_baselines.tikhonov import Tikhonov

SHAPE = (1, 8, 8)
REGISTRY = Registry.installed()
KERNEL = [[0.0, 0.2, 0.1], [0.3, 0.5, 0.0], [0.0, -0.2, 0.1]]
SPECTRAL: list[Any] = [
    "identity",
    {"name": "implicit_diffusion", "boundary": "dirichlet"},
    *({"name": "gaussian_blur", "kernel_size": 3, "boundary": rule} for rule in ("symmetric", "zero", "reflect")),
    {"name": "convolution", "kernel": KERNEL, "boundary": "circular"},
    {"name": "fourier_sampling", "acceleration": 2.5, "center_fraction": 0.1, "pattern": "random"},
]
OTHERS: list[Any] = [
    {"name": "radon", "angles": 5},
    {"name": "convolution", "kernel": KERNEL},
]
PULL_BACKS: list[Any] = ["adjoint", {"name": "tikhonov", "alpha": 0.05}, {"name": "fbp", "window": "hann"}]


def operator_of(spec: Any) -> LinearOperator:
    built: LinearOperator = REGISTRY.build("operator", spec).double()
    return built


def matrix(function: Any, shape: Shape) -> np.ndarray:
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return function(unit).flatten(1).T.numpy()


def set_up(spec: Any, operator: LinearOperator, shape: Shape = SHAPE) -> PullBack:
    made: PullBack = REGISTRY.build("reconstructor", spec)
    made.setup(Problem(operator), shape)
    return made


def solved(a: np.ndarray, shift: float) -> np.ndarray:
    return np.linalg.solve(a.T @ a + shift * np.eye(a.shape[1]), a.T)


@pytest.mark.parametrize("spec", SPECTRAL + OTHERS, ids=str)
def test_tikhonov_is_the_solution_of_the_normal_equation(spec: Any) -> None:
    operator = operator_of(spec)
    p, a = set_up({"name": "tikhonov", "alpha": 0.02}, operator), matrix(operator, SHAPE)
    assert p._is_spectral is (spec in SPECTRAL)
    found, wanted = matrix(p, operator.range_shape(SHAPE)), solved(a, 0.02 * np.linalg.norm(a, 2) ** 2)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())  # the norm of A is found to 1e-6
    norm = np.linalg.norm(found, 2)
    assert norm <= p.norm_bound(SHAPE) <= 0.5 / math.sqrt(0.02) / np.linalg.norm(a, 2) * (1 + 1e-5)
    if p._is_spectral:
        assert p.norm_bound(SHAPE) <= norm * (1 + 1e-8)
    # PA is self-adjoint, with its spectrum in [0, 1): firmly nonexpansive.
    pa = matrix(p.on_images(), SHAPE)
    np.testing.assert_allclose(pa, pa.T, atol=1e-9)
    values = np.linalg.eigvalsh(pa)
    assert values.min() >= -1e-9
    assert values.max() < 1


@pytest.mark.parametrize("spec", SPECTRAL, ids=str)
def test_functions_of_the_normal_operator(spec: Any) -> None:
    operator, x = operator_of(spec), torch.randn(2, 3, 7, 9, dtype=torch.float64)
    normal = operator.adjoint(operator(x))
    torch.testing.assert_close(operator.normal_function(x, lambda t: t), normal)
    torch.testing.assert_close(operator.normal_function(x, lambda t: 1 + t * t), x + operator.adjoint(operator(normal)))


@pytest.mark.parametrize("alpha", [0.02, 5.0])
@pytest.mark.parametrize("spec", OTHERS, ids=str)
def test_the_iteration_is_linear_and_keeps_its_accuracy(spec: Any, alpha: float) -> None:
    operator = operator_of(spec)
    p, a = set_up({"name": "tikhonov", "alpha": alpha}, operator), matrix(operator, SHAPE)
    p.__dict__["_has_matrix"] = False
    shift = alpha * operator.norm(SHAPE).value ** 2
    wanted, found = solved(a, shift), matrix(p, operator.range_shape(SHAPE))
    # In the basis of the singular vectors, each component is missed by the accuracy at most.
    u, sizes, vt = np.linalg.svd(a, full_matrices=False)
    error = vt @ (found - wanted) @ u
    gains = sizes / (sizes**2 + shift)
    np.testing.assert_array_less(np.abs(np.diag(error)), 1.001 * normal_equations.ACCURACY * gains + 1e-12)
    np.testing.assert_allclose(error, np.diag(np.diag(error)), atol=1e-10)
    assert np.abs(np.diag(error)).max() > 0.1 * normal_equations.ACCURACY * gains.min()
    peak = min(math.sqrt(shift), sizes.max())
    best = peak / (peak**2 + shift)
    assert np.linalg.norm(found, 2) <= p.norm_bound(SHAPE) <= 1.02 * best
    assert sizes.max() <= operator.norm_bound(SHAPE) <= 1.05 * sizes.max()


@pytest.mark.parametrize("spec", PULL_BACKS, ids=str)
def test_norm_bounds_hold_and_are_sharp(spec: Any) -> None:
    operator = operator_of(OTHERS[0])
    p = set_up(spec, operator)
    norm = np.linalg.norm(matrix(p, operator.range_shape(SHAPE)), 2)
    assert norm <= p.norm_bound(SHAPE) <= 1.1 * norm


@pytest.mark.parametrize("spec", PULL_BACKS, ids=str)
def test_pull_backs_are_differentiable_and_have_an_adjoint(spec: Any) -> None:
    operator = operator_of(OTHERS[0])
    p = set_up(spec, operator)
    a, pa = matrix(p, operator.range_shape(SHAPE)), p.on_images()
    z = torch.randn(1, *operator.range_shape(SHAPE), dtype=torch.float64, requires_grad=True)
    g = torch.randn(1, *SHAPE, dtype=torch.float64)
    (p(z) * g).sum().backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.flatten().numpy(), a.T @ g.flatten().numpy(), atol=1e-12)
    np.testing.assert_allclose(matrix(pa.adjoint, SHAPE), matrix(pa, SHAPE).T, atol=1e-12)
    again = copy.deepcopy(p).to(torch.float32)
    torch.testing.assert_close(again(z.detach().float()).double(), p(z.detach()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pull_back", PULL_BACKS, ids=str)
def test_pull_backs_are_methods(pull_back: Any) -> None:
    check_reconstructor(REGISTRY.build("reconstructor", pull_back), REGISTRY.build("operator", OTHERS[0]), (1, 12, 12))


def test_other_image_sizes_keep_the_weight() -> None:
    operator = operator_of(OTHERS[0])
    p, other = set_up("tikhonov", operator), (1, 9, 9)
    a, shift = matrix(operator, other), 0.01 * operator.norm(SHAPE).value ** 2
    wanted, found = solved(a, shift), matrix(p, operator.range_shape(other))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert np.linalg.norm(found, 2) <= p.norm_bound(other)


@pytest.mark.parametrize("spec", ["fourier_sampling", "gaussian_blur", {"name": "radon", "angles": 5}], ids=str)
def test_without_a_weight_a_kernel_is_refused(spec: Any) -> None:
    with pytest.raises(SpecError, match="a kernel: images that it maps to zero") as caught:
        Tikhonov(alpha=0.0).setup(Problem(operator_of(spec)), (1, 24, 24))
    assert caught.value.where == "alpha"


def test_a_weight_that_rounding_loses_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot be factorised") as caught:
        Tikhonov(alpha=1e-300).setup(Problem(operator_of({"name": "radon", "angles": 5})), (1, 24, 24))
    assert caught.value.where == "alpha"


def test_without_a_weight_the_pseudoinverse_is_found() -> None:
    operator = operator_of({"name": "implicit_diffusion"})
    p, a = set_up({"name": "tikhonov", "alpha": 0.0}, operator), matrix(operator, SHAPE)
    np.testing.assert_allclose(matrix(p, SHAPE), np.linalg.inv(a), atol=1e-9)
    assert p.norm_bound(SHAPE) == pytest.approx(1 / np.linalg.svd(a)[1].min(), rel=1e-6)


def test_nonlinear_operators_and_zero_are_refused() -> None:
    with pytest.raises(SpecError, match="PeronaMalik is not linear") as caught:
        Tikhonov().setup(Problem(REGISTRY.build("operator", "perona_malik")), SHAPE)
    assert "LinearOperator" in str(caught.value)

    class Silent(LinearOperator):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

    with pytest.raises(InvregError, match="norm of Silent is zero"):
        Tikhonov().setup(Problem(Silent()), SHAPE)


def test_the_eigenvalues_are_those_of_the_operator() -> None:
    operator = operator_of(SPECTRAL[5])
    values = tikhonov._eigenvalues(operator, SHAPE)
    assert values is not None
    wanted = np.linalg.eigvalsh(matrix(lambda x: operator.adjoint(operator(x)), SHAPE))
    assert float(values.min()) == pytest.approx(wanted.min(), abs=1e-12)
    assert float(values.max()) == pytest.approx(wanted.max())


def test_written_as_a_spec() -> None:
    assert spec_of(Tikhonov(alpha=0.05)) == {"name": "tikhonov", "alpha": 0.05}
