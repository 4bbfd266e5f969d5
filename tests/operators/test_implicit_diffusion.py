"""Implicit diffusion: against a dense solve, and what Lemma 3.1 of Arndt & Nickel 2024 promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from invreg.components.operator import LinearOperator
from invreg.errors import SpecError
from invreg_operators.diffusion.implicit_diffusion import ImplicitDiffusion

each_condition = pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
SHAPES = [(1, 1), (1, 7), (6, 1), (2, 3), (8, 5)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laplacian(height: int, width: int, boundary: str) -> Tensor:
    """The five-point Laplacian as a matrix, edge by edge."""
    matrix = torch.zeros(height * width, height * width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            for k, m in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                inside = 0 <= k < height and 0 <= m < width
                if inside or boundary == "dirichlet":
                    matrix[i * width + j, i * width + j] -= 1
                if inside:
                    matrix[i * width + j, k * width + m] += 1
    return matrix


@each_condition
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("time", "steps"), [(0.75, 1), (3.0, 1), (2.0, 4), (100.0, 2)])
def test_solves_the_system(boundary: str, shape: tuple[int, int], time: float, steps: int) -> None:
    x = noise(2, 3, *shape)
    system = torch.eye(shape[0] * shape[1], dtype=torch.float64) - time / steps * laplacian(*shape, boundary)
    expected = x.reshape(6, -1).mT
    for _ in range(steps):
        expected = torch.linalg.solve(system, expected)
    result = ImplicitDiffusion(time, steps, boundary)(x)
    torch.testing.assert_close(result, expected.mT.reshape(x.shape), atol=1e-10, rtol=1e-10)


@each_condition
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_firmly_nonexpansive(boundary: str, steps: int, dtype: torch.dtype) -> None:
    operator = ImplicitDiffusion(1.5, steps, boundary)
    smooth = torch.linspace(0, 1, 30, dtype=torch.float64).expand(1, 1, 20, 30)
    for x in (noise(1, 1, 20, 30), smooth, torch.ones(1, 1, 20, 30)):
        x = x.to(dtype)
        y = operator(x)
        rounding = 1e-6 if dtype == torch.float32 else 1e-14
        left = y.double().square().sum() + (x - y).double().square().sum()
        assert left <= x.double().square().sum() * (1 + rounding)


@each_condition
def test_is_self_adjoint(boundary: str) -> None:
    operator, x, y = ImplicitDiffusion(2.0, 3, boundary), noise(1, 1, 17, 23), noise(1, 1, 17, 23, seed=1)
    left, right = torch.sum(operator(x) * y).item(), torch.sum(x * operator.adjoint(y)).item()
    assert left == pytest.approx(right, rel=1e-10, abs=1e-12)
    # And not only because adjoint() says so:
    assert left == pytest.approx(torch.sum(x * operator(y)).item(), rel=1e-10, abs=1e-12)


@each_condition
def test_norm(boundary: str) -> None:
    operator = ImplicitDiffusion(2.0, 2, boundary)
    estimate = operator.norm((1, 12, 9))
    assert estimate.value == pytest.approx(LinearOperator.norm(operator, (1, 12, 9)).value, rel=1e-6)
    assert (estimate.value == 1) == (boundary == "neumann")


def test_no_flux_keeps_mean_and_constants() -> None:
    operator, x = ImplicitDiffusion(5.0), noise(2, 3, 20, 31)
    torch.testing.assert_close(operator(x).mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=1e-12, rtol=0)
    constant = torch.full((1, 1, 7, 5), 0.3, dtype=torch.float64)
    torch.testing.assert_close(operator(constant), constant)


@each_condition
def test_no_value_leaves_the_range_of_the_image(boundary: str) -> None:
    y = ImplicitDiffusion(0.5, boundary=boundary)((noise(1, 1, 20, 20) > 0).double())
    assert y.min() >= -1e-14
    assert y.max() <= 1 + 1e-14


def test_many_steps_are_a_gaussian_blur() -> None:
    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    x[0, 0, 20, 20] = 1
    y = ImplicitDiffusion(2.0, 200)(x)[0, 0]
    distance = torch.arange(41) - 20.0
    assert (y.sum(1) * distance**2).sum().item() == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize(
    "parameters",
    [{"time": 0.0}, {"time": -1.0}, {"time": float("nan")}, {"time": float("inf")}, {"steps": 0}, {"boundary": "zero"}],
)
def test_impossible_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=rf"^ImplicitDiffusion\.{next(iter(parameters))}: input should be .*\(given: "):
        ImplicitDiffusion(**parameters)  # type: ignore[arg-type]
