"""Ridge regularizers: their derivatives, their convexity, and the bounds that step sizes and proofs come from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from invreg_stable.filters import cosines, norm_bound, responses, transposed
from invreg_stable.ridge import SPACING, Ridge, RidgeWeights, WeakRidgeWeights

SHAPE = (1, 2, 9, 8)


def ridge(scale: float = 2.0, kernel_size: int = 3, modulus: float | None = None) -> Ridge:
    torch.manual_seed(0)
    kind = RidgeWeights if modulus is None else WeakRidgeWeights
    weights = kind(filters=5, kernel_size=kernel_size, knots=4).double()
    with torch.no_grad():
        weights.kernels.normal_()
        weights.log_slopes.copy_(torch.randn(5, 4, dtype=torch.float64) / 10)
        if isinstance(weights, WeakRidgeWeights) and modulus is not None:
            weights.log_slopes.sub_(1.0)
            weights.log_falls.copy_(torch.randn(5, 4, dtype=torch.float64) / 10 + 0.2)
            return weights.ridge(scale, modulus)
        return weights.ridge(scale)


def images(seed: int, count: int = 1) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.rand((count, *SHAPE[1:]), generator=numbers, dtype=torch.float64) / 4


def matrix(function: object, shape: tuple[int, ...]) -> Tensor:
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([function(one[None]).flatten() for one in unit], 1)  # type: ignore[operator]


@pytest.mark.parametrize("modulus", [None, 0.3])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_gradient_is_that_of_the_value(scale: float, modulus: float | None) -> None:
    made, x, h = ridge(scale, modulus=modulus), images(1), images(2) - 0.1
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
    assert made.weak_convexity() == 0


@pytest.mark.parametrize("modulus", [0.01, 0.5])
def test_weak_convexity_is_bounded_and_reached_in_part(modulus: float) -> None:
    """The smallest eigenvalue of R'' is negative, and not below the bound, which is not above the modulus."""
    made = ridge(modulus=modulus)
    bound = made.weak_convexity()
    assert 0.9 * modulus <= bound <= modulus * (1 + 1e-9)
    least = 0.0
    for seed in range(10):
        curvature = made.curvature(images(seed) * 0.3)[:1]
        hessian = matrix(lambda v, bent=curvature: made.second_derivative(bent, v), (1, *SHAPE[2:]))
        least = min(least, float(torch.linalg.eigvalsh(hessian)[0]))
    assert -bound <= least < -0.05 * bound


def test_the_potential_is_the_integral_of_the_spline() -> None:
    """Against sums of many small steps, also beyond the last knot."""
    made = ridge(1.0)
    intercept, slope = made._lines()
    for end in (0.3 * SPACING, 2.5 * SPACING, 7 * SPACING):
        t = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * end
        wide = t.view(1, 1, 1, -1).expand(1, 5, 1, -1)
        piece = made._located(wide)
        sigma = intercept.reshape(-1)[piece] + slope.reshape(-1)[piece] * wide
        assert (sigma.diff(dim=-1) >= -1e-15).all()
        expected = sigma.mean(-1).flatten() * end

        class Fixed(Ridge):
            def responses(self, x: Tensor) -> Tensor:
                return torch.full((1, 5, 1, 1), x.item(), dtype=torch.float64)

        found = Fixed(made.kernels, made.slopes, made.scale).value(torch.tensor([end]).double())
        assert found.item() == pytest.approx(expected.sum().item(), rel=1e-7)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_adjoint_is_the_transpose_and_the_norms_are_bounded(kernel_size: int) -> None:
    made = ridge(kernel_size=kernel_size)
    x = images(1)
    filters = matrix(made.responses, (1, *SHAPE[2:]))
    y = torch.randn(made.responses(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pulled = transposed(y, made.kernels, x)
    assert (made.responses(x) * y).sum().item() == pytest.approx((x * pulled).sum().item(), rel=1e-10)
    assert torch.linalg.matrix_norm(filters, 2).item() <= 1
    curvature = made.second_derivative(made.curvature(0 * x), x)
    assert curvature.norm() <= made.lipschitz() * x.norm()


@pytest.mark.parametrize("seed", range(6))
def test_no_image_exceeds_the_bound_of_the_norm(seed: int) -> None:
    """Filters of every symmetry, and single taps in a corner, which mirroring doubles in each direction."""
    torch.manual_seed(seed)
    kernels = torch.randn(3, 5, 5, dtype=torch.float64)
    if seed == 1:
        kernels = torch.zeros(1, 5, 5, dtype=torch.float64)
        kernels[0, 0, 0] = 1
    if seed > 1:
        kernels = kernels + (-1) ** seed * kernels.flip(-1 if seed % 3 else -2)
    bound = norm_bound(kernels).item()
    for sides in ((2, 3), (7, 6)):
        found = matrix(lambda x: responses(x, kernels), (1, *sides))
        assert torch.linalg.matrix_norm(found, 2).item() <= bound
    if seed == 1:
        assert bound == pytest.approx(2, rel=0.03)


def test_the_norm_of_a_cosine_transform_is_its_size() -> None:
    """Without the mean, which would make it a multiple of an isometry."""
    for size in (3, 5):
        kernels = cosines(size**2 - 1, size).double()
        assert kernels.mean((-2, -1)).abs().max() < 1e-7
        torch.testing.assert_close(kernels.flatten(1) @ kernels.flatten(1).T, torch.eye(size**2 - 1).double())
        assert size * 0.97 < norm_bound(kernels).item() < size * 1.03
    assert (cosines(9, 3)[8] == cosines(9, 3)[0]).all()
