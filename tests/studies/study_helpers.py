"""Small studies on disk, made by running one: two operators, noise levels, a network with a Lipschitz parameter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

import invreg
import invreg_analyses.plugin as analyses_plugin
from invreg.api import run
from invreg.components.dataset import ImageDataset, ImageStack, Splits, TrainingImages
from invreg.components.operator import LinearOperator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from invreg_metrics import plugin as metrics_plugin


class Stripes(ImageDataset):
    """Random images of odd sizes, with names that a file system would not like."""

    def __init__(self, count: Annotated[int, Field(ge=1)] = 4, shift: int = 0) -> None:
        self.count, self.shift = count, shift

    def splits(self) -> Splits:
        images = torch.rand(self.count, 1, 14, 18, generator=torch.Generator().manual_seed(self.shift))
        stack = ImageStack(images, [f"image/{index}" for index in range(self.count)])
        return Splits(TrainingImages(list(images), list(stack.names), (8, 8)), stack, stack)


class Halve(LinearOperator):
    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Flatten(LinearOperator):
    """Measurements that are no images."""

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (domain_shape[0] * domain_shape[1] * domain_shape[2],)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class White(invreg.Noise):
    def __init__(self, std: Annotated[float, Field(ge=0)] = 0.01) -> None:
        self.std = std

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z + self.std * torch.randn(z.shape, generator=generator)


class Quiet(invreg.Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.clone()


class Raw(Reconstructor):
    def setup(self, problem: Problem, image_shape: Shape) -> None:
        self._shape = tuple(image_shape)

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self._shape)


class Scale(Raw):
    """z times a factor; the better, the closer `lipschitz` is to 1."""

    def __init__(self, lipschitz: Annotated[float, Field(gt=0, lt=1)] = 0.999, width: int = 3) -> None:
        super().__init__()
        self.lipschitz, self.width = lipschitz, width
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) * (1 + self.lipschitz)


class Nothing(Trainer):
    def __init__(self, steps: int = 3, seconds: float = 61.0) -> None:
        self.steps, self.seconds = steps, seconds

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        return TrainedMethod(method.build(), TrainingLog([{"step": 1}], {"seconds": self.seconds}))


class Parts:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {
            "stripes": Stripes,
            "halve": Halve,
            "flatten": Flatten,
            "white": White,
            "none": Quiet,
            "raw": Raw,
            "scale": Scale,
            "nothing": Nothing,
        }


L_PATH = "methods.net.reconstructor.lipschitz"
SMALL_PATH = "methods.small.reconstructor.lipschitz"

SPEC: dict[str, Any] = {
    "title": "A study",
    "data": "stripes",
    "operator": "halve",
    "noise": {"name": "white", "std": 0.02},
    "methods": {
        "raw": "raw",
        "net": {"reconstructor": "scale", "trainer": "nothing"},
        "small": {"reconstructor": {"name": "scale", "width": 2}, "trainer": {"name": "nothing", "seconds": 5.0}},
    },
    "matrix": {
        "operator": [{"name": "halve", "factor": 0.5}, {"name": "halve", "factor": 0.6}],
        "noise.std": [0.05, 0.01],
        L_PATH: [0.5, 0.9, 0.99],
        "include": [{L_PATH: value, SMALL_PATH: value} for value in (0.5, 0.9, 0.99)],
    },
    "study_analyses": ["method_comparison", "lipschitz_sweep", "example_grid", "settings_table"],
}


def registry() -> Registry:
    return Registry({"invreg": metrics_plugin, "analyses": analyses_plugin, "parts": Parts})


def run_study(output: Path, **changes: Any) -> StudyResult:
    result = run({**SPEC, **changes}, output, "cpu", progress=False, registry=registry())
    assert isinstance(result, StudyResult)
    assert not result.failures
    return result
