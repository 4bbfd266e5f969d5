"""The convex ridge regularizer as a method: minimisers, their derivatives, and what is proven of them."""

from __future__ import annotations

import copy
import warnings
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
    Problem,
    Registry,
    ShapeError,
    SpecError,
    StabilityCertificate,
)
from invreg.testing import check_reconstructor
from invreg_stable.minimisation import minimise

REGISTRY = Registry.installed()
SMALL = {"filters": 3, "kernel_size": 3, "knots": 4, "weight": 0.05}
SHAPE = (1, 10, 9)
BLUR = {"name": "gaussian_blur", "kernel_size": 3, "std": 0.8}
DOWN = {"name": "downsampling", "factor": 2}


def method(operator: Any = "identity", shape: tuple[int, ...] = SHAPE, **changes: Any) -> Any:
    torch.manual_seed(0)
    made = REGISTRY.build("reconstructor", {"name": "crr", **SMALL, **changes})
    made.setup(Problem(REGISTRY.build("operator", operator)), shape)
    return made.eval()


def precise(operator: Any = "identity", **changes: Any) -> Any:
    return method(operator, **{"tolerance": 1e-10, "max_iterations": 5000, **changes}).double()


def images(seed: int, count: int = 2, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        ("identity", (2, 7, 6)),
        pytest.param(BLUR, (1, 12, 10), marks=pytest.mark.slow),
        pytest.param({"name": "radon", "angles": 6}, (1, 10, 10), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_conformance(operator: Any, shape: tuple[int, ...]) -> None:
    made = REGISTRY.build("reconstructor", {"name": "crr", **SMALL, "tolerance": 1e-5})
    check_reconstructor(made, REGISTRY.build("operator", operator), shape, tolerance=1e-3)


@pytest.mark.parametrize("operator", ["identity", BLUR, DOWN], ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_no_image_in_the_box_has_a_smaller_objective(operator: Any, rho: float) -> None:
    made = precise(operator, strong_convexity=rho, shape=(1, 10, 8), tolerance=1e-7)
    z = made.problem.operator(images(1, shape=(1, 10, 8)))
    found = made.solve(z)
    assert found.converged.all()
    assert (found.residual <= 1e-7).all()
    with torch.no_grad():
        least = made.objective(found.x, z)
        for seed in range(10):
            other = (found.x + (images(seed, shape=(1, 10, 8)) - 0.5) * 10.0 ** -(seed % 5)).clamp(0, 1)
            assert (made.objective(other, z) >= least * (1 - 1e-9)).all()


@pytest.mark.parametrize("operator", ["identity", pytest.param(BLUR, marks=pytest.mark.slow)], ids=str)
def test_the_implicit_gradient_is_that_of_the_minimiser(operator: Any) -> None:
    """Against central differences in float64, for all weights and for the measurement."""
    made = precise(operator, strong_convexity=0.2, tolerance=1e-9)
    z, target = made.problem.operator(images(3, 1)), images(4, 1)

    def loss(measurement: Tensor) -> Tensor:
        value: Tensor = ((made(measurement) - target) ** 2).sum()
        return value

    point = z.clone().requires_grad_()
    with torch.enable_grad():
        loss(point).backward()
    numbers = torch.Generator().manual_seed(1)
    for tensor in (*made.weights.parameters(), point):
        direction = torch.randn(tensor.shape, generator=numbers, dtype=torch.float64)
        expected, step = (tensor.grad * direction).sum().item(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                moved = tensor + sign * step * direction
                if tensor is point:
                    values.append(loss(moved).item())
                    continue
                kept = tensor.clone()
                tensor.copy_(moved)
                values.append(loss(z).item())
                tensor.copy_(kept)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=2e-3, abs=1e-5)


def test_where_the_box_is_active_nothing_is_differentiated() -> None:
    made = precise()
    z = torch.full((1, *SHAPE), -2.0, dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", invreg.InvregWarning)
        x = made(z)
    x.sum().backward()
    assert (x == 0).all()
    assert (z.grad == 0).all()


@pytest.mark.parametrize(
    ("operator", "rho", "bound"), [("identity", 0.0, 1.0), ("identity", 0.5, 1 / 1.5), ("identity", 4.0, 0.25)]
)
def test_the_bound_of_denoising(operator: str, rho: float, bound: float) -> None:
    made = precise(operator, strong_convexity=rho)
    certificate = made.certificate()
    assert certificate.reconstruction_lipschitz == pytest.approx(bound, rel=1e-9)
    a, b = images(1), images(2)
    with torch.no_grad():
        assert ((made(a) - made(b)).norm() <= bound * (a - b).norm() * (1 + 1e-6)).all()


@pytest.mark.parametrize("operator", [BLUR, DOWN], ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.02])
def test_what_the_certificate_says_holds(operator: Any, rho: float) -> None:
    shape = (1, 10, 8)
    made = precise(operator, shape=shape, strong_convexity=rho, tolerance=1e-6)
    certificate, forward = made.certificate(), made.problem.operator
    assert certificate.content["data_lipschitz"] == 1
    z, w = forward(images(1, shape=shape)), forward(images(2, shape=shape))
    with torch.no_grad():
        x, y = made.solve(z).x, made.solve(w).x
    assert (forward(x) - forward(y)).norm() <= (z - w).norm() * (1 + 1e-4)
    bound = certificate.reconstruction_lipschitz
    if operator is DOWN and not rho:
        assert bound is None
        assert certificate.content["proven"] == [
            "the iteration converges to a minimiser",
            "A times the minimiser is nonexpansive in z",
        ]
    else:
        assert bound is not None
        assert len(certificate.content["proven"]) == 3
        assert (x - y).norm() <= bound * (z - w).norm() * (1 + 1e-4)
    if rho:
        assert bound <= 1 / (2 * rho**0.5) * (1 + 1e-9)


def test_the_bound_of_a_blur_is_its_smallest_singular_value() -> None:
    made = method(BLUR)
    operator = copy.deepcopy(made.problem.operator).double()
    unit = torch.eye(90, dtype=torch.float64).reshape(90, *SHAPE)
    least = torch.linalg.svdvals(operator(unit).flatten(1)).min().item()
    assert made.certificate().reconstruction_lipschitz == pytest.approx(1 / least, rel=1e-6)


def test_certificates_are_verified() -> None:
    made = method(strong_convexity=0.5)
    certificate = made.certificate()
    made.verify(certificate)
    content = certificate.content
    for change in (
        {"reconstruction_lipschitz": 0.1},
        {"inverse_lipschitz": {"strong_convexity": 0.1, "certified": 0.1}},
        {"inverse_lipschitz": {"guess": 0.1, "certified": 1.0}},
        {"forward_lipschitz": {"certified": 2.0}},
        {"data_lipschitz": 0.5},
        {"proven": ["everything"]},
        {"weights": "0" * 64},
        {"reads": "A*z"},
    ):
        with pytest.raises(CertificateError):
            made.verify(StabilityCertificate({**content, **change}))
    with pytest.raises(CertificateError, match="other weights"):
        method(knots=3, strong_convexity=0.5).verify(certificate)
    with torch.no_grad():
        made.weights.kernels.fill_(torch.nan)
    with pytest.raises(CertificateError, match="not finite"):
        made.certificate()


def test_a_regularizer_goes_to_another_operator() -> None:
    trained, other = method("identity"), method(BLUR)
    with torch.no_grad():
        trained.weights.log_slopes.fill_(-0.05)
    other.load_state_dict(trained.state_dict())
    x = images(1).float()
    torch.testing.assert_close(other.regularizer(x), trained.regularizer(x))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"weight": 0.0}, "weight"),
        ({"scale": -1.0}, "scale"),
        ({"strong_convexity": -0.1}, "strong_convexity"),
        ({"kernel_size": 4}, "kernel_size"),
        ({"filters": 0}, "filters"),
        ({"knots": 0}, "knots"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
    ids=str,
)
def test_nonsense_is_refused(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(SpecError, match=place):
        method(**changes)


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(SpecError, match="not linear"):
        method("perona_malik")
    with pytest.raises(ShapeError, match="at least 2"):
        method(shape=(1, 1, 9), kernel_size=5)
    with pytest.raises(ShapeError, match="of shape"):
        method({"name": "radon", "angles": 6}, shape=(1, 10, 10))(torch.rand(1, 1, 5, 5))
    with pytest.raises(ShapeError):
        method(kernel_size=5)(torch.rand(1, 1, 1, 1))
    with pytest.raises(invreg.DataError):
        method()(torch.full((1, *SHAPE), torch.nan))


def test_a_missed_tolerance_is_told_in_evaluation_alone() -> None:
    made = method(max_iterations=1, tolerance=1e-6)
    z = images(1).float()
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 images did not reach the tolerance 1e-06"):
        made(z)
    made.train()
    made(z)  # a warning would be an error


def test_weights_that_are_not_finite_are_an_error() -> None:
    made = method()
    with torch.no_grad():
        made.weights.kernels.fill_(torch.inf)
    with pytest.raises(ConvergenceError, match="no longer finite"):
        made(images(1).float())


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 3, 7), (4, 9, 2)])
def test_small_odd_and_coloured_images(shape: tuple[int, ...]) -> None:
    made = method(shape=shape)
    assert made(torch.rand(1, *shape)).shape == (1, *shape)
    assert made(torch.zeros(1, *shape)).abs().max() == 0
    assert made(torch.zeros(0, *shape)).shape == (0, *shape)


