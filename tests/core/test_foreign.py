"""Components of others that raise anything, return anything, or change their input: the component is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import invreg
import toy
from toy import SPEC

#: What the components below do with their input.
BEHAVIOUR: list[Callable[[Any], Any]] = []


def behave(value: Any) -> Any:
    return BEHAVIOUR[-1](value)


class OddOperator(invreg.Operator):
    def forward(self, x: Tensor) -> Tensor:
        return behave(x)


class OddShapes(invreg.Operator):
    def forward(self, x: Tensor) -> Tensor:
        return x

    def range_shape(self, domain_shape: tuple[int, ...]) -> tuple[int, ...]:
        return behave(domain_shape)


class OddNoise(invreg.Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return behave(z)


class OddMethod(invreg.Reconstructor):
    def forward(self, z: Tensor) -> Tensor:
        return behave(z)


class OddSetup(toy.Gain):
    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        behave(None)
        super().setup(problem, image_shape)


class OddMetric(invreg.Metric):
    higher_is_better = True

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return behave(x)


class OddImages(toy.ToyImages):
    def splits(self) -> invreg.Splits:
        return behave(None)


class OddTrainer(toy.LeastSquares):
    def fit(self, method: invreg.Method, context: invreg.TrainingContext) -> invreg.TrainedMethod:
        return behave(None)


class OddConstructor(invreg.Operator):
    def __init__(self) -> None:
        behave(None)
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Odd:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return {
            "odd_operator": OddOperator,
            "odd_shapes": OddShapes,
            "odd_noise": OddNoise,
            "odd_method": OddMethod,
            "odd_setup": OddSetup,
            "odd_metric": OddMetric,
            "odd_images": OddImages,
            "odd_trainer": OddTrainer,
            "odd_constructor": OddConstructor,
        }


@pytest.fixture(scope="module")
def registry() -> invreg.Registry:
    return invreg.Registry.installed({"toy": toy, "odd": Odd})


def raises(error: BaseException) -> Callable[[Any], Any]:
    def act(_: Any) -> Any:
        raise error

    return act


PLACES: dict[str, dict[str, Any]] = {
    "operator": {"operator": "odd_operator"},
    "noise": {"noise": "odd_noise"},
    "methods.odd": {"methods": {"odd": "odd_method"}},
    "methods.net.reconstructor": {"methods": {"net": {"reconstructor": "odd_setup", "trainer": "least_squares"}}},
    "methods.net": {"methods": {"net": {"reconstructor": "gain", "trainer": "odd_trainer"}}},
    "metrics.0": {"metrics": ["odd_metric"]},
    "data": {"data": "odd_images"},
}
CHANGES = {**PLACES, "operator: ": {"operator": "odd_constructor"}}


def failure(registry: invreg.Registry, tmp_path: Path, change: dict[str, Any], act: Callable[[Any], Any]) -> str:
    BEHAVIOUR.append(act)
    with pytest.raises(invreg.InvregError) as caught:
        invreg.run({**SPEC, "analyses": [], **change}, tmp_path, progress=False, registry=registry)
    return str(caught.value)


@pytest.mark.parametrize("place", CHANGES)
@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), ZeroDivisionError("odd"), SystemExit("odd"), StopIteration("odd"), RuntimeError("o" * 9999)],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_are_named(registry: invreg.Registry, tmp_path: Path, place: str, error: BaseException) -> None:
    message = failure(registry, tmp_path, CHANGES[place], raises(error))
    assert message.startswith(place)
    if not (place == "operator: " and isinstance(error, ValueError)):
        assert f"raised {type(error).__name__}" in message
        assert "test_foreign.py" in message or len(str(error)) > 999
    assert "odd" in message or "ooo" in message
    assert len(message) < 4000


def test_a_call_of_exit_in_a_method_is_named(registry: invreg.Registry, tmp_path: Path) -> None:
    message = failure(registry, tmp_path, PLACES["methods.odd"], lambda _: sys.exit(3))
    assert "OddMethod raised SystemExit: 3" in message


RESULTS: list[tuple[str, Callable[[Tensor], Any]]] = [
    ("returned a NumPy array", lambda x: x.numpy()),
    ("returned an instance of tuple", lambda x: (x, x)),
    ("returned an instance of list", lambda x: [x]),
    ("returned None", lambda x: None),
    ("returned an instance of float", lambda x: 0.5),
    ("returned an instance of float64", lambda x: np.float64(0.5)),
    ("returned torch.complex64", lambda x: torch.fft.fft2(x)),
    ("returned torch.int64", lambda x: x.long()),
    ("returned torch.bool", lambda x: x > 0.5),
]
SHAPES: list[tuple[str, Callable[[Tensor], Any]]] = [
    ("returned the shape [1, 1, 14, 8]", lambda x: x[..., :8]),
    ("returned the shape [1, 14, 18]", lambda x: x[0]),
    ("returned the shape [2, 1, 14, 18]", lambda x: torch.cat([x, x])),
]


@pytest.mark.parametrize(("found", "act"), RESULTS + SHAPES, ids=[found for found, _ in RESULTS + SHAPES])
def test_operators_return_tensors_of_their_shape(
    registry: invreg.Registry, tmp_path: Path, found: str, act: Callable[[Tensor], Any]
) -> None:
    message = failure(registry, tmp_path, PLACES["operator"], act)
    assert f"operator: OddOperator {found}" in message
    assert "expected: a tensor of floating-point numbers with the shape [1, 1, 14, 18]" in message


@pytest.mark.parametrize(("found", "act"), RESULTS, ids=[found for found, _ in RESULTS])
def test_methods_return_tensors(
    registry: invreg.Registry, tmp_path: Path, found: str, act: Callable[[Tensor], Any]
) -> None:
    assert f"methods.odd: OddMethod {found}" in failure(registry, tmp_path, PLACES["methods.odd"], act)


@pytest.mark.parametrize(
    ("place", "act", "found"),
    [
        ("noise", lambda z: z[..., :3], "returned the shape [1, 1, 14, 3]"),
        ("metrics.0", lambda x: 0.5, "OddMetric returned an instance of float"),
        ("metrics.0", lambda x: x.mean(), "OddMetric returned the shape []"),
        ("data", lambda _: None, "OddImages.splits() returned an instance of NoneType"),
        ("methods.net", lambda _: None, "OddTrainer.fit returned an instance of NoneType"),
    ],
)
def test_other_results_are_named(
    registry: invreg.Registry, tmp_path: Path, place: str, act: Callable[[Any], Any], found: str
) -> None:
    message = failure(registry, tmp_path, PLACES[place], act)
    assert message.startswith(place)
    assert found in message


@pytest.mark.parametrize("shape", [None, 3, (1, "x"), (1.5,), (0, 4)])
def test_range_shapes_are_shapes(registry: invreg.Registry, tmp_path: Path, shape: Any) -> None:
    message = failure(registry, tmp_path, {"operator": "odd_shapes"}, lambda _: shape)
    assert message.startswith("operator: OddShapes.range_shape returned")


@pytest.mark.parametrize("place", ["operator", "methods.odd"])
def test_inputs_are_not_changed_in_place(registry: invreg.Registry, tmp_path: Path, place: str) -> None:
    message = failure(registry, tmp_path, PLACES[place], lambda x: x.mul_(0.5))
    assert f"{place}: Odd{'Operator' if place == 'operator' else 'Method'} changes its input in place" in message


def test_an_operator_that_changes_some_inputs_leaves_the_images_alone(
    registry: invreg.Registry, tmp_path: Path
) -> None:
    BEHAVIOUR.append(lambda x: x.mul_(0.5) if len(x) > 1 else 0.5 * x)
    spec = {**SPEC, "analyses": [], "operator": "odd_operator", "noise": "toy:none", "methods": {"raw": "raw"}}
    odd = invreg.run(spec, tmp_path, progress=False, registry=registry)
    plain = invreg.run({**spec, "operator": "halve"}, tmp_path, progress=False, registry=registry)
    assert odd.metrics["psnr"].tolist() == plain.metrics["psnr"].tolist()
