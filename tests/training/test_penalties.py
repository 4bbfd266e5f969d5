from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_helpers import make_context, make_method

from invreg.components.dataset import ImageStack, Splits
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.training_images import TrainingImages
from invreg.errors import SpecError, TrainingError
from invreg.testing.toys import ToyNoise
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.iresnet import IResNet, MultiscaleIResNet
from invreg_iresnet.parameters import ChainStage
from invreg_training.gradient.approximation import ApproximationTraining
from invreg_training.gradient.objectives import ApproximationLoss
from invreg_training.gradient.penalties import Divergence, LogDeterminant

GAIN, SPREAD, WEIGHT = 0.6, 0.1, 0.002


class Halved(LinearOperator):
    """x -> 0.6 x."""

    def forward(self, x: Tensor) -> Tensor:
        return GAIN * x


class Affine(Reconstructor):
    """phi(x) = c (x - 0.5) + d, and its inverse."""

    needs_training = True

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        self.factor, self.shift = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    @property
    def target_operator(self) -> Operator:
        return self.problem.operator

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.shift) / self.factor + 0.5

    def forward_map(self, x: Tensor) -> Tensor:
        return self.factor * (x - 0.5) + self.shift


class Unrelated(Affine):
    """What should be the inverse is not."""

    def forward(self, z: Tensor) -> Tensor:
        return 3 * z * self.factor


def penalty(kind: str, weight: float = WEIGHT) -> dict[str, object]:
    return {"name": kind, "weight": weight}


def gaussian_splits() -> Splits:
    """White Gaussian images with mean 0.5 and a standard deviation of 0.1."""
    draw = torch.Generator().manual_seed(0)
    train, val = 0.5 + SPREAD * torch.randn(20, 1, 24, 24, generator=draw), torch.full((2, 1, 12, 12), 0.5)
    names = [f"image {number}" for number in range(20)]
    return Splits(TrainingImages(list(train), names, (12, 12)), ImageStack(val, names[:2]), ImageStack(val, names[:2]))


@pytest.mark.parametrize(
    ("kind", "factor"),
    [
        # phi(x) = A x - w grad log p(x), with grad log p(x) = -(x - mean) / s²
        ("divergence", GAIN + WEIGHT / SPREAD**2),
        # A x = u + w grad log q(u) for u = c x + d: b = c - w / (c s²)
        ("log_determinant", (GAIN + math.sqrt(GAIN**2 + 4 * WEIGHT / SPREAD**2)) / 2),
    ],
)
def test_for_gaussian_images_the_learned_map_is_the_one_known_in_closed_form(
    tmp_path: Path, kind: str, factor: float
) -> None:
    context = make_context(tmp_path, operator=Halved(), noise=ToyNoise(0.02), splits=gaussian_splits(), metric="mse")
    trainer = ApproximationTraining(
        steps=100, batch_size=16, optimizer="adam", lr=0.05, gradient_clip=None, penalty=penalty(kind), validations=1
    )
    trained = trainer.fit(make_method(Affine, context), context).reconstructor
    assert trained.factor.item() == pytest.approx(factor, rel=0.02)
    # the means are mapped as without a penalty
    assert trained.forward_map(torch.tensor(0.5)).item() == pytest.approx(0.5 * GAIN, abs=2e-3)


