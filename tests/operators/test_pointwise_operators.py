"""Saturation and gamma: against NumPy and scikit-image, and their derivatives at the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.exposure import adjust_gamma

from invreg import Registry
from invreg.components.operator import Operator
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.saturation import Saturation

OPERATORS = [Saturation(), Saturation(0.6, 0.1), Gamma(), Gamma(0.45, 0.05), Gamma(1.0), Gamma(1.0, 1.0)]


def values(low: float = -0.5, high: float = 1.5) -> torch.Tensor:
    return torch.linspace(low, high, 41, dtype=torch.float64).view(1, 1, 1, -1)


def test_saturation_cuts_values_off() -> None:
    x = values()
    np.testing.assert_array_equal(Saturation(0.7)(x).numpy(), np.minimum(x.numpy(), 0.7))
    smooth = Saturation(0.7, 0.05)(x).numpy()
    np.testing.assert_allclose(smooth, -0.05 * np.logaddexp(-x.numpy() / 0.05, -0.7 / 0.05), atol=1e-14)
    assert (smooth <= np.minimum(x.numpy(), 0.7)).all()
    assert (np.minimum(x.numpy(), 0.7) - smooth).max() <= 0.05 * np.log(2) + 1e-12
    np.testing.assert_allclose(Saturation(0.7, 1e-9)(x).numpy(), np.minimum(x.numpy(), 0.7), atol=1e-9)


def test_what_is_lost_has_no_derivative() -> None:
    x = torch.tensor([0.2, 0.7, 0.9], dtype=torch.float64).view(1, 1, 1, 3).requires_grad_()
    operator = Saturation(0.7)
    (by_autograd,) = torch.autograd.grad(operator(x).sum(), x)
    assert by_autograd.flatten().tolist() == [1, 1, 0]
    assert operator.vjp(x.detach(), torch.ones_like(x)).flatten().tolist() == [1, 1, 0]


@pytest.mark.parametrize("exponent", [1.0, 2.2, 3.0])
def test_gamma_is_that_of_scikit_image(exponent: float) -> None:
    x = values(0, 1)
    np.testing.assert_allclose(Gamma(exponent)(x).numpy(), adjust_gamma(x.numpy(), exponent), atol=1e-14)


@pytest.mark.parametrize("operator", [Gamma(0.45, 0.05), Gamma(2.2), Gamma(2.2, 0.1)], ids=repr)
def test_gamma_keeps_black_white_and_signs(operator: Gamma) -> None:
    x = values(-1, 1)
    z = operator(x).flatten()
    assert float(z[20]) == pytest.approx(0, abs=1e-15)
    assert float(z[-1]) == pytest.approx(1)
    torch.testing.assert_close(z, -z.flip(0))
    assert (z.diff() > 0).all()


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_the_slope_at_black_is_that_of_autograd(operator: Operator) -> None:
    x = torch.zeros(1, 1, 1, 3, dtype=torch.float64, requires_grad=True)
    (by_autograd,) = torch.autograd.grad(operator(x).sum(), x)
    torch.testing.assert_close(by_autograd, operator.vjp(x.detach(), torch.ones_like(x)))


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_they_keep_what_operators_promise(operator: Operator) -> None:
    check_operator(operator, image_shape=(1, 8, 6))


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_half_precision_is_kept(operator: Operator) -> None:
    x = torch.rand(1, 1, 6, 5).bfloat16()
    assert operator(x).dtype == torch.bfloat16
    assert operator.jvp(x, x).dtype == torch.bfloat16


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_directions_of_another_shape_are_refused(operator: Operator) -> None:
    with pytest.raises(ShapeError, match="the same shape"):
        operator.jvp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"name": "saturation", "level": 0.0}, "level"),
        ({"name": "saturation", "knee": -0.1}, "knee"),
        ({"name": "gamma", "exponent": 0.0}, "exponent"),
        ({"name": "gamma", "exponent": 0.5}, "slope at black would be infinite"),
        ({"name": "gamma", "exponent": float("inf")}, "exponent"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", parameters)
