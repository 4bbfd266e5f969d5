"""Noise models, metrics and methods with one mistake each, which the check that is named after it has to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Shape
from invreg.components.problem import Problem
from invreg.components.pull_back import PullBack
from invreg.components.reconstructor import Reconstructor
from invreg.testing import CheckFailure, check_metric, check_noise, check_plugin, check_reconstructor
from invreg_metrics.metrics import MSE, PSNR


class Copy(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


class GlobalNoise(Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z + torch.randn_like(z)


class InPlaceNoise(Noise):
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return z.add_(torch.rand(z.shape, generator=generator))


class WrongDirection(PSNR):
    higher_is_better = False


class WholeBatch(MSE):
    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return super().__call__(x_hat, x).mean().expand(len(x))


class Net(Reconstructor):
    """A correct method: a learned factor."""

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z


class OfTheBatch(Net):
    def forward(self, z: Tensor) -> Tensor:
        return self.gain * (z - z.mean())


class Detached(Net):
    def forward(self, z: Tensor) -> Tensor:
        return self.gain.detach() * z.clone().requires_grad_()


class InPlace(Net):
    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z.mul_(0.5)


class Cropped(Net):
    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z[..., :-1]


class OneSize(Net):
    def setup(self, problem: Problem, image_shape: Shape) -> None:
        self.gain = nn.Parameter(torch.ones(image_shape))


class FarSeeing(Net):
    """Its forward map sees one pixel more than it says."""

    forward_map_radius = 0
    target_operator = Copy()

    def forward_map(self, x: Tensor) -> Tensor:
        return self.gain * nn.functional.avg_pool2d(x, 3, stride=1, padding=1)


class Remembering(Net):
    """It divides by the largest value that it has ever seen."""

    largest = 0.0

    def forward(self, z: Tensor) -> Tensor:
        self.largest = max(self.largest, float(z.abs().max()))
        return self.gain * z / self.largest


class Counting(Net):
    """It counts its calls in a buffer, which does not show in any image."""

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        return self.gain * z


class OneLayout(Net):
    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z.view(len(z), -1).view(z.shape)


class Half(PullBack):
    """A correct pull-back."""

    @property
    def formula(self) -> str:
        """z / 2."""
        return "z / 2"

    def forward(self, z: Tensor) -> Tensor:
        return z / 2


class NotLinear(Half):
    def forward(self, z: Tensor) -> Tensor:
        return z * z.abs()


class WithoutGradient(Half):
    def forward(self, z: Tensor) -> Tensor:
        return z.detach() / 2


class WithWrongGradient(Half):
    def forward(self, z: Tensor) -> Tensor:
        return z.detach() + z - z / 2 - z.detach() / 2 + 0.1 * (z - z.detach())


class WithSmallBound(Half):
    def norm_bound(self, image_shape: Shape) -> float:
        return 0.4999


def of_a_method(method: Any) -> None:
    check_reconstructor(method, Copy(), image_shape=(1, 10, 8))


BUGS: list[tuple[str, Callable[[Any], None], type]] = [
    ("no_global_state", check_noise, GlobalNoise),
    ("input_unchanged", check_noise, InPlaceNoise),
    ("direction", check_metric, WrongDirection),
    ("batch_independence", check_metric, WholeBatch),
    ("batch_independence", of_a_method, OfTheBatch),
    ("gradients", of_a_method, Detached),
    ("input_unchanged", of_a_method, InPlace),
    ("range_shape", of_a_method, Cropped),
    ("other_image_sizes", of_a_method, OneSize),
    ("forward_map_radius", of_a_method, FarSeeing),
    ("no_hidden_state", of_a_method, Remembering),
    ("no_hidden_state", of_a_method, Counting),
    ("memory_layout", of_a_method, OneLayout),
    ("linearity", of_a_method, NotLinear),
    ("gradient", of_a_method, WithoutGradient),
    ("gradient", of_a_method, WithWrongGradient),
    ("norm_bound", of_a_method, WithSmallBound),
]


@pytest.mark.parametrize("method", [Net, Half])
def test_a_correct_method_passes(method: type[Reconstructor]) -> None:
    of_a_method(method)


@pytest.mark.parametrize(("name", "check", "cls"), BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_the_check_that_names_it_finds_a_bug(name: str, check: Callable[[Any], None], cls: type) -> None:
    with pytest.raises(CheckFailure) as caught:
        check(cls)
    assert name in caught.value.checks, str(caught.value)


def test_a_plugin_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CheckFailure, match="there is no plugin"):
        check_plugin("no-such-plugin")
