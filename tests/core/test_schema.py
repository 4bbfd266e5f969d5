"""The constructor signature as schema, and the memory of components."""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, ValidationError

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator
from invreg.errors import PluginError
from invreg.schema.component import Component
from invreg.schema.component_spec import ComponentSpec
from invreg.schema.parameters import nested, parameters_model
from invreg.schema.signature import built_with


class Scale(LinearOperator):
    def __init__(
        self,
        factor: Annotated[float, Field(gt=0, description="multiplies the image")] = 1.0,
        repeats: int = 1,
        mode: Literal["up", "down"] = "up",
        taps: tuple[float, ...] = (1.0,),
        inner: LinearOperator | None = None,
    ) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_defaults_and_description_come_from_the_signature() -> None:
    model = parameters_model(Scale)
    assert model().factor == 1.0  # type: ignore[attr-defined]
    assert model.model_fields["factor"].description == "multiplies the image"
    assert list(model.model_fields) == ["factor", "repeats", "mode", "taps", "inner"]


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"factor": 0}, "factor"),
        ({"factor": "2"}, "factor"),
        ({"factor": True}, "factor"),
        ({"factor": float("nan")}, "factor"),
        ({"factor": float("inf")}, "factor"),
        ({"repeats": 1.5}, "repeats"),
        ({"repeats": True}, "repeats"),
        ({"mode": "sideways"}, "mode"),
        ({"taps": ["a"]}, "taps"),
        ({"facto": 1.0}, "facto"),
    ],
)
def test_wrong_parameters_are_refused_by_name(parameters: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parameters_model(Scale).model_validate(parameters)
    assert caught.value.errors()[0]["loc"][0] == path


def test_integers_are_floats_and_lists_are_tuples() -> None:
    made = parameters_model(Scale).model_validate({"factor": 2, "taps": [1, 2.5]})
    assert made.factor == 2.0  # type: ignore[attr-defined]
    assert made.taps == (1.0, 2.5)  # type: ignore[attr-defined]


def test_component_annotations_take_nested_specs() -> None:
    model = parameters_model(Scale)
    mark = nested(model.model_fields["inner"].rebuild_annotation())
    assert mark is not None
    assert (mark.kind, mark.base) == ("operator", LinearOperator)
    made = model.model_validate({"inner": "identity"})
    assert made.inner == ComponentSpec(name="identity")  # type: ignore[attr-defined]


class Untyped(Operator):
    def __init__(self, std) -> None:  # type: ignore[no-untyped-def]
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Open(Operator):
    def __init__(self, **options: float) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Named(Noise):
    def __init__(self, name: str = "x") -> None: ...

    def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return z


class Dangling(Noise):
    def __init__(self, other: "Missing" = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return z


@pytest.mark.parametrize(
    ("cls", "message"),
    [(Untyped, "'std' has no annotation"), (Open, "options"), (Named, "'name'"), (Dangling, "Missing")],
)
def test_signatures_that_are_no_schema_are_refused(cls: type[Component], message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        parameters_model(cls)
    assert cls.__qualname__ in str(caught.value)


def test_components_remember_what_they_were_built_with() -> None:
    scale = Scale(2.0, taps=(0.5,))
    expected = {"factor": 2.0, "repeats": 1, "mode": "up", "taps": (0.5,), "inner": None}
    assert built_with(scale) == expected
    assert built_with(copy.deepcopy(scale)) == expected


def test_wrong_arguments_raise_the_constructors_own_error() -> None:
    with pytest.raises(TypeError, match="facto"):
        Scale(facto=1.0)  # type: ignore[call-arg]


def test_components_without_constructor_have_no_parameters() -> None:
    class Plain(Operator):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    assert parameters_model(Plain).model_fields == {}
    assert built_with(Plain()) == {}