def test_the_inverse_with_the_divergence_is_the_maximum_a_posteriori_estimate_of_gaussian_images(
    tmp_path: Path,
) -> None:
    """phi(x) = A*A x - sigma² grad log p(x), so phi(x) = A*z is the normal equation of the estimate."""
    context = make_context(tmp_path, operator=Halved(), splits=gaussian_splits())
    net = make_method(Affine, context).build()
    loss = ApproximationLoss(net, Divergence(name="divergence", weight=WEIGHT))
    with torch.no_grad():
        net.factor.fill_(GAIN**2 + WEIGHT / SPREAD**2)
        net.shift.fill_(0.5 * GAIN**2)
    x = 0.5 + SPREAD * torch.randn(400, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(loss(GAIN**2 * x, x), [net.factor, net.shift])
    assert max(abs(float(g)) for g in gradients) < 2e-4
    # The estimate: min |A x - y|² / (2 sigma²) + |x - mean|² / (2 s²).
    y = torch.tensor([0.1, 0.9])
    exact = (GAIN * y / WEIGHT + 0.5 / SPREAD**2) / (GAIN**2 / WEIGHT + 1 / SPREAD**2)
    assert torch.allclose(net(GAIN * y), exact, atol=1e-6)


def networks() -> list[Reconstructor]:
    given = {"channels": 1, "padding": 0, "lipschitz": 0.8, "tolerance": 1e-12, "training_tolerance": 1e-12}
    stages = (ChainStage(scale=1, subnetworks=1, hidden=4, kernel_size=3),)
    torch.manual_seed(3)
    nets = [
        IResNet(subnetworks=2, hidden=4, kernel_size=3, **given),
        MultiscaleIResNet((ChainStage(scale=2, subnetworks=1, hidden=8, kernel_size=3), *stages), **given),
    ]
    for net in nets:
        net.setup(Problem(Halved(), None), (1, 2, 4))
        net.double().eval()  # in training, norms change with each call
        with torch.no_grad():  # so that no threshold hides what the kernels do
            net.residuals.log_thresholds.fill_(-3)
    return nets


@pytest.mark.parametrize("index", [0, 1], ids=["iresnet", "multiscale_iresnet"])
@pytest.mark.parametrize("kind", [Divergence, LogDeterminant])
def test_gradients_are_those_of_the_dense_jacobian(
    index: int, kind: type[Divergence] | type[LogDeterminant], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = networks()[index]
    image = torch.rand(1, 1, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=8)), dtype=torch.float64).reshape(-1, 1, 2, 4)
    # With all signs, the estimate of a trace is the trace.
    x = image.expand(len(signs), -1, -1, -1).contiguous()
    monkeypatch.setattr(torch, "randint", lambda *_, **__: (signs + 1) / 2)
    weights = [net.residuals.kernels, net.residuals.mixings, net.residuals.hidden_biases]
    name = "divergence" if kind is Divergence else "log_determinant"
    loss = ApproximationLoss(net, kind(name=name, weight=0.5))  # type: ignore[arg-type]
    found = torch.autograd.grad(loss(0.5 * x, x), weights)

    jacobian = torch.autograd.functional.jacobian(net.forward_map, image, create_graph=True).reshape(8, 8)
    of_jacobian = torch.trace(jacobian) if kind is Divergence else torch.linalg.slogdet(jacobian).logabsdet
    exact = (net.forward_map(image) - 0.5 * image).square().mean() - 2 * 0.5 * of_jacobian / 8
    for one, other in zip(found, torch.autograd.grad(exact, weights), strict=True):
        assert torch.allclose(one, other, atol=1e-9)
        assert other.abs().max() > 1e-4


def test_the_logged_loss_with_a_log_determinant_is_that_of_the_approximation() -> None:
    net, x = networks()[0], torch.rand(3, 1, 2, 4, dtype=torch.float64)
    plain = ApproximationLoss(net)(x, x)
    assert ApproximationLoss(net, LogDeterminant(name="log_determinant", weight=1.0))(x, x).item() == pytest.approx(
        plain.item(), rel=1e-9
    )


def test_states_that_are_larger_than_images_are_refused() -> None:
    net = IResNet(subnetworks=1, hidden=4, kernel_size=3, channels=2, padding=1)
    net.setup(Problem(Halved(), None), (1, 6, 6))
    x = torch.rand(2, 1, 6, 6)
    with pytest.raises(SpecError, match=r"states of shape \(2, 8, 8\)(.|\n)*padding: 0"):
        ApproximationLoss(net.train(), LogDeterminant(name="log_determinant", weight=1.0))(x, x)
    assert torch.isfinite(ApproximationLoss(net, Divergence(name="divergence", weight=1.0))(x, x))


def test_forward_maps_of_fixed_points_are_refused() -> None:
    net = ExplicitIResNet(subnetworks=2, hidden=4, kernel_size=3, channels=1, padding=0, lipschitz=0.5)
    net.setup(Problem(Halved(), None), (1, 6, 6))
    x = torch.rand(2, 1, 6, 6)
    with pytest.raises(SpecError, match="ExplicitIResNet has a forward map without a derivative"):
        ApproximationLoss(net.train(), Divergence(name="divergence", weight=1.0))(x, x)


def test_a_reconstruction_that_is_no_inverse_is_refused(tmp_path: Path) -> None:
    context = make_context(tmp_path, operator=Halved())
    net, x = make_method(Unrelated, context).build(), torch.rand(2, 1, 6, 6)
    with pytest.raises(TrainingError, match="not the inverse of the forward map"):
        ApproximationLoss(net, LogDeterminant(name="log_determinant", weight=1.0))(x, x)


@pytest.mark.parametrize("wrong", [{"name": "entropy", "weight": 1}, {"name": "divergence"}, penalty("divergence", 0)])
def test_unknown_and_incomplete_penalties_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="penalty"):
        ApproximationTraining(penalty=wrong)
