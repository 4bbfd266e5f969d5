"""The constructor signature as schema, and the memory of components."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator
from invreg.errors import PluginError, SpecError
from invreg.schema.component import Component
from invreg.schema.constraints import Odd
from invreg.schema.parameters import Nested, json_schema_of, nested, parameters_model
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
    made: list[object] = []

    def build(mark: Nested, value: object) -> Scale:
        made.append((mark.kind, value))
        return Scale()

    assert model.model_validate({"inner": "identity"}, context={"nested": build}).inner.factor == 1.0  # type: ignore[attr-defined]
    assert made == [("operator", "identity")]


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


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"facto": 1.0}, ["Scale.facto", "unknown parameter", "did you mean 'factor'?"]),
        ({"factor": -1.0}, ["Scale.factor", "greater than 0", "-1.0"]),
        ({"factor": "2"}, ["Scale.factor", "'2'"]),
        ({"repeats": True}, ["Scale.repeats"]),
        ({"factor": float("nan")}, ["Scale.factor", "finite"]),
        ({"inner": "identity"}, ["Scale.inner", "input should be an instance of LinearOperator", "'identity'"]),
        ({"mode": "sideways", "factor": 0.0}, ["2 problems", "Scale.mode", "Scale.factor"]),
    ],
)
def test_wrong_arguments_raise_the_error_that_a_spec_raises(arguments: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        Scale(**arguments)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_constructor_gets_validated_values() -> None:
    scale = Scale(np.float32(2), taps=[1])  # type: ignore[arg-type]
    assert (scale.factor, built_with(scale)["taps"]) == (2.0, (1.0,))
    assert type(scale.factor) is float


def test_odd_numbers_are_part_of_the_schema() -> None:
    class Window(Scale):
        def __init__(self, size: Annotated[int, Field(ge=1), Odd()] = 5) -> None:
            super().__init__()

    assert built_with(Window(7)) == {"size": 7}
    with pytest.raises(SpecError, match=r"Window\.size: input should be odd, such as 5"):
        Window(4)
    described = json_schema_of(parameters_model(Window))["properties"]["size"]
    assert described == {"type": "integer", "minimum": 1, "not": {"multipleOf": 2}, "default": 5, "title": "Size"}


def test_components_show_what_they_were_built_with() -> None:
    class White(Noise):
        def __init__(self, std: float = 0.1, seed: int = 0) -> None:
            self.std = std

        def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return z

    assert repr(White(0.2)) == "White(std=0.2, seed=0)"
    assert repr(Scale()) == "Scale(factor=1.0, repeats=1, mode='up', taps=(1.0,), inner=None)"


def test_too_many_arguments_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="Scale"):
        Scale(1.0, 1, "up", (0.5,), None, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'factor' twice"):
        Scale(1.0, factor=2.0)  # type: ignore[misc]


def test_the_constructor_of_a_base_class_is_part_of_that_of_its_subclass() -> None:
    class Double(Scale):
        def __init__(self, strength: Annotated[float, Field(gt=0)] = 1.0) -> None:
            super().__init__(factor=2 * strength)

    double = Double(strength=1.5)
    assert (double.factor, built_with(double)) == (3.0, {"strength": 1.5})
    with pytest.raises(SpecError, match=r"Double\.strength"):
        Double(strength=-1.0)


def test_what_no_spec_can_say_is_passed_as_it_is() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return x

    class Wrapped(Operator):
        def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x)

    assert Wrapped(function).function is function
    assert built_with(Wrapped(function)) == {"function": function}


def test_components_without_constructor_have_no_parameters() -> None:
    class Plain(Operator):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    assert parameters_model(Plain).model_fields == {}
    assert built_with(Plain()) == {}
