"""The weakly convex ridge regularizer: where its objective is convex, and what is proven where it is not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invreg
from invreg import CertificateError, InvregError, Problem, Registry, SpecError, StabilityCertificate
from invreg.testing import check_reconstructor

REGISTRY = Registry.installed()
SMALL = {"filters": 3, "kernel_size": 3, "knots": 4, "weight": 0.05}
SHAPE = (1, 10, 9)
BLUR = {"name": "gaussian_blur", "kernel_size": 3, "std": 0.8}
STEEP = 0.4


def method(operator: Any = "identity", falls: float = STEEP, **changes: Any) -> Any:
    """With falls so steep that the modulus has to be enforced."""
    torch.manual_seed(0)
    made = REGISTRY.build("reconstructor", {"name": "wcrr", **SMALL, "tolerance": 1e-9, **changes})
    made.setup(Problem(REGISTRY.build("operator", operator)), SHAPE)
    made = made.eval().double()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.weights.log_slopes.sub_(0.3)
        made.weights.log_falls.add_(
            falls + 0.01 * torch.rand(made.filters, made.knots, generator=numbers, dtype=torch.float64)
        )
    return made


def images(seed: int, count: int = 2) -> Tensor:
    return torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_conformance() -> None:
    made = REGISTRY.build("reconstructor", {"name": "wcrr", **SMALL, "tolerance": 1e-5})
    check_reconstructor(made, REGISTRY.build("operator", "identity"), (2, 7, 6), tolerance=1e-3)


def test_denoising_has_one_minimiser_from_every_start() -> None:
    made, z = method(), images(1)
    found = made.solve(z)
    assert found.converged.all()
    with torch.no_grad():
        least = made.objective(found.x, z)
        for seed in range(10):
            other = (found.x + (images(seed) - 0.5) * 10.0 ** -(seed % 5)).clamp(0, 1)
            assert (made.objective(other, z) >= least * (1 - 1e-9)).all()


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_what_the_certificate_says_holds(rho: float) -> None:
    """For pairs that a search found: along the derivative, where the bound is large, and 10^3 of them."""
    made = method(strong_convexity=rho, tolerance=1e-7)
    certificate = made.certificate()
    made.verify(certificate)
    r = certificate.content["weak_convexity"]
    assert 0.8 < r <= 0.9
    bound = certificate.reconstruction_lipschitz
    assert bound == pytest.approx(1 / (1 + rho - r), rel=1e-6)
    numbers = torch.Generator().manual_seed(3)
    base = torch.rand((1, *SHAPE), generator=numbers, dtype=torch.float64).expand(100, *SHAPE) * 0.2 + 0.4
    change = torch.randn(base.shape, generator=numbers, dtype=torch.float64)
    worst = 0.0
    with torch.no_grad():
        x = made.solve(base).x
        for _ in range(10):
            change = 0.05 * change / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            difference = made.solve(base + change).x - x
            ratio = difference.flatten(1).norm(dim=1) / 0.05
            worst = max(worst, ratio.max().item())
            change = difference
    assert 0.5 / (1 + rho) < worst <= bound * (1 + 1e-4)


def test_without_convexity_the_objective_decreases_to_a_critical_point() -> None:
    made = method(BLUR, falls=0.0)
    assert not made.is_convex
    assert not any(weight.requires_grad for weight in made.parameters())  # a trainer refuses it before a run
    z = made.problem.operator(images(1))
    values = []
    for most in (1, 3, 10, 1000):
        limited = method(BLUR, falls=0.0, tolerance=1e-3, max_iterations=most)
        found = limited.solve(z)
        values.append(made.objective(found.x, z))
    assert found.converged.all()
    assert all((after <= before + 1e-12).all() for before, after in itertools.pairwise(values))
    certificate = made.certificate()
    assert certificate.reconstruction_lipschitz is None
    assert certificate.content["proven"][0] == "the iteration converges to a critical point"
    point = method(BLUR, max_iterations=1).train()(z.requires_grad_())
    with pytest.raises(InvregError, match="critical point"):
        point.sum().backward()


def test_a_strongly_convex_objective_has_a_bound_for_every_operator() -> None:
    certificate = method(BLUR, strong_convexity=1.5).certificate()
    m, r = certificate.content["smallest_singular_value"], certificate.content["weak_convexity"]
    peak = max(m, (1.5 - r) ** 0.5)
    assert certificate.reconstruction_lipschitz == pytest.approx(peak / (peak**2 + 1.5 - r))
    with pytest.raises(CertificateError):
        method(BLUR, strong_convexity=1.5).verify(StabilityCertificate({**certificate.content, "weak_convexity": 0.1}))


def test_the_implicit_gradient_is_that_of_the_minimiser() -> None:
    """Against central differences in float64, for all weights and for the measurement."""
    made = method(tolerance=1e-11, max_iterations=5000)
    z, target = images(3, 1), images(4, 1)

    def loss(measurement: Tensor) -> Tensor:
        value: Tensor = ((made(measurement) - target) ** 2).sum()
        return value

    point = z.clone().requires_grad_()
    loss(point).backward()
    numbers = torch.Generator().manual_seed(1)
    for tensor in (*made.weights.parameters(), point):
        direction = torch.randn(tensor.shape, generator=numbers, dtype=torch.float64)
        expected, step = (tensor.grad * direction).sum().item(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                kept = tensor.clone()
                tensor.copy_(kept + sign * step * direction)
                values.append(loss(point if tensor is point else z).item())
                tensor.copy_(kept)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=5e-3, abs=1e-5)


@pytest.mark.parametrize("changes", [{"modulus": 1.0}, {"modulus": 0.0}, {"weight": -1.0}], ids=str)
def test_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(changes))):
        method(**changes)


@pytest.mark.slow
def test_weights_trained_on_denoising_go_to_another_operator(tmp_path: Path) -> None:
    spec = {
        "data": {"name": "photos", "image_size": 32, "train_size": 24},
        "operator": "identity",
        "noise": {"name": "gaussian", "std": 0.1},
        "methods": {
            "z": "observation",
            "wcrr": {
                "reconstructor": {"name": "wcrr", "filters": 8, "kernel_size": 3, "tolerance": 1e-3},
                "trainer": {"name": "reconstruction", "steps": 30, "batch_size": 8, "validations": 1},
            },
        },
        "analyses": ["certificate"],
    }
    result = invreg.run(spec, tmp_path, "cpu", progress=False)
    psnr = result.summary.set_index("method")["psnr"]
    assert psnr["wcrr"] > psnr["z"] + 4
    trained, other = result.methods["wcrr"].reconstructor, method(BLUR, filters=8, knots=20).float()
    other.load_state_dict(trained.state_dict())
    assert other(other.problem.operator(images(1).float())).shape == (2, *SHAPE)
