"""Derivatives by differences against derivatives that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import invreg
from invreg_operators.combined.finite_differences import FiniteDifferences


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class NumpySquare(invreg.Operator):
    """An operator that torch cannot differentiate: a blur of squares, in NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        squares = np.square(x.detach().numpy())
        return torch.from_numpy(squares + 0.5 * np.roll(squares, 3, axis=-1) + 0.25 * np.roll(squares, 2, axis=-2))


def exact(name: str, **parameters: object) -> invreg.Operator:
    return invreg.Registry.installed().build("operator", {"name": name, **parameters})


@pytest.mark.parametrize("boundary", ["symmetric", "circular"])
@pytest.mark.parametrize("shape", [(1, 9, 14), (2, 7, 5)])
def test_a_linear_operator_has_its_own_derivatives(boundary: str, shape: tuple[int, int, int]) -> None:
    operator = exact("gaussian_blur", kernel_size=3, std=1.0, boundary=boundary)
    differences = FiniteDifferences(operator, step=0.1)
    x, h, v = (random(seed, 2, *shape) for seed in range(3))
    torch.testing.assert_close(differences.jvp(x, h), operator(h), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(differences.vjp(x, v), operator.adjoint(v), rtol=1e-10, atol=1e-10)


def test_a_smooth_nonlinear_operator_has_them_to_second_order() -> None:
    operator = exact("perona_malik", contrast=0.3, steps=2)
    x, h, v = (random(seed, 1, 1, 12, 11) for seed in range(3))
    errors = []
    for step in (4e-3, 2e-3):
        differences = FiniteDifferences(operator, step=step)
        errors.append(float((differences.jvp(x, h) - operator.jvp(x, h)).norm()))
    assert 3.5 < errors[0] / errors[1] < 4.5
    differences = FiniteDifferences(operator, step=1e-4)
    torch.testing.assert_close(differences.vjp(x, v), operator.vjp(x, v), rtol=1e-4, atol=1e-5)


def test_what_torch_cannot_differentiate_gets_derivatives_that_fit_each_other() -> None:
    differences = FiniteDifferences(NumpySquare(), step=1e-3)
    x, h, v = (random(seed, 2, 1, 6, 8) for seed in range(3))
    left, right = (differences.jvp(x, h) * v).sum(), (h * differences.vjp(x, v)).sum()
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    expected = 2 * (x * h + 0.5 * (x * h).roll(3, -1) + 0.25 * (x * h).roll(2, -2))
    torch.testing.assert_close(differences.jvp(x, h), expected, rtol=1e-8, atol=1e-8)


def test_a_zero_direction_has_a_zero_derivative() -> None:
    x = random(0, 1, 1, 5, 5)
    assert not FiniteDifferences(exact("identity")).jvp(x, torch.zeros_like(x)).any()


def test_a_known_radius_saves_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = exact("gaussian_blur", kernel_size=3, std=1.0)
    assert operator.stencil_radius == 1
    seen = []
    forward = operator.forward
    monkeypatch.setattr(operator, "forward", lambda x: (seen.append(len(x)), forward(x))[1])
    FiniteDifferences(operator).vjp(random(0, 1, 1, 20, 20), random(1, 1, 1, 20, 20))
    assert sum(seen) == 2 * 9


def test_another_range_is_fine() -> None:
    operator = exact("fourier_sampling")
    differences = FiniteDifferences(operator, step=0.1)
    x, h, v = random(0, 1, 1, 8, 6), random(1, 1, 1, 8, 6), random(2, 1, 2, 8, 6)
    torch.testing.assert_close(differences.jvp(x, h), operator(h))
    torch.testing.assert_close(differences.vjp(x, v), operator.adjoint(v))
    with pytest.raises(invreg.ShapeError, match="v of shape"):
        differences.vjp(x, h)


def test_a_spec_builds_it_by_name() -> None:
    registry = invreg.Registry.installed()
    spec = {"name": "finite_differences", "operator": {"name": "perona_malik", "steps": 2}, "step": 0.001}
    assert registry.build("operator", spec).operator.steps == 2
    with pytest.raises(invreg.SpecError, match="step"):
        registry.build("operator", {**spec, "step": 0})
