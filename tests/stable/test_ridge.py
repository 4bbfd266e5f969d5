"""The convex ridge regularizer: its derivatives, its convexity, and the bounds that step sizes come from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from invreg_stable.ridge import SPACING, Ridge, RidgeWeights, filter_norm_bound

SHAPE = (1, 2, 9, 8)


def ridge(scale: float = 2.0, kernel_size: int = 3) -> Ridge:
    torch.manual_seed(0)
    weights = RidgeWeights(filters=3, hidden=2, kernel_size=kernel_size, knots=4).double()
    with torch.no_grad():
        weights.log_slopes.copy_(torch.randn(3, 4, dtype=torch.float64))
        return weights.ridge(scale)


def images(seed: int, count: int = 1) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.rand((count, *SHAPE[1:]), generator=numbers, dtype=torch.float64) / 4


def matrix(function: object, shape: tuple[int, ...]) -> Tensor:
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([function(one[None]).flatten() for one in unit], 1)  # type: ignore[operator]


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_gradient_is_that_of_the_value(scale: float) -> None:
    made, x, h = ridge(scale), images(1), images(2) - 0.1
    step = 1e-5
    difference = (made.value(x + step * h) - made.value(x - step * h)) / (2 * step)
    assert (made.gradient(x) * h).sum().item() == pytest.approx(difference.item(), rel=1e-5)


def test_the_second_derivative_is_that_of_the_gradient() -> None:
    made, x, h = ridge(), images(1), images(2)
    step = 1e-7
    difference = (made.gradient(x + step * h) - made.gradient(x - step * h)) / (2 * step)
    torch.testing.assert_close(made.second_derivative(made.curvature(x), h), difference, rtol=1e-4, atol=1e-6)


def test_the_value_is_convex_and_zero_for_constant_images() -> None:
    made = ridge()
    a, b = images(1, 20), 2 * images(2, 20) - 0.3
    between = torch.linspace(0, 1, 20, dtype=torch.float64)
    mixed = between.view(-1, 1, 1, 1) * a + (1 - between).view(-1, 1, 1, 1) * b
    assert (made.value(mixed) <= between * made.value(a) + (1 - between) * made.value(b) + 1e-12).all()
    assert (((made.gradient(a) - made.gradient(b)) * (a - b)).flatten(1).sum(1) >= 0).all()
    assert made.value(torch.full(SHAPE, 0.7, dtype=torch.float64)).abs().item() < 1e-12
    assert (made.value(a) > 0).all()


def test_the_potential_is_the_integral_of_the_spline() -> None:
    """Against sums of many small steps, also beyond the last knot."""
    made = ridge(1.0)
    intercept, slope = made._lines()
    for end in (0.3 * SPACING, 2.5 * SPACING, 7 * SPACING):
        t = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * end
        wide = t.view(1, 1, 1, -1).expand(1, 3, 1, -1)
        piece = made._located(wide)
        sigma = intercept.reshape(-1)[piece] + slope.reshape(-1)[piece] * wide
        assert (sigma.diff(dim=-1) >= -1e-15).all()
        expected = sigma.mean(-1).flatten() * end

        class Fixed(Ridge):
            def responses(self, x: Tensor) -> Tensor:
                return torch.full((1, 3, 1, 1), x.item(), dtype=torch.float64)

        found = Fixed(made.first, made.second, made.slopes, 1.0).value(torch.tensor([end]).double())
        assert found.item() == pytest.approx(expected.sum().item(), rel=1e-7)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_adjoint_is_the_transpose_and_the_norms_are_bounded(kernel_size: int) -> None:
    made = ridge(kernel_size=kernel_size)
    x = images(1)
    filters = matrix(made.responses, (1, *SHAPE[2:]))
    responses = made.responses(x)
    y = torch.randn(responses.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert (responses * y).sum().item() == pytest.approx((x * made.transposed(y, x)).sum().item(), rel=1e-10)
    assert torch.linalg.matrix_norm(filters, 2).item() <= 2
    curvature = made.second_derivative(made.curvature(0 * x), x)
    assert curvature.norm() <= made.lipschitz() * x.norm()


def test_the_norm_of_the_filters_is_bounded_closely() -> None:
    torch.manual_seed(1)
    first, second = torch.randn(2, 1, 3, 3).double(), torch.randn(4, 2, 3, 3).double()
    # Filters on a torus, whose norm is the maximum over its frequencies: a lower bound.
    points = 240
    inner, outer = torch.fft.fft2(first[:, 0], s=(points, points)), torch.fft.fft2(second, s=(points, points))
    norm = (outer * inner).sum(1).abs().square().sum(0).max().sqrt().item()
    assert norm <= filter_norm_bound(first, second).item() <= 1.1 * norm
