"""The defaults of Operator and LinearOperator, the linearization, the normal operator and the norm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, NormalOperator
from invreg.errors import ConvergenceError, InvregError, ShapeError
from toy import Square

DOMAIN, RANGE = (2, 3, 4), (1, 5, 7)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Rectangular(LinearOperator):
    """A random matrix from X to another space Y; its adjoint is the default one."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.register_buffer("matrix", random(math.prod(RANGE), math.prod(DOMAIN), dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).view(-1, *RANGE)

    def range_shape(self, domain_shape: tuple[int, ...]) -> tuple[int, ...]:
        return RANGE

    def domain_shape(self, range_shape: tuple[int, ...]) -> tuple[int, ...]:
        return DOMAIN


class Silent(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


class Broken(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return x / torch.zeros_like(x)


class Scaling(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return -3 * x


def test_default_adjoint_is_the_transpose() -> None:
    operator, y = Rectangular(), random(6, *RANGE, seed=1)
    torch.testing.assert_close(operator.adjoint(y), (y.flatten(1) @ operator.matrix).view(-1, *DOMAIN))
    x = random(6, *DOMAIN, seed=2)
    assert torch.sum(operator(x) * y).item() == pytest.approx(torch.sum(x * operator.adjoint(y)).item(), rel=1e-12)


def test_derivatives_of_a_linear_operator_are_itself() -> None:
    operator = Rectangular()
    x, h, v = random(2, *DOMAIN), random(2, *DOMAIN, seed=1), random(2, *RANGE, seed=2)
    torch.testing.assert_close(operator.jvp(x, h), operator(h))
    torch.testing.assert_close(operator.vjp(x, v), operator.adjoint(v))


def test_adjoint_between_different_shapes_needs_the_shape_of_the_domain() -> None:
    class Crop(LinearOperator):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., 1:]

        def range_shape(self, domain_shape: tuple[int, ...]) -> tuple[int, ...]:
            return (*domain_shape[:-1], domain_shape[-1] - 1)

    with pytest.raises(NotImplementedError, match=r"Crop .* adjoint\(\) or domain_shape\(\)"):
        Crop().adjoint(random(1, *RANGE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_is_the_largest_singular_value(dtype: torch.dtype) -> None:
    operator = Rectangular(dtype)
    estimate = operator.norm(DOMAIN)
    assert float(estimate) == pytest.approx(torch.linalg.matrix_norm(operator.matrix.double(), 2).item(), rel=1e-6)
    assert estimate.residual < 1e-5
    assert operator.matrix.dtype == dtype


def test_norm_is_reproducible_and_hardly_depends_on_the_seed() -> None:
    operator = Rectangular()
    assert operator.norm(DOMAIN) == operator.norm(DOMAIN)
    assert operator.norm(DOMAIN, seed=1).value == pytest.approx(operator.norm(DOMAIN, seed=2).value, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (1, 3, 1), (2, 5, 6)])
def test_norm_of_a_multiple_of_the_identity(shape: tuple[int, ...]) -> None:
    assert Scaling().norm(shape).value == pytest.approx(3, rel=1e-12)


def test_norm_of_zero_is_zero() -> None:
    assert Silent().norm((1, 4, 4)).value == 0


def test_norm_of_nonsense_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="NaN or infinite"):
        Broken().norm((1, 4, 4))


def test_normal_operator_is_self_adjoint_nonexpansive_and_pulls_measurements_back() -> None:
    operator = Rectangular()
    normal = NormalOperator(operator, DOMAIN)
    x, y = random(4, *DOMAIN, seed=3), random(4, *DOMAIN, seed=4)
    assert normal.range_shape(DOMAIN) == DOMAIN
    assert torch.sum(normal(x) * y).item() == pytest.approx(torch.sum(x * normal.adjoint(y)).item(), rel=1e-12)
    torch.testing.assert_close(normal.pull_back(operator(x)), normal(x))
    assert normal.norm(DOMAIN).value == pytest.approx(1, rel=1e-6)


def test_normal_operator_of_zero_is_refused() -> None:
    with pytest.raises(InvregError, match="norm of Silent is zero"):
        NormalOperator(Silent(), (1, 4, 4))


def test_default_derivatives_of_a_nonlinear_operator() -> None:
    x, h = random(2, 1, 3, 4), random(2, 1, 3, 4, seed=1)
    torch.testing.assert_close(Square().jvp(x, h), 2 * x * h)
    torch.testing.assert_close(Square().vjp(x, h), 2 * x * h)


def test_linearization_is_the_derivative_at_its_point() -> None:
    x, h = random(2, 1, 3, 4), random(2, 1, 3, 4, seed=1)
    derivative = Square().linearize(x)
    torch.testing.assert_close(derivative(h), 2 * x * h)
    torch.testing.assert_close(derivative.adjoint(h), 2 * x * h)
    torch.testing.assert_close(derivative.jvp(torch.zeros_like(x), h), 2 * x * h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_of_a_linearization(dtype: torch.dtype) -> None:
    x = random(1, 1, 3, 4, dtype=dtype)
    assert Square().linearize(x).norm((1, 3, 4)).value == pytest.approx(2 * x.abs().max().item(), rel=1e-6)
    with pytest.raises(ShapeError, match=r"expected: .*\(1, 3, 4\)"):
        Square().linearize(x).norm((1, 4, 4))


def test_linearization_as_scipy_is_the_matrix() -> None:
    operator = Rectangular()
    linearization = operator.linearize(torch.zeros(1, *DOMAIN, dtype=torch.float64))
    assert linearization.range_shape(DOMAIN) == RANGE
    assert linearization.domain_shape(RANGE) == DOMAIN
    matrix = linearization.as_scipy()
    assert matrix.shape == (math.prod(RANGE), math.prod(DOMAIN))
    np.testing.assert_allclose(matrix @ np.eye(matrix.shape[1]), operator.matrix.numpy(), atol=1e-12)
    np.testing.assert_allclose(matrix.H @ np.eye(matrix.shape[0]), operator.matrix.numpy().T, atol=1e-12)


def test_linearization_as_scipy_carries_no_gradient() -> None:
    matrix = Square().linearize(random(1, 1, 2, 2).requires_grad_()).as_scipy()
    assert isinstance(matrix @ np.ones(4), np.ndarray)


def test_linearization_as_scipy_refuses_a_batch() -> None:
    with pytest.raises(ShapeError, match="batch of 2 images"):
        Square().linearize(random(2, 1, 3, 4)).as_scipy()
