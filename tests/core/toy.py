"""A small plugin of every kind of component, for tests of the harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn

import invreg
from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.dataset import ImageDataset, ImageStack, Splits, TrainingImages
from invreg.components.operator import LinearOperator
from invreg.components.problem import Problem
from invreg.components.reconstructor import LearnsForwardMap, Reconstructor
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog

#: What has been computed since the list was last cleared.
CALLS: list[str] = []


class ToyImages(ImageDataset):
    def __init__(self, count: Annotated[int, Field(ge=1)] = 3, shift: int = 0, broken: bool = False) -> None:
        self.count, self.shift, self.broken = count, shift, broken

    def splits(self) -> Splits:
        generator = torch.Generator().manual_seed(self.shift)
        images = torch.rand(2 * self.count + 1, 1, 16, 16, generator=generator)
        if self.broken:
            images[0, 0, 3, 3] = torch.nan
        names = [f"image {index}" for index in range(self.count)]
        train = TrainingImages([images[-1]], ["train"], (8, 8))
        return Splits(train, ImageStack(images[: self.count], names), ImageStack(images[self.count : -1], names))


class Halve(LinearOperator):
    def __init__(self, factor: Annotated[float, Field(gt=0)] = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class White(invreg.Noise):
    def __init__(self, std: Annotated[float, Field(ge=0)] = 0.01) -> None:
        self.std = std

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z + self.std * torch.randn(z.shape, generator=generator, device=z.device)


class Quiet(invreg.Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.clone()


class Raw(Reconstructor):
    def forward(self, z: Tensor) -> Tensor:
        return z


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


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "toy_images": ToyImages,
        "halve": Halve,
        "white": White,
        "none": Quiet,
        "raw": Raw,
        "gain": Gain,
        "least_squares": LeastSquares,
        "peek": Peek,
    }


SPEC: dict[str, Any] = {
    "title": "Toy problem",
    "data": "toy_images",
    "operator": "halve",
    "noise": {"name": "white", "std": 0.01},
    "methods": {"raw": "raw", "gain": {"reconstructor": "gain", "trainer": "least_squares"}},
    "analyses": ["peek"],
}
