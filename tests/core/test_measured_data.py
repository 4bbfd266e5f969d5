"""Data that bring their measurements along: crops of pairs, and runs in which nothing is measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import invreg
from invreg.api import load, run
from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.dataset import ImageStack, MeasuredDataset, MeasuredStack, Splits
from invreg.components.operator import Operator, Shape, UnknownOperator
from invreg.components.problem import Problem
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.components.training_images import TrainingPairs
from invreg.errors import DataError, InvregError, SpecError
from invreg.plugins.registry import Registry
from invreg.testing.toys import ToyNoise
from tests import toy

GAIN = 1.7


def pairs(count: int = 3, turns: bool = False, rows: int = 9) -> TrainingPairs:
    """Images whose measurement holds the number of the pixel, and one more."""
    images = [torch.rand(2, rows + i, 8, generator=torch.Generator().manual_seed(i)) for i in range(count)]
    measured = [torch.stack([image[1], -5 * image[0], image[0] + 3]) for image in images]
    return TrainingPairs(images, [str(i) for i in range(count)], (4, 4), measured, turns)


def some_problem() -> Problem:
    return Problem(toy.Halve(), ToyNoise())


@pytest.mark.parametrize("turns", [False, True])
def test_truth_and_measurement_are_cropped_at_the_same_place(turns: bool) -> None:
    training = pairs(turns=turns)
    assert training.measurement_shape == (3, 4, 4)
    different = set()
    for step in range(6):
        x, z = training.measured_batch(some_problem(), 7, step, 5, torch.Generator())
        assert x.shape == (5, 2, 4, 4)
        assert torch.equal(z, torch.stack([x[:, 1], -5 * x[:, 0], x[:, 0] + 3], 1))
        assert torch.equal(x, training.batch(7, step, 5))
        part = training.measured_batch(some_problem(), 7, step, 5, torch.Generator(), slice(1, 3))
        assert torch.equal(part[0], x[1:3])
        assert torch.equal(part[1], z[1:3])
        different.add(float(x[0, 0, 0, 0]))
    assert len(different) > 3


def test_pairs_are_turned_only_where_the_operator_commutes_with_that() -> None:
    ramp = torch.arange(64.0).reshape(1, 8, 8) / 64
    for turns, expected in ((False, {1 / 64}), (True, {1 / 64, -1 / 64, 8 / 64, -8 / 64})):
        training = TrainingPairs([ramp], ["ramp"], (3, 3), [ramp], turns)
        crops = torch.cat([training.batch(0, step, 8) for step in range(8)])
        assert set((crops[:, 0, 0, 1] - crops[:, 0, 0, 0]).tolist()) == expected


def test_measurements_of_another_shape_are_used_whole() -> None:
    images = [torch.full((1, 6, 5), i / 4) for i in range(4)]
    measured = [torch.full((2, 7), float(i)) for i in range(4)]
    training = TrainingPairs(images, list("abcd"), (6, 5), measured, turns=True)
    assert training.measurement_shape == (2, 7)
    assert len(training) == 4
    x, z = training.measured_batch(some_problem(), 0, 0, 4, torch.Generator())
    assert z.shape == (4, 2, 7)
    assert sorted(z[:, 0, 0].tolist()) == [0, 1, 2, 3]
    assert torch.equal(x[:, 0, 0, 0] * 4, z[:, 0, 0])


@pytest.mark.parametrize(
    ("images", "measured", "what", "expected"),
    [
        ([(1, 6, 6)], [], "0 measurements for 1 images", "one each"),
        ([(1, 6, 6), (1, 6, 6)], [(1, 6, 6), (2, 6, 6)], "a measurement of shape (2, 6, 6)", "1 channels"),
        ([(1, 4, 4), (1, 4, 4)], [(9,), (8,)], "a measurement of shape (8,)", "(9,), as the first"),
        ([(1, 4, 4), (1, 6, 6)], [(9,), (9,)], "for an image of 6x6 pixels", "images of 4x4 pixels"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(
    images: list[Shape], measured: list[Shape], what: str, expected: str
) -> None:
    with pytest.raises(DataError, match=re.escape(what)) as caught:
        TrainingPairs(
            [torch.zeros(s) for s in images], list("ab")[: len(images)], (4, 4), [torch.ones(s) for s in measured]
        )
    assert expected in str(caught.value)


def test_measurements_that_are_not_finite_float32_are_refused() -> None:
    image = torch.zeros(1, 4, 4)
    with pytest.raises(DataError, match=r"image 'a': 16 values of the measurement are NaN or infinite"):
        TrainingPairs([image], ["a"], (4, 4), [image / 0])
    with pytest.raises(DataError, match=r"torch.float64"):
        MeasuredStack(image[None], ["a"], image[None].double())
    with pytest.raises(DataError, match="2 measurements for 1 images"):
        MeasuredStack(image[None], ["a"], torch.zeros(2, 4))


def test_measurements_belong_to_the_fingerprint() -> None:
    x, z = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    stack = MeasuredStack(x, ["a", "b"], z)
    training = TrainingPairs([x[0]], ["t"], (2, 2), [z[0]])

    def pixels(train: TrainingPairs, val: ImageStack, test: ImageStack) -> str:
        return str(Splits(train, val, test).fingerprint()["pixels"])

    other = MeasuredStack(x, ["a", "b"], z + 1)
    hashes = {
        pixels(training, stack, stack),
        pixels(training, other, stack),
        pixels(training, stack, other),
        pixels(TrainingPairs([x[0]], ["t"], (2, 2), [z[1]]), stack, stack),
        pixels(training, ImageStack(x, ["a", "b"]), stack),
    }
    assert len(hashes) == 5


def test_selected_pairs_stay_together() -> None:
    stack = MeasuredStack(torch.rand(3, 1, 4, 4), list("abc"), torch.arange(3.0)[:, None])
    chosen = stack.select([2, 0])
    assert chosen.names == ["c", "a"]
    assert chosen.measurements.flatten().tolist() == [2, 0]
    assert torch.equal(chosen.images, stack.images[[2, 0]])


# -- runs


class Pairs(MeasuredDataset):
    """x and GAIN x, or the sums of its rows."""

    def __init__(self, kind: Literal["gain", "rows", "nan"] = "gain") -> None:
        self.kind = kind

    def _measure(self, x: Tensor) -> Tensor:
        if self.kind == "rows":
            return x.sum(-1).flatten(1)
        return GAIN * x if self.kind == "gain" else x.log()

    def splits(self) -> Splits:
        x = torch.rand(8, 1, 14, 18, generator=torch.Generator().manual_seed(3))
        if self.kind == "nan":
            x[6, 0, 0, 0] = 0
        z = self._measure(x)
        crop = (14, 18) if self.kind == "rows" else (8, 8)
        train = TrainingPairs(list(x[:4]), list("abcd"), crop, list(z[:4]))
        return Splits(train, MeasuredStack(x[4:6], list("ef"), z[4:6]), MeasuredStack(x[6:], list("gh"), z[6:]))


class Unknown(UnknownOperator):
    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.shape = shape

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.shape or tuple(domain_shape)


class MeanImage(toy.Raw):
    """The same picture for every measurement: learned where measurements are not images."""

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        self.picture = torch.nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        return self.picture.expand(len(z), *self._shape)


class Fit(Trainer):
    """The gain, or the mean picture, of one batch of pairs."""

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        reconstructor: Any = method.build()
        x, z = context.images.train.measured_batch(context.problem, context.seed, 0, 4, torch.Generator())
        value = (z * x).sum() / (z * z).sum() if x.shape == z.shape else x.mean()
        with torch.no_grad():
            next(reconstructor.parameters()).fill_(float(value))
        return TrainedMethod(reconstructor, TrainingLog([{"step": 1}], {}))


class Data(Analyzer):
    def analyze(self, run: CompletedRun) -> Findings:
        return Findings({"sum": float(run.measurements.double().sum())})

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {}


class EvaluatesOperator(Data):
    needs_operator = True


class StudyEvaluatesOperator(StudyAnalyzer):
    needs_operator = True

    def analyze(self, study: CompletedStudy) -> Findings:
        return Findings()

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {}


COMPONENTS = {
    "pairs": Pairs,
    "unknown": Unknown,
    "square": toy.Square,
    "mean_image": MeanImage,
    "fit": Fit,
    "data": Data,
    "evaluates": EvaluatesOperator,
    "study_evaluates": StudyEvaluatesOperator,
}


def registry() -> Registry:
    own = SimpleNamespace(invreg_components=invreg.hookimpl(lambda: COMPONENTS))
    return Registry({**toy.plugins(), "measured": own})


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "data": "pairs",
        "operator": "unknown",
        "noise": {"name": "white", "std": 0.5},
        "methods": {"gain": {"reconstructor": "gain", "trainer": "fit"}},
        "metrics": ["mse"],
        "analyses": ["data"],
        **changes,
    }


def run_it(tmp_path: Path, **changes: Any) -> Any:
    return run(spec(**changes), tmp_path, "cpu", progress=False, registry=registry())


def test_a_run_uses_the_measurements_as_they_are(tmp_path: Path) -> None:
    result = run_it(tmp_path)
    test = Pairs().splits().test
    assert isinstance(test, MeasuredStack)
    # The gain is that of the pairs: no noise was added to them.
    assert float(result.methods["gain"].reconstructor.gain.detach()) == pytest.approx(1 / GAIN, rel=1e-6)
    assert result.metrics["mse"].max() < 1e-12
    assert result.findings["data"].scalars["sum"] == pytest.approx(float(test.measurements.double().sum()))
    again: Any = load(result.folder, "cpu", registry=registry())
    for one in (result, again):
        assert torch.equal(one.measurements(), test.measurements)
        assert torch.equal(one.measurements([1]), test.measurements[1:])
        assert torch.equal(one.measurements(1), test.measurements[:1])
        assert torch.equal(one.images([1]).images, test.images[1:])
    assert torch.equal(again.methods["gain"].reconstructor(test.measurements), again.methods["gain"].reconstructions)


def test_a_known_operator_stands_beside_measured_pairs(tmp_path: Path) -> None:
    result = run_it(tmp_path, operator="halve", analyses=["evaluates"])
    assert torch.equal(result.measurements(), Pairs().splits().test.measurements)  # type: ignore[attr-defined]


def test_measurements_may_have_a_space_of_their_own(tmp_path: Path) -> None:
    methods = {"mean": {"reconstructor": "mean_image", "trainer": "fit"}}
    operator = {"name": "unknown", "shape": [14]}
    result = run_it(tmp_path, data={"name": "pairs", "kind": "rows"}, operator=operator, methods=methods)
    assert result.measurements().shape == (2, 14)
    assert result.metrics["mse"].max() < 0.1


@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        (
            {"data": {"name": "pairs", "kind": "rows"}},
            DataError,
            ["data: training measurements of shape (14,)", "(1, 14, 18)", "operator: {name: measured, shape: [14]}"],
        ),
        (
            {"operator": "flatten"},
            DataError,
            ["measurements of shape (1, 8, 8)", "(64,)", "the operator that made them"],
        ),
        ({"data": {"name": "pairs", "kind": "nan"}}, DataError, ["image 'g'", "NaN or infinite"]),
        (
            {"data": "toy_images"},
            SpecError,
            ["operator: Unknown cannot measure the images of ToyImages", "measured_pairs"],
        ),
        ({"analyses": ["data", "evaluates"]}, SpecError, ["analyses.1: 'evaluates' evaluates the operator"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    tmp_path: Path, changes: dict[str, Any], error: type[InvregError], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        run_it(tmp_path, **changes)
    assert caught.value.exit_status == SpecError.exit_status
    for part in parts:
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_study_analysis_that_evaluates_the_operator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"study_analyses.0: 'study_evaluates' evaluates the operator"):
        run_it(tmp_path, matrix={"seed": [0, 1]}, study_analyses=["study_evaluates"])


def test_an_unknown_operator_cannot_be_evaluated() -> None:
    operator: Operator = Unknown()
    with pytest.raises(InvregError, match=r"F\(x\) cannot be computed"):
        operator(torch.zeros(1, 1, 4, 4))
    assert Problem(operator).largest_measurement((1, 4, 4), torch.zeros(1)) is None
    with pytest.raises(SpecError, match="tv evaluates the operator, and Unknown cannot be evaluated"):
        invreg.require_known(operator, "tv")
    invreg.require_known(toy.Halve(), "tv")


def test_metrics_are_those_of_the_reconstructions(tmp_path: Path) -> None:
    result = run_it(tmp_path, methods={"raw": "raw"})
    x = Pairs().splits().test.images
    expected = ((GAIN - 1) * x).square().mean((1, 2, 3))
    pd.testing.assert_series_equal(
        result.metrics["mse"], pd.Series(expected.double().numpy(), name="mse"), rtol=1e-5, check_exact=False
    )
