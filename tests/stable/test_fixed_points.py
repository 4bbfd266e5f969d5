"""Methods that iterate a denoiser that is averaged for all weights: convergence, bounds, derivatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invreg
from invreg import (
    CertificateError,
    ConvergenceError,
    ConvergenceWarning,
    LearnsDenoiser,
    Problem,
    ReconstructsWithBound,
    Registry,
    ShapeError,
    SpecError,
    StabilityCertificate,
)
from invreg.testing import check_reconstructor
from invreg_stable.denoiser import AveragedDenoiser

REGISTRY = Registry.installed()
SMALL = {"layers": 2, "filters": 5, "kernel_size": 3}
SHAPE = (1, 10, 8)
BLUR = {"name": "gaussian_blur", "kernel_size": 3, "std": 0.8}
DOWN = {"name": "downsampling", "factor": 2}


def method(name: str, operator: Any = "identity", shape: tuple[int, ...] = SHAPE, **changes: Any) -> Any:
    """With random weights, thresholds among the responses, in float64."""
    made = REGISTRY.build(
        "reconstructor", {"name": name, **SMALL, "tolerance": 1e-10, "max_iterations": 5000, **changes}
    )
    made.setup(Problem(REGISTRY.build("operator", operator)), shape)
    made = made.eval().double()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for kernels, thresholds in zip(made.denoiser.kernels, made.denoiser.log_thresholds, strict=True):
            kernels.copy_(torch.randn(kernels.shape, generator=numbers, dtype=torch.float64))
            thresholds.copy_(torch.rand(thresholds.shape, generator=numbers, dtype=torch.float64) * 0.2 - 0.4)
    return made


def images(seed: int, count: int = 2, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", ["averaged_pnp", "deq"])
@pytest.mark.parametrize(
    ("operator", "shape"),
    [("identity", (2, 7, 6)), pytest.param({"name": "radon", "angles": 6}, (1, 10, 10), marks=pytest.mark.slow)],
    ids=str,
)
def test_conformance(name: str, operator: Any, shape: tuple[int, ...]) -> None:
    made = REGISTRY.build("reconstructor", {"name": name, **SMALL, "tolerance": 1e-5})
    check_reconstructor(made, REGISTRY.build("operator", operator), shape, tolerance=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_denoiser_is_averaged(seed: int) -> None:
    """10^3 pairs near and far: ||D x - D y||² + (1 - α) / α ||(x - D x) - (y - D y)||² <= ||x - y||²."""
    torch.manual_seed(seed)
    made = AveragedDenoiser(3, 6, 3, 0.2).double()
    with torch.no_grad():
        for kernels in made.kernels:
            kernels.normal_()
        x = torch.rand(1000, 1, 7, 6, dtype=torch.float64) * 1.4 - 0.2
        y = x + torch.randn_like(x) * 10 ** (-4 * torch.rand(1000, 1, 1, 1, dtype=torch.float64))
        a, b = made(x), made(y)
        share = (1 - made.averagedness) / made.averagedness
        left = norms(a - b) ** 2 + share * norms(x - a - y + b) ** 2
    assert share == pytest.approx(1 / 4)
    assert (left <= norms(x - y) ** 2 * (1 + 1e-12)).all()
    assert all(0.99 < norm <= 1 for norm in made.norms())


@pytest.mark.parametrize("operator", [BLUR, DOWN], ids=str)
def test_the_iteration_converges_with_shorter_steps(operator: Any) -> None:
    made = method("averaged_pnp", operator)
    z = made.problem.operator(images(1))
    found = made.solve(z)
    assert found.converged.all()
    assert (found.x >= 0).all()
    assert (found.x <= 1).all()
    pulled, layers = made._operator.adjoint(z), made.denoiser.layers()
    with torch.no_grad():
        x, steps = torch.rand_like(found.x), []
        for _ in range(60):
            following = made._update(layers, x, pulled, SHAPE)
            steps.append(norms(following - x))
            x = following
    lengths = torch.stack(steps)
    assert (lengths.diff(dim=0) <= 1e-12).all()


def test_a_contraction_converges_at_its_rate_from_everywhere() -> None:
    made = method("deq", BLUR, anchor=0.2)
    q = made.certificate().content["contraction"]
    assert 0 < q < 1
    z = made.problem.operator(images(1))
    exact = made.solve(z, 1e-14).x
    pulled, layers = made._operator.adjoint(z), made.denoiser.layers()
    with torch.no_grad():
        x = torch.rand_like(exact)
        for _ in range(40):
            following = made._update(layers, x, pulled, SHAPE)
            assert (norms(following - exact) <= q * norms(x - exact) + 1e-12).all()
            x = following


@pytest.mark.parametrize(
    ("name", "operator", "changes"),
    [
        ("averaged_pnp", "identity", {}),
        pytest.param("averaged_pnp", BLUR, {}, marks=pytest.mark.slow),
        pytest.param("deq", BLUR, {"anchor": 0.3}, marks=pytest.mark.slow),
        ("deq", DOWN, {"anchor": 0.3}),
    ],
    ids=str,
)
def test_no_pair_exceeds_the_bound(name: str, operator: Any, changes: dict[str, Any]) -> None:
    """About 10^3 pairs, which turn to where differences grew."""
    made = method(name, operator, **{"tolerance": 1e-7, **changes})
    bound = made.certificate().reconstruction_lipschitz
    forward, base = made.problem.operator, images(5, 50)
    z = forward(base)
    numbers, worst, worst_data = torch.Generator().manual_seed(1), 0.0, 0.0
    change = torch.randn(z.shape, generator=numbers, dtype=torch.float64)
    with torch.no_grad():
        x = made.solve(z).x
        for size in (1.0, 0.3, 0.1, 0.03) * 4:
            change = size * change / norms(change).view(-1, 1, 1, 1)
            moved = made.solve(z + change).x - x
            worst = max(worst, (norms(moved) / size).max().item())
            worst_data = max(worst_data, (norms(forward(moved)) / size).max().item())
            change = forward(moved) + 1e-3 * torch.randn(z.shape, generator=numbers, dtype=torch.float64)
    assert 0.2 < worst <= bound * (1 + 1e-4)
    if name == "averaged_pnp":
        assert worst_data <= 1 + 1e-4


def test_bounds_are_those_of_the_formulas() -> None:
    assert method("averaged_pnp").certificate().reconstruction_lipschitz == pytest.approx(1)
    without = method("averaged_pnp", DOWN).certificate()
    assert without.reconstruction_lipschitz is None
    assert without.content["proven"] == [
        "the iteration converges to a fixed point",
        "A times the fixed point is nonexpansive in z",
    ]
    assert without.sentence.startswith(
        "No bound could be proven; proven is: the iteration converges to a fixed point; A"
    )
    assert without.content["averagedness"] == pytest.approx(3 / 4)
    made = method("deq", DOWN, anchor=0.25)
    content, norm = made.certificate().content, made._norm(SHAPE)
    assert content["contraction"] == pytest.approx(1 - 0.25 / (norm**2 + 0.25))
    assert content["inverse_lipschitz"]["nonexpansive"] == pytest.approx(((1 + 0.25 / norm**2) / 0.25) ** 0.5)
    assert content["inverse_lipschitz"]["contraction"] == pytest.approx((norm**2 + 0.25) / (0.25 * norm))


@pytest.mark.parametrize(("name", "operator"), [("deq", BLUR), ("deq", DOWN), ("averaged_pnp", "identity")], ids=str)
def test_the_implicit_gradient_is_that_of_the_fixed_point(name: str, operator: Any) -> None:
    """Against central differences in float64, for all weights and for the measurement."""
    strong = {"anchor": 0.5} if name == "deq" else {}
    made = method(name, operator, tolerance=1e-12, **strong)
    z, target = made.problem.operator(images(3, 1)), images(4, 1)

    def loss(measurement: Tensor) -> Tensor:
        value: Tensor = ((made(measurement) - target) ** 2).sum()
        return value

    point = z.clone().requires_grad_()
    loss(point).backward()
    numbers = torch.Generator().manual_seed(1)
    for tensor in (*made.denoiser.parameters(), point):
        direction = torch.randn(tensor.shape, generator=numbers, dtype=torch.float64)
        expected, step = (tensor.grad * direction).sum().item(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                kept = tensor.clone()
                tensor.copy_(kept + sign * step * direction)
                values.append(loss(point if tensor is point else z).item())
                tensor.copy_(kept)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=2e-3, abs=1e-5)


def test_denoising_takes_one_step() -> None:
    made, z = method("deq"), images(1)
    found = made.reconstruct(z)
    assert made.contraction < 1e-6
    assert (found.error_bound < 1e-6).all()
    torch.testing.assert_close(found.image, made.denoiser(z).detach(), rtol=0, atol=1e-6)


def test_reconstructions_are_within_their_proven_distance() -> None:
    made = method("deq", BLUR, anchor=0.3).float()
    assert isinstance(made, ReconstructsWithBound)
    made.accept(made.certificate())
    z = made.problem.operator(images(2).float())
    exact = made.reconstruct(z, 1e-10).image
    rough = made.reconstruct(z, 0.05, data_error=0.1)
    assert (norms(rough.image - exact) <= rough.error_bound).all()
    assert (rough.error_bound <= 0.05).all()
    lipschitz = made.certificate().reconstruction_lipschitz
    torch.testing.assert_close(rough.data_error_bound, rough.error_bound + 0.1 * lipschitz)
    moved = made.reconstruct(z + 0.1 * z / norms(z).view(-1, 1, 1, 1), 1e-10).image
    assert (norms(rough.image - moved) <= rough.data_error_bound).all()
    assert made.reconstruct(z, certify=False).error_bound is None
    other = made.problem.operator(images(2, shape=(1, 7, 13)).float())
    assert made.reconstruct(other).image.shape == (2, 1, 7, 13)
    made.max_iterations = 1
    with pytest.warns(ConvergenceWarning, match="2 of 2 images are proven"):
        made.reconstruct(z, 1e-8)


@pytest.mark.parametrize("name", ["averaged_pnp", "deq"])
def test_certificates_are_verified(name: str) -> None:
    made = method(name)
    certificate = made.certificate()
    made.verify(certificate)
    for change in (
        {"reconstruction_lipschitz": 0.1},
        {"inverse_lipschitz": {"guess": 0.1, "certified": 2.0}},
        {"layer_norms": [0.5, 0.5]},
        {"layer_norms": [1.0]},
        {"layer_norms": None},
        {"proven": ["everything"]},
        {"weights": "0" * 64},
    ):
        with pytest.raises(CertificateError):
            made.verify(StabilityCertificate({**certificate.content, **change}))
    with torch.no_grad():
        made.denoiser.kernels[0].fill_(torch.nan)
    with pytest.raises(CertificateError):
        made.certificate()
    with pytest.raises(ConvergenceError, match="no longer finite"):
        made(images(1))


def test_what_they_are_not_for_is_refused() -> None:
    with pytest.raises(SpecError, match="not linear"):
        method("deq", "perona_malik")
    with pytest.raises(SpecError, match="anchor"):
        method("deq", anchor=0.0)
    with pytest.raises(SpecError, match="denoiser_std"):
        method("averaged_pnp", denoiser_std=0.0)
    with pytest.raises(ShapeError, match="at least 2"):
        method("deq", shape=(1, 1, 9), kernel_size=5)
    with pytest.raises(ShapeError, match="of shape"):
        method("averaged_pnp", {"name": "radon", "angles": 6}, shape=(1, 10, 10))(torch.rand(1, 1, 5, 5))
    made = method("averaged_pnp", max_iterations=1)
    assert isinstance(made, LearnsDenoiser)
    with pytest.warns(ConvergenceWarning, match="2 of 2 images did not reach"):
        made(images(1))
    assert made(torch.zeros(0, *SHAPE)).shape == (0, *SHAPE)


@pytest.mark.slow
def test_trainings_learn_to_reconstruct(tmp_path: Path) -> None:
    spec = {
        "data": {"name": "photos", "image_size": 32, "train_size": 24},
        "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
        "noise": {"name": "gaussian", "std": 0.05},
        "methods": {
            "z": "observation",
            "averaged_pnp": {
                "reconstructor": {"name": "averaged_pnp", "filters": 8, "kernel_size": 3, "tolerance": 1e-3},
                "trainer": {"name": "denoising", "steps": 40, "batch_size": 8, "validations": 1},
            },
            "deq": {
                "reconstructor": {"name": "deq", "filters": 8, "kernel_size": 3, "tolerance": 1e-3},
                "trainer": {"name": "reconstruction", "steps": 30, "batch_size": 8, "validations": 1},
            },
        },
        "analyses": ["certificate"],
    }
    result = invreg.run(spec, tmp_path, "cpu", progress=False)
    psnr = result.summary.set_index("method")["psnr"]
    assert psnr["averaged_pnp"] > psnr["z"] + 0.5
    assert psnr["deq"] > psnr["z"] + 0.5
