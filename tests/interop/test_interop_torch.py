"""Networks of torch as reconstructors: trained in Python and in runs, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import invreg
from invreg import InvregError, Problem, Registry, Result, Shape, ShapeError, SpecError, hookimpl
from invreg.interop import NetworkReconstructor, reconstructor_from_torch

BRIEF = {"name": "reconstruction", "steps": 3, "batch_size": 2}


class Denoiser(nn.Module):
    """A network as anyone has one: with batch normalisation, and a tied weight."""

    def __init__(self, channels: int = 1, hidden: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Own(NetworkReconstructor):
    """The form that a spec can name."""

    def __init__(self, hidden: Annotated[int, Field(ge=1)] = 4) -> None:
        super().__init__()
        self.hidden = hidden

    def make_network(self, image_shape: Shape) -> nn.Module:
        return Denoiser(image_shape[0], self.hidden)


@hookimpl
def components() -> dict[str, type]:
    return {"own": Own}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed({"own": SimpleNamespace(invreg_components=components)})


@pytest.fixture
def problem(registry: Registry) -> Problem:
    return Problem(registry.build("operator", {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0}))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((5, 16, 20), dtype=np.float32)


@pytest.mark.slow
def test_a_network_is_trained_in_place(problem: Problem, images: np.ndarray) -> None:
    torch.manual_seed(0)
    network = Denoiser()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model = invreg.train(
        reconstructor_from_torch(network), problem, images, trainer=BRIEF, name="mine", device="cpu", progress=False
    )
    assert model.name == "mine"
    assert all(not torch.equal(tensor, before[name]) for name, tensor in network.named_parameters())
    z = problem.measure(torch.from_numpy(images)[:2, None], seed=0)
    with torch.no_grad():
        assert torch.equal(model.reconstruct(z).image, network.eval()(z))


@pytest.mark.slow
def test_a_denoiser_becomes_better_than_its_measurement(registry: Registry, images: np.ndarray) -> None:
    problem = Problem(registry.build("operator", "identity"), registry.build("noise", {"name": "gaussian", "std": 0.3}))
    torch.manual_seed(0)
    trainer = {**BRIEF, "steps": 150, "batch_size": 8, "validations": 3}
    flat = np.repeat(images[:, :1, :1], 16, 1).repeat(20, 2)
    model = invreg.train(
        reconstructor_from_torch(Denoiser()), problem, flat, trainer=trainer, device="cpu", progress=False
    )
    x = torch.from_numpy(flat[-1:])[None]
    z = problem.measure(x, seed=5)
    assert (model.reconstruct(z).image - x).square().mean() < 0.5 * (z - x).square().mean()


def test_a_plugin_brings_it_into_specs(tmp_path: Path, registry: Registry) -> None:
    spec: dict[str, Any] = {
        "data": {"name": "phantoms", "image_size": 24, "train": 4, "val": 2, "test": 2},
        "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
        "noise": {"name": "gaussian", "std": 0.02},
        "methods": {"mine": {"reconstructor": {"name": "own", "hidden": 3}, "trainer": BRIEF}},
        "metrics": ["psnr"],
        "analyses": [],
    }
    runs = [invreg.run(spec, tmp_path / name, "cpu", progress=False, registry=registry) for name in ("first", "second")]
    loaded = invreg.load(runs[0].folder, "cpu", registry)
    weights = []
    for run in (*runs, loaded):
        assert isinstance(run, Result)
        weights.append(run.methods["mine"].reconstructor.state_dict())
    assert set(weights[0]) == {f"network.{name}" for name in Denoiser(1, 3).state_dict()}
    # Initial weights follow from the seed: two runs, and the loaded one, are equal.
    assert all(torch.equal(weights[0][name], other[name]) for other in weights[1:] for name in weights[0])


def test_measurements_that_are_no_images_are_pulled_back(registry: Registry) -> None:
    radon = Problem(registry.build("operator", {"name": "radon", "angles": 12}))
    x = torch.rand(2, 1, 16, 16)
    z = radon.measure(x, seed=0)
    net = reconstructor_from_torch(nn.Identity())
    net.setup(radon, (1, 16, 16))
    assert torch.allclose(net(z), radon.normal_operator((1, 16, 16))(x), atol=1e-6)
    fbp = registry.build("reconstructor", "fbp")
    started = reconstructor_from_torch(nn.Identity(), start=fbp)
    started.setup(radon, (1, 16, 16))
    assert torch.equal(started(z), fbp(z))


def test_a_lazy_network_gets_its_weights(problem: Problem, images: np.ndarray) -> None:
    lazy = nn.LazyConv2d(1, 3, padding=1)
    model = invreg.train(reconstructor_from_torch(lazy), problem, images, trainer=BRIEF, device="cpu", progress=False)
    assert lazy.weight.shape == (1, 1, 3, 3)
    assert model.reconstruct(images[0]).image.shape == (16, 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.relu, "not a torch module"),
        (Denoiser, r"an instance of it: Denoiser\(...\)"),
        (reconstructor_from_torch(nn.Identity()), "a reconstructor already"),
    ],
)
def test_only_networks_are_wrapped(given: Any, message: str) -> None:
    with pytest.raises(InvregError, match=message):
        reconstructor_from_torch(given)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(3, 1, 3, padding=1), r"does not take an image of shape \[1, 1, 16, 20\]"),
        (nn.Conv2d(1, 1, 3), r"returned the shape \[1, 1, 14, 18\]"),
        (nn.Conv2d(1, 2, 3, padding=1), r"returned the shape \[1, 2, 16, 20\]"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_training(
    problem: Problem, images: np.ndarray, network: nn.Module, message: str
) -> None:
    with pytest.raises(InvregError, match=message):
        invreg.train(reconstructor_from_torch(network), problem, images, trainer=BRIEF, device="cpu", progress=False)


def test_a_nonlinear_operator_between_spaces_needs_a_start(registry: Registry) -> None:
    class Rows(invreg.Operator):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, ::2] ** 2

        def range_shape(self, domain_shape: Shape) -> Shape:
            return (domain_shape[0], (domain_shape[1] + 1) // 2, domain_shape[2])

    with pytest.raises(SpecError, match="a start"):
        reconstructor_from_torch(nn.Identity()).setup(Problem(Rows()), (1, 8, 8))


def test_a_class_without_a_network_says_what_to_write(problem: Problem) -> None:
    with pytest.raises(NotImplementedError, match="make_network"):
        NetworkReconstructor().setup(problem, (1, 8, 8))


def test_no_spec_names_a_wrapper(registry: Registry) -> None:
    with pytest.raises(SpecError, match="for specs, write a component"):
        invreg.spec_of(reconstructor_from_torch(nn.Identity()), registry)


def test_shape_errors_keep_their_cause(problem: Problem) -> None:
    with pytest.raises(ShapeError) as caught:
        reconstructor_from_torch(nn.Conv2d(3, 1, 3)).setup(problem, (1, 8, 8))
    assert isinstance(caught.value.__cause__, RuntimeError)
