"""Compositions and stacks: against their parts, and as linear operators where all parts are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from invreg import Registry, spec_of
from invreg.components.operator import LinearOperator, Operator
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.combined.composition import Composition
from invreg_operators.combined.stack import Stack
from invreg_operators.convolution.downsampling import Downsampling
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.convolution.motion_blur import MotionBlur
from invreg_operators.diffusion.perona_malik import PeronaMalik
from invreg_operators.fourier.fourier_sampling import FourierSampling
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.identity import Identity
from invreg_operators.pointwise.inpainting import Inpainting
from invreg_operators.pointwise.saturation import Saturation

REGISTRY = Registry.installed()


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(operator: Operator, shape: tuple[int, ...]) -> np.ndarray:
    columns = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    return operator(columns).flatten(1).numpy().T


def test_the_first_operator_is_applied_first() -> None:
    x = image(2, 1, 8, 10)
    blur, gamma = GaussianBlur(5), Gamma(2.2)
    torch.testing.assert_close(Composition([blur, gamma])(x), gamma(blur(x)))
    torch.testing.assert_close(Composition([gamma, blur])(x), blur(gamma(x)))


def test_the_matrix_of_a_composition_is_the_product() -> None:
    parts = [GaussianBlur(5, boundary="replicate"), Downsampling(2, "box"), FourierSampling(2)]
    whole = Composition(parts)
    shapes: list[tuple[int, ...]] = [(1, 6, 8), (1, 6, 8), (1, 3, 4)]
    expected = matrix(parts[2], shapes[2]) @ matrix(parts[1], shapes[1]) @ matrix(parts[0], shapes[0])
    np.testing.assert_allclose(matrix(whole, (1, 6, 8)), expected, atol=1e-14)
    assert isinstance(whole, LinearOperator)
    back = whole.adjoint(torch.eye(24, dtype=torch.float64).view(-1, 2, 3, 4)).flatten(1).numpy().T
    np.testing.assert_allclose(back, expected.T, atol=1e-14)
    assert whole.norm((1, 6, 8)).value == pytest.approx(np.linalg.norm(expected, 2), rel=1e-6)
    assert whole.domain_shape((2, 3, 4)) == (1, 6, 8)


def test_the_matrix_of_a_stack_is_that_of_its_parts() -> None:
    parts = [MotionBlur(3.0), FourierSampling(2), Inpainting()]
    whole = Stack(parts)
    assert isinstance(whole, LinearOperator)
    assert whole.range_shape((1, 6, 5)) == (4, 6, 5)
    np.testing.assert_allclose(
        matrix(whole, (1, 6, 5)), np.concatenate([matrix(part, (1, 6, 5)) for part in parts]), atol=1e-14
    )
    x, y = image(2, 2, 6, 5), image(2, 8, 6, 5)
    assert whole.domain_shape((8, 6, 5)) == (2, 6, 5)
    assert float((whole(x) * y).sum()) == pytest.approx(float((x * whole.adjoint(y)).sum()))


@pytest.mark.parametrize(
    "operator",
    [
        Composition([GaussianBlur(3), Downsampling(2)]),
        Composition([MotionBlur(4.0), Saturation(0.5, 0.1), PeronaMalik(steps=1)]),
        Composition([Composition([Identity()]), Gamma()]),
        Stack([MotionBlur(3.0), MotionBlur(3.0, 90.0)]),
        Stack([Gamma(), FourierSampling(2)]),
        Stack([Composition([GaussianBlur(3), Inpainting()]), Identity()]),
    ],
    ids=["linear", "nonlinear", "nested", "linear stack", "nonlinear stack", "stack of a composition"],
)
def test_they_keep_what_operators_promise(operator: Operator) -> None:
    check_operator(operator, image_shape=(1, 12, 8))


@pytest.mark.parametrize("combined", [Composition, Stack])
def test_they_are_linear_if_all_parts_are(combined: type[Operator]) -> None:
    linear, nonlinear = combined([GaussianBlur(3), Identity()]), combined([GaussianBlur(3), Gamma()])
    assert isinstance(linear, LinearOperator)
    assert not isinstance(nonlinear, LinearOperator)
    assert isinstance(copy.deepcopy(linear), LinearOperator)
    x = image(1, 1, 8, 8)
    torch.testing.assert_close(linear.jvp(x, x), linear(x))


@pytest.mark.parametrize("name", ["composition", "stack"])
@pytest.mark.parametrize("second", ["identity", {"name": "gamma", "exponent": 1.5}])
def test_specs_build_them_and_are_told_again(name: str, second: Any) -> None:
    spec = {"name": name, "operators": [{"name": "gaussian_blur", "std": 1.0}, second]}
    operator = REGISTRY.build("operator", spec)
    told = spec_of(operator, REGISTRY)
    assert told["name"] == name
    parts = [part["name"] for part in told["operators"]]
    assert parts == ["gaussian_blur", "identity" if second == "identity" else "gamma"]
    x = image(1, 1, 12, 12)
    torch.testing.assert_close(REGISTRY.build("operator", told)(x), operator(x))
    classes: dict[str, type[Composition | Stack]] = {"composition": Composition, "stack": Stack}
    made = classes[name]([GaussianBlur(std=1.0), REGISTRY.build("operator", second)])
    assert spec_of(made, REGISTRY) == told
    assert isinstance(made, LinearOperator) == (second == "identity")


def test_the_radius_is_that_of_all_parts() -> None:
    assert Composition([GaussianBlur(5), MotionBlur(7.0)]).stencil_radius == 5
    assert Stack([GaussianBlur(5), MotionBlur(7.0)]).stencil_radius == 3
    assert Composition([GaussianBlur(5), FourierSampling()]).stencil_radius is None
    assert Stack([GaussianBlur(5, boundary="circular"), Identity()]).stencil_radius is None


def test_parts_that_do_not_fit_are_named() -> None:
    whole = Composition([Downsampling(2), Downsampling(3)])
    with pytest.raises(ShapeError, match=r"^composition\.operators\.1\.downsampling: images of 4x4 pixels"):
        whole(image(1, 1, 8, 8))
    with pytest.raises(ShapeError, match="2x2, 4x4 pixels") as caught:
        Stack([Downsampling(2, "box"), Identity()]).range_shape((1, 4, 4))
    assert "one height and width" in str(caught.value)
    with pytest.raises(ShapeError, match=r"^stack\.operators\.1"):
        Stack([Identity(), Downsampling(2, "box")]).range_shape((1, 5, 4))
    with pytest.raises(ShapeError, match=r"stack\.adjoint"):
        Stack([Identity(), Identity()]).adjoint(image(1, 3, 4, 4))  # type: ignore[attr-defined]
    with pytest.raises(ShapeError, match="of all operators"):
        Stack([Identity(), Gamma()]).vjp(image(1, 1, 4, 4), image(1, 1, 4, 4))


@pytest.mark.parametrize("name", ["composition", "stack"])
@pytest.mark.parametrize(
    ("operators", "match"),
    [
        ([], "operators: .*at least 1"),
        (["identity", {"name": "gauss"}], r"operators\.1: there is no operator 'gauss'"),
        ([{"name": "gaussian_blur", "std": -1}], r"operators\.0\.std"),
        (["measured"], r"operators\.0: Measured cannot be evaluated"),
        ("identity", "operators"),
    ],
)
def test_wrong_parts_are_refused(name: str, operators: Any, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        REGISTRY.build("operator", {"name": name, "operators": operators})
