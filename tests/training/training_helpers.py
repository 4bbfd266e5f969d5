"""A small problem, small reconstructors and contexts for the tests of the trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from invreg.components.dataset import ImageStack, Splits
from invreg.components.events import Events
from invreg.components.hookspecs import hookimpl
from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import Method, TrainingContext, search_range
from invreg.components.training_images import TrainingImages
from invreg.schema.parameters import parameters_model
from invreg_metrics.metrics import MSE, PSNR


class BoxBlur(LinearOperator):
    """Mean over 3x3 pixels, zero outside: its own adjoint."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1)


class ThreeConvs(Reconstructor):
    def __init__(self, hidden: Annotated[int, Field(ge=1)] = 8) -> None:
        super().__init__()
        self.hidden = hidden

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        channels = image_shape[0]
        self.net = nn.Sequential(
            nn.Conv2d(channels, self.hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.hidden, self.hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.hidden, channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return z + self.net(z)


class RestlessConvs(ThreeConvs):
    """Everything that makes resuming hard: dropout, running statistics, tied weights and channels-last memory."""

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        shared = nn.Conv2d(self.hidden, self.hidden, 3, padding=1)
        self.middle = nn.Sequential(shared, nn.BatchNorm2d(self.hidden), nn.Dropout(0.2), shared)
        self.to(memory_format=torch.channels_last)
        self.fractions: list[float] = []

    def training_progress(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def forward(self, z: Tensor) -> Tensor:
        first, *rest = self.net
        h = first(z)
        h = h + 0.1 * self.middle(h)
        for layer in rest:
            h = layer(h)
        return z + h


class Gain(Reconstructor):
    """x = weight * z + shift, in a mode: nothing to train, everything to search."""

    def __init__(
        self,
        weight: Annotated[float, Field(gt=0, json_schema_extra=search_range(0.1, 10.0, log=True))] = 3.0,
        shift: float = 0.0,
        repeats: Annotated[int, Field(ge=1)] = 1,
        mode: str = "plain",
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.noise = noise
        self.weight, self.shift, self.repeats, self.mode = weight, shift, repeats, mode

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        if self.mode == "broken":
            raise RuntimeError("this mode does not work")

    def forward(self, z: Tensor) -> Tensor:
        return self.weight**self.repeats * z + self.shift


def smooth_images(count: int, size: int, seed: int, channels: int = 1) -> Tensor:
    noise = torch.rand(count, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(size, size), mode="bicubic").clamp(0, 1)


def make_splits(crop: int = 12, images: int = 4, size: int = 24, channels: int = 1) -> Splits:
    train = smooth_images(images, size, 1, channels)
    val, test = smooth_images(5, 16, 2, channels), smooth_images(2, 16, 3, channels)
    return Splits(
        TrainingImages(list(train), [f"train {i}" for i in range(images)], (crop, crop)),
        ImageStack(val, [f"val {i}" for i in range(len(val))]),
        ImageStack(test, [f"test {i}" for i in range(len(test))]),
    )


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.progress: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []

    @hookimpl
    def invreg_progress(self, label: str, stage: str, done: float, total: float, values: dict[str, Any]) -> None:
        self.progress.append({"label": label, "stage": stage, "done": done, "total": total, "values": dict(values)})

    @hookimpl
    def invreg_epoch_finished(self, label: str, epoch: int, values: dict[str, Any]) -> None:
        self.epochs.append({"label": label, "epoch": epoch, "values": dict(values)})


def make_context(
    folder: Path,
    *,
    seed: int = 0,
    operator: Operator | None = None,
    noise: Noise | None = None,
    splits: Splits | None = None,
    listener: object | None = None,
    metric: str = "psnr",
    device: str = "cpu",
) -> TrainingContext:
    splits = make_splits() if splits is None else splits
    problem = Problem(BoxBlur() if operator is None else operator, noise).to(device)
    metrics = {"psnr": PSNR(), "mse": MSE()}
    return TrainingContext(
        problem=problem,
        image_shape=splits.val.image_shape,
        images=Splits(splits.train.to(device), splits.val, splits.test),
        val_measurements=problem.measure(splits.val.images.to(device), seed=7),
        device=torch.device(device),
        seed=seed,
        folder=folder,
        events=Events(listeners=[] if listener is None else [listener]),
        metrics={metric: metrics.pop(metric), **metrics},
        batch_size=2,
    )


def make_method(cls: type[Reconstructor], context: TrainingContext, label: str = "net", **parameters: Any) -> Method:
    schema = parameters_model(cls)

    def build(**changes: Any) -> Reconstructor:
        reconstructor = cls(**schema.model_validate({**parameters, **changes}).model_dump())
        reconstructor.setup(context.problem, context.image_shape)
        return reconstructor

    return Method(label=label, parameters=parameters, schema=schema, build=build)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether all parameters and buffers agree bit for bit."""
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
