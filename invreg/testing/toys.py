"""A small problem with all that belongs to it: images, an operator, noise, methods, trainings, a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from invreg.components.dataset import ImageDataset, ImageStack, Splits
from invreg.components.events import Events
from invreg.components.image_quality import mean_squared_error, peak_signal_to_noise_ratio
from invreg.components.metric import Metric
from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import Method, TrainedMethod, TrainingContext, TrainingLog, search_range
from invreg.components.training_images import TrainingImages
from invreg.computing.streams import generator, stream_key
from invreg.schema.parameters import parameters_model

if TYPE_CHECKING:
    from invreg.components.analyzer import CompletedRun


class ToyBlur(LinearOperator):
    """The mean of a pixel and of its 3x3 surroundings, zero outside: its own adjoint."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x + F.avg_pool2d(x, 3, stride=1, padding=1))


class ToyNoise(Noise):
    """White noise, the same in all dtypes."""

    def __init__(self, std: Annotated[float, Field(ge=0, description="standard deviation")] = 0.02) -> None:
        self.std = std

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z + self.std * torch.randn(z.shape, generator=generator, device=z.device).to(z.dtype)


class ToyImages(ImageDataset):
    """Smooth random images, 20 x 16 pixels."""

    def __init__(self) -> None:
        pass

    def splits(self) -> Splits:
        return toy_splits()


class ToyPSNR(Metric):
    """The peak signal-to-noise ratio."""

    higher_is_better = True
    unit = "dB"

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return peak_signal_to_noise_ratio(x_hat, x)


class ToyError(Metric):
    """The mean squared error."""

    higher_is_better = False

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return mean_squared_error(x_hat, x)


class ToyIdentity(Reconstructor):
    """The measurement itself: no weights, no forward map."""

    def forward(self, z: Tensor) -> Tensor:
        return z.clone()


class ToyNet(Reconstructor):
    """phi(x) = a x + b, whose inverse reconstructs; with weights a and b and a forward map that sees one pixel."""

    def __init__(
        self,
        start: Annotated[
            float,
            Field(
                gt=0.1,
                lt=10,
                description="a before training; 1 is about right",
                json_schema_extra=search_range(0.5, 2.0, log=True),
            ),
        ] = 0.5,
    ) -> None:
        super().__init__()
        self.start = start

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        self.a = nn.Parameter(torch.tensor(self.start))
        self.b = nn.Parameter(torch.zeros(()))
        super().setup(problem, image_shape)

    @property
    def target_operator(self) -> Operator:
        return self.problem.operator

    @property
    def forward_map_radius(self) -> int:
        return 0

    def forward_map(self, x: Tensor) -> Tensor:
        return self.a * x + self.b

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.b) / self.a


class ToyGain(Reconstructor):
    """x = gain * z: nothing to train, one parameter to search."""

    def __init__(
        self,
        start: Annotated[
            float,
            Field(
                gt=0.1,
                lt=10,
                description="the gain; 1 is about right",
                json_schema_extra=search_range(0.5, 2.0, log=True),
            ),
        ] = 0.5,
    ) -> None:
        super().__init__()
        self.start = start

    def forward(self, z: Tensor) -> Tensor:
        return self.start * z


def _smooth(seed: int, count: int) -> Tensor:
    coarse = torch.rand(count, 1, 5, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(20, 16), mode="bicubic").clamp(0, 1)


def toy_splits(test_seed: int = 3) -> Splits:
    """Four training images in crops of 12 x 12 pixels, three validation and three test images."""
    train, val, test = _smooth(1, 4), _smooth(2, 3), _smooth(test_seed, 3)
    return Splits(
        TrainingImages(list(train), [f"train-{i}" for i in range(4)], (12, 12)),
        ImageStack(val, [f"val-{i}" for i in range(3)]),
        ImageStack(test, [f"test-{i}" for i in range(3)]),
    )


def toy_problem() -> Problem:
    """The blur with a little noise."""
    return Problem(ToyBlur(), ToyNoise())


def toy_measurements(x: Tensor) -> Tensor:
    """What the small problem measures of images, with the same noise every time."""
    return toy_problem().measure(x, generator=generator(stream_key(0, "checks")))


def toy_method(cls: type[Reconstructor]) -> Method:
    """A method of the small problem, as a trainer sees it."""

    def build(**changes: Any) -> Reconstructor:
        built = cls(**changes)
        built.setup(toy_problem(), (1, 20, 16))
        return built

    return Method("toy", {}, parameters_model(cls), build)


def toy_context(folder: Path, seed: int = 0, test_seed: int = 3) -> TrainingContext:
    """Everything around a training on the small problem."""
    splits, problem = toy_splits(test_seed), toy_problem()
    z = toy_measurements(splits.val.images)
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingContext(
        problem=problem,
        image_shape=(1, 20, 16),
        images=splits,
        val_measurements=z,
        device=torch.device("cpu"),
        seed=seed,
        folder=folder,
        events=Events(),
        metrics={"psnr": ToyPSNR(), "mse": ToyError()},
        batch_size=2,
    )


def toy_run() -> CompletedRun:
    """A finished run: the measurement itself, and a trained network with a forward map."""
    import pandas as pd

    from invreg.components.analyzer import CompletedRun
    from invreg.running.evaluation import measure_quality

    splits, problem = toy_splits(), toy_problem()
    z = toy_measurements(splits.test.images)
    net = toy_method(ToyNet).build(start=0.9)
    log = TrainingLog(
        [{"epoch": e, "train_loss": 0.1 / e, "val_psnr": 20.0 + e, "lr": 0.01} for e in (1, 2, 3)], {"steps": 3}
    )
    methods = {
        "identity": TrainedMethod(toy_method(ToyIdentity).build().eval(), TrainingLog()),
        "net": TrainedMethod(net.eval(), log),
    }
    metrics = {"psnr": ToyPSNR(), "mse": ToyError()}
    with torch.no_grad():
        found = {label: method.reconstructor(z) for label, method in methods.items()}
    table = pd.concat(
        [
            measure_quality(label, x_hat, splits.test.images, list(splits.test.names), [0.01] * 3, metrics)
            for label, x_hat in found.items()
        ],
        ignore_index=True,
    )
    return CompletedRun(
        "A small run", 0, torch.device("cpu"), problem, splits, z, methods, found, table, metrics, batch_size=2
    )
