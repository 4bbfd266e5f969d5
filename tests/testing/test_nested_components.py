"""Checks of components that are made of other components, or that wrap objects that no spec can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor, nn

from invreg import hookimpl
from invreg.components.operator import LinearOperator, Shape
from invreg.errors import ShapeError
from invreg.interop import operator_from_scipy
from invreg.testing import CheckFailure, check_operator, check_plugin, check_reconstructor
from invreg_baselines.observation import Observation
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.pointwise.identity import Identity

Inner = Annotated[LinearOperator, Field(description="the operator A")]
Weight = Annotated[float, Field(description="what its values are divided by")]


class Scaled(LinearOperator):
    """x -> A x / weight."""

    def __init__(self, inner: Inner = Identity(), weight: Weight = 2.0) -> None:  # noqa: B008 (it is tested)
        super().__init__()
        self.inner = inner
        self.factor = 1 / weight

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)


class Positive(Scaled):
    """x -> A x / weight, with a weight that is checked."""

    def __init__(self, inner: Inner = Identity(), weight: Weight = 2.0) -> None:  # noqa: B008 (it is tested)
        super().__init__(inner, weight or 1.0)


class Sum(LinearOperator):
    """x -> sum of A_i x."""

    def __init__(
        self, parts: Annotated[Mapping[str, LinearOperator], Field(description="operators A_i by name")]
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(parts))

    def forward(self, x: Tensor) -> Tensor:
        return sum((part(x) for part in self.parts.values()), 0 * x)


class Chain(LinearOperator):
    """x -> A_n ... A_1 x."""

    def __init__(
        self, parts: Annotated[list[LinearOperator], Field(description="the operators A_i, the first one first")]
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Unregistered(LinearOperator):
    """x -> 2 x, which no plugin registers."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class TestedPlugin:
    @staticmethod
    @hookimpl
    def invreg_components() -> dict[str, type]:
        return {"positive": Positive, "parts_sum": Sum, "parts_chain": Chain}


@pytest.mark.parametrize(
    "operator",
    [
        Positive(GaussianBlur()),
        Positive(Unregistered()),
        Positive(),
        Sum({"blur": GaussianBlur(), "small": Positive()}),
        Chain([GaussianBlur(), Unregistered()]),
    ],
)
def test_correct_components_pass_whatever_they_are_made_of(operator: LinearOperator) -> None:
    check_operator(operator, image_shape=(1, 16, 14))


class Squares(LinearOperator):
    """x -> 3 x for square images."""

    def range_shape(self, domain_shape: Shape) -> Shape:
        if domain_shape[-2] != domain_shape[-1]:
            raise ShapeError(f"images of {domain_shape}", expected="square images")
        return tuple(domain_shape)

    def forward(self, x: Tensor) -> Tensor:
        self.range_shape(tuple(x.shape[1:]))
        return 3 * x


class Around(LinearOperator):
    """x -> A x."""

    def __init__(self, inner: Inner = Squares()) -> None:  # noqa: B008 (it is tested)
        super().__init__()
        self.inner = inner

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.inner.range_shape(domain_shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_a_size_that_the_operator_takes_is_found() -> None:
    check_operator(Around())
    check_reconstructor(Observation(), Around())
    with pytest.raises(CheckFailure, match="square images") as found:
        check_operator(Around(), (1, 24, 20))
    assert found.value.checks == ("image_shape",)


def test_parameters_beside_a_component_are_checked() -> None:
    for inner in (GaussianBlur(), Unregistered()):
        with pytest.raises(CheckFailure, match="weight=0, which the schema allows, raises ZeroDivisionError") as found:
            check_operator(Scaled(inner), image_shape=(1, 16, 14))
        assert found.value.checks == ("bad_parameters",)


@pytest.mark.slow
def test_components_of_a_plugin_may_be_made_of_installed_ones() -> None:
    blur = {"name": "gaussian_blur"}
    check_plugin(
        TestedPlugin,
        {
            "positive": {"inner": blur},
            "parts_sum": {"parts": {"a": blur}},
            "parts_chain": {"parts": [blur, "identity"]},
        },
        settings={name: {"image_shape": (1, 16, 14)} for name in ("positive", "parts_sum", "parts_chain")},
    )


def test_wrapped_operators_are_not_asked_for_a_spec() -> None:
    matrix = aslinearoperator(np.eye(6 * 5) * 2)
    check_operator(operator_from_scipy(matrix, (1, 6, 5)), image_shape=(1, 6, 5))
