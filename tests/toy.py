"""The small problem of the tests: a plugin with components of every kind, a run, and studies of it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn

import invreg
from invreg.api import run
from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.dataset import ImageDataset, ImageStack, Splits, TrainingImages
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import LearnsForwardMap, Reconstructor
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from invreg.testing.toys import ToyNoise
from invreg_metrics import plugin as metrics_plugin

#: What has been computed since the list was last cleared.
CALLS: list[str] = []


class ToyImages(ImageDataset):
    """Random images of even sizes that differ, with names that a file system would not like."""

    def __init__(self, count: Annotated[int, Field(ge=1)] = 3, shift: int = 0, broken: bool = False) -> None:
        self.count, self.shift, self.broken = count, shift, broken

    def splits(self) -> Splits:
        generator = torch.Generator().manual_seed(self.shift)
        images = torch.rand(2 * self.count + 1, 1, 14, 18, generator=generator)
        if self.broken:
            images[0, 0, 3, 3] = torch.nan
        names = [f"image/{index}" for index in range(self.count)]
        train = TrainingImages([images[-1]], ["train"], (8, 8))
        return Splits(train, ImageStack(images[: self.count], names), ImageStack(images[self.count : -1], names))


class Halve(LinearOperator):
    def __init__(self, factor: Annotated[float, Field(gt=0)] = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Halved(Operator):
    """A linear operator that does not say that it is linear."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


class Same(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


class Square(Operator):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


class EverySecondRow(LinearOperator):
    """Every second row, three times as bright: from X to a smaller Y."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x[..., ::2, :]

    def range_shape(self, domain_shape: Shape) -> Shape:
        channels, height, width = domain_shape
        return channels, (height + 1) // 2, width

    def domain_shape(self, range_shape: Shape) -> Shape:
        channels, height, width = range_shape
        return channels, 2 * height, width


class SquaredRows(Operator):
    """Nonlinear, and out of X."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2, :] ** 2

    def range_shape(self, domain_shape: Shape) -> Shape:
        channels, height, width = domain_shape
        return channels, (height + 1) // 2, width


class Flatten(LinearOperator):
    """Measurements that are not images."""

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (domain_shape[0] * domain_shape[1] * domain_shape[2],)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Quiet(invreg.Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.clone()


class Raw(Reconstructor):
    """The measurement in the shape of an image."""

    needs_training = False

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        self._shape = tuple(image_shape)

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self._shape)


class Gain(Reconstructor):
    """x = z * gain, the gain learned; believes that F is division by the gain."""

    def __init__(self, start: float = 1.0, spoil: bool = False) -> None:
        super().__init__()
        self.start, self.spoil = start, spoil

    def setup(self, problem: Problem, image_shape: tuple[int, ...]) -> None:
        self.gain = nn.Parameter(torch.full((1,), self.start) + 1e-3 * torch.randn(1))
        super().setup(problem, image_shape)

    @property
    def target_operator(self) -> invreg.Operator:
        return self.problem.operator

    def forward_map(self, x: Tensor) -> Tensor:
        return x / self.gain

    def forward(self, z: Tensor) -> Tensor:
        return z * self.gain * (torch.nan if self.spoil else 1.0)


class LeastSquares(Trainer):
    def __init__(self, samples: Annotated[int, Field(ge=1)] = 4, fail: str = "") -> None:
        self.samples, self.fail = samples, fail

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if not list(reconstructor.parameters()):
            raise invreg.SpecError("nothing to train", expected="a reconstructor with parameters")

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        CALLS.append(f"fit {method.label}")
        if self.fail:
            raise invreg.TrainingError(self.fail)
        reconstructor: Any = method.build()
        x = context.images.train.batch(context.seed, 0, self.samples)
        z = context.problem.measure(x, seed=context.seed)
        with torch.no_grad():
            reconstructor.gain.fill_(float((z * x).sum() / (z * z).sum()))
        context.events.emit("invreg_epoch_finished", label=method.label, epoch=1, values={"loss": 0.0})
        return TrainedMethod(reconstructor, TrainingLog([{"epoch": 1, "loss": 0.0}], {"steps": 1}))


class Peek(Analyzer):
    requires: ClassVar = (LearnsForwardMap,)

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail

    def analyze(self, run: CompletedRun) -> Findings:
        CALLS.append("analyze")
        if self.fail:
            raise ZeroDivisionError("a bug in the analysis")
        gains = {label: float(net.gain.detach()) for label, net in self.methods_of(run).items()}
        table = pd.DataFrame({"method": list(gains), "gain": list(gains.values())})
        return Findings(
            {"count": len(gains)}, {"gains": table}, {"gains": np.array(list(gains.values()))}, "<Gains> found."
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        CALLS.append("draw")
        figure = Figure(figsize=(2, 1))
        figure.subplots().bar(findings.tables["gains"]["method"], findings.arrays["gains"])
        return {"gains": figure}


class Scale(Raw):
    """z times a factor; the better, the closer `lipschitz` is to 1."""

    def __init__(self, lipschitz: Annotated[float, Field(gt=0, lt=1)] = 0.999, width: int = 3) -> None:
        super().__init__()
        self.lipschitz, self.width = lipschitz, width
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) * (1 + self.lipschitz)


class Nothing(Trainer):
    """Leaves the weights as they are, and says that this took a minute."""

    def __init__(self, steps: int = 3, seconds: float = 61.0) -> None:
        self.steps, self.seconds = steps, seconds

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        return TrainedMethod(method.build(), TrainingLog([{"step": 1}], {"seconds": self.seconds}))


class BestByNoise(StudyAnalyzer):
    def __init__(self, fail: bool = False) -> None:
        self.fail = fail

    def analyze(self, study: CompletedStudy) -> Findings:
        if self.fail:
            raise invreg.SpecError("nothing varies here")
        gains = [float(cell.result.methods["gain"].reconstructor.gain.detach()) for cell in study.cells]  # type: ignore[union-attr, operator]
        table = study.table.groupby("noise.std")["psnr"].max().reset_index()
        return Findings({"gain": gains[0]}, {"best": table}, {}, "Noise <hurts>.")

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(findings.tables["best"]["noise.std"], findings.tables["best"]["psnr"])
        return {"best": figure}


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "toy_images": ToyImages,
        "halve": Halve,
        "flatten": Flatten,
        "white": ToyNoise,
        "none": Quiet,
        "raw": Raw,
        "gain": Gain,
        "scale": Scale,
        "least_squares": LeastSquares,
        "nothing": Nothing,
        "peek": Peek,
        "best_by_noise": BestByNoise,
    }


SPEC: dict[str, Any] = {
    "title": "Toy problem",
    "data": "toy_images",
    "operator": "halve",
    "noise": {"name": "white", "std": 0.01},
    "methods": {"raw": "raw", "gain": {"reconstructor": "gain", "trainer": "least_squares"}},
    "analyses": ["peek"],
}


def plugins() -> dict[str, Any]:
    """The metrics and the toys, for a registry."""
    return {"invreg": metrics_plugin, "toy": sys.modules[__name__]}


def study(**changes: Any) -> dict[str, Any]:
    """Two noise levels times two trainings."""
    matrix = {"noise.std": [0.01, 0.1], "methods.gain.trainer.samples": [4, 8]}
    return {**copy.deepcopy(SPEC), "matrix": matrix, "study_analyses": ["best_by_noise"], **changes}


def run_study(content: Mapping[str, Any], output: Path, registry: Registry) -> StudyResult:
    result = run(dict(content), output, "cpu", progress=False, registry=registry)
    assert isinstance(result, StudyResult)
    return result