def test_accelerated_gradients_reach_the_minimiser_of_a_quadratic() -> None:
    """Against the solution of the linear system, for a condition number of 10⁴."""
    values = torch.logspace(-4, 0, 20, dtype=torch.float64).view(1, 1, 4, 5)
    data = values * torch.linspace(0.1, 0.9, 20, dtype=torch.float64).view(1, 1, 4, 5)
    found = minimise(
        lambda x, b: values * x - b, data, torch.zeros_like(data), 1.0, data.flatten(1).norm(dim=1), 1e-9, 20000
    )
    assert found.converged.all()
    torch.testing.assert_close(found.x, data / values, rtol=0, atol=1e-4)
    assert found.iterations.item() < 2000


@pytest.mark.slow
def test_a_training_learns_to_denoise(tmp_path: Path) -> None:
    spec = {
        "data": {"name": "photos", "image_size": 32, "train_size": 24},
        "operator": "identity",
        "noise": {"name": "gaussian", "std": 0.1},
        "methods": {
            "z": "observation",
            "start": {
                "reconstructor": {"name": "crr", **SMALL, "tolerance": 1e-3},
                "trainer": {"name": "reconstruction", "steps": 1, "batch_size": 8, "validations": 1},
            },
            "crr": {
                "reconstructor": {"name": "crr", **SMALL, "tolerance": 1e-3},
                "trainer": {"name": "reconstruction", "steps": 60, "batch_size": 8, "validations": 1},
            },
            "searched": {
                "reconstructor": {"name": "crr", **SMALL, "tolerance": 1e-3},
                "trainer": {
                    "name": "parameter_search",
                    "trials": 2,
                    "trainer": {"name": "reconstruction", "steps": 2, "batch_size": 8, "validations": 1},
                },
            },
        },
        "analyses": ["certificate"],
    }
    result = invreg.run(spec, tmp_path, "cpu", progress=False)
    psnr = result.summary.set_index("method")["psnr"]
    assert psnr["crr"] > psnr["start"] + 1
    assert psnr["start"] > psnr["z"]
    assert result.methods["crr"].reconstructor.certificate().reconstruction_lipschitz == pytest.approx(1)
