"""Invertible networks behind a pull-back: what they read, learn and prove."""

from __future__ import annotations

import copy
import functools
from fractions import Fraction
from typing import Any

import pytest
import torch

from invreg import CertificateError, Registry, SpecError, StabilityCertificate, spec_of
from invreg.components.operator import PulledBackOperator
from invreg.components.problem import Problem
from invreg_iresnet.norms.rounding import up
from invreg_training.gradient.objectives import ApproximationLoss

REGISTRY = Registry.installed()
SMALL = {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 1, "lipschitz": 0.7}
SHAPE = (1, 10, 10)
TIKHONOV = {"name": "tikhonov", "alpha": 0.05}
KINDS = ["iresnet", "explicit_iresnet"]


def problem_of(operator: Any = None) -> Problem:
    return Problem(REGISTRY.build("operator", operator or {"name": "radon", "angles": 6}))


def network(kind: str, pull_back: Any = TIKHONOV, operator: Any = None, **changes: Any) -> Any:
    torch.manual_seed(0)
    net = REGISTRY.build("reconstructor", {"name": kind, **SMALL, "pull_back": pull_back, **changes})
    net.setup(problem_of(operator), SHAPE)
    with torch.no_grad():
        net.residuals.mixings.mul_(3)  # so that something happens
    net.finalise()
    return net.eval()


@functools.cache
def _certified(kind: str) -> Any:
    net = network(kind)
    net.certificate()
    return net


def certified(kind: str) -> Any:
    """A copy of a network that knows its certificate."""
    return copy.deepcopy(_certified(kind))


@pytest.mark.parametrize("pull_back", [TIKHONOV, "adjoint", {"name": "fbp", "window": "hann"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_networks_read_and_learn_what_is_pulled_back(kind: str, pull_back: Any) -> None:
    net = network(kind, pull_back)
    x = torch.rand(2, *SHAPE)
    z = net.problem.operator(x)
    p = REGISTRY.build("reconstructor", pull_back)
    p.setup(net.problem, SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(net(z), net.unlift(net.invert(net.lift(p(z))).x) if kind == "iresnet" else net(z))
    assert isinstance(net.target_operator, PulledBackOperator)
    torch.testing.assert_close(net.target_operator(x), p(z))
    torch.testing.assert_close(net.target_operator.pull_back(z), p(z))
    torch.testing.assert_close(ApproximationLoss(net)(z, x), (net.forward_map(x) - p(z)).square().mean())
    assert net.architecture().right == p.formula
    assert getattr(net, "reconstruction_radius", None) is None
    assert not any("pull_back" in key for key in net.state_dict())


@pytest.mark.slow
def test_it_is_the_adjoint_that_is_read_by_default() -> None:
    net, default = network("explicit_iresnet", "adjoint"), network("explicit_iresnet", None)
    z = torch.rand(2, *net.problem.operator.range_shape(SHAPE))
    with torch.no_grad():
        assert torch.equal(net(z), default(z))
    bound, of_adjoint = net.certificate(), default.certificate()
    assert (bound.content["reads"], of_adjoint.content["reads"]) == ("z", "A*z / ||A||^2")
    assert "pull_back" not in of_adjoint.content
    norm = float(net.problem.norm(SHAPE))
    ratio = bound.reconstruction_lipschitz / of_adjoint.reconstruction_lipschitz
    assert 1 / norm <= ratio <= 1.05 / norm


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_hold_for_the_measurement(kind: str) -> None:
    net = certified(kind).double().requires_grad_(False)
    certificate = net._proven[1]
    pull_back = certificate.content["pull_back"]
    assert pull_back["formula"] == "(A*A + 0.05 ‖A‖² I)⁻¹ A*z"
    expected = 0.5 / 0.05**0.5 / float(net.problem.norm(SHAPE))
    assert expected <= pull_back["norm"] <= expected * 1.0001
    image, padding = certificate.content["image_lipschitz"], certificate.content["padding_norm"]
    assert certificate.reconstruction_lipschitz == pytest.approx(image * padding * pull_back["norm"], rel=1e-12)
    assert "two measurements that differ by d" in certificate.statement
    z = torch.rand(1, *net.problem.operator.range_shape(SHAPE), dtype=torch.float64, requires_grad=True)
    # The largest singular value of the derivative, by the power method: it stays below the bound.
    v, found = torch.randn_like(z), 0.0
    for _ in range(15):
        up = torch.autograd.functional.jvp(net, z, v)[1]
        found = float(up.norm() / v.norm())
        v = torch.autograd.grad(net(z), z, up)[0]
    assert 0.1 * certificate.reconstruction_lipschitz < found <= certificate.reconstruction_lipschitz
    network(kind).verify(StabilityCertificate(certificate.content))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"pull_back": {"formula": "(A*A + 0.05 ‖A‖² I)⁻¹ A*z", "norm": 1.0}}, "certificate.reconstruction_lipschitz"),
        ({"pull_back": None}, "certificate.pull_back"),
        ({"reads": "A*z / ||A||^2"}, "certificate.reads"),
    ],
)
def test_other_claims_are_refused(change: dict[str, Any], where: str) -> None:
    net = certified("explicit_iresnet")
    content = {**net._proven[1].content, **change}
    if change.get("pull_back"):
        content["reconstruction_lipschitz"] = 1.0
    with pytest.raises(CertificateError) as caught:
        net.verify(StabilityCertificate(content))
    assert caught.value.where == where


def test_the_last_digits_of_the_norm_may_differ() -> None:
    net = certified("explicit_iresnet")
    content = dict(net._proven[1].content)
    norm = content["pull_back"]["norm"] * (1 - 1e-9)
    content["pull_back"] = {**content["pull_back"], "norm": norm}
    product = Fraction(content["image_lipschitz"]) * Fraction(content["padding_norm"]) * Fraction(norm)
    bound, content["reconstruction_lipschitz"] = content["reconstruction_lipschitz"], up(product)
    assert content["reconstruction_lipschitz"] < bound
    net.verify(StabilityCertificate(content))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_are_proven_for_the_measurement(kind: str) -> None:
    net = certified(kind)
    x = torch.rand(2, *SHAPE)
    z = net.problem.operator(x)
    found = net.reconstruct(z, tolerance=1e-3, data_error=0.1)
    assert found.met
    added = found.data_error_bound - found.error_bound
    bound = net._proven[1].reconstruction_lipschitz
    torch.testing.assert_close(added, torch.full_like(added, 0.1 * bound), rtol=1e-5, atol=0)
    net.tolerance = 1e-12
    exact = net.double()(z.double())
    assert ((found.image.double() - exact).flatten(1).norm(dim=1) <= found.error_bound + 1e-5).all()


def test_operators_in_x_may_be_pulled_back_too() -> None:
    net = network("explicit_iresnet", TIKHONOV, {"name": "gaussian_blur", "kernel_size": 5})
    x = torch.rand(1, *SHAPE)
    assert not torch.allclose(net.target_operator(x), net.problem.operator(x), atol=1e-3)
    assert net.pull_back.norm_bound(SHAPE) == pytest.approx(0.5 / 0.05**0.5, rel=0.05)


@pytest.mark.parametrize("name", ["iresnet", "unet", "conv_resnet", "diffnet"])
def test_what_does_not_fit_is_refused_by_its_place(name: str) -> None:
    small = {"unet": {"channels": [3]}, "conv_resnet": {"channels": 2, "hidden": 2}}.get(name, {"hidden": 2})
    for pull_back, operator, said in (
        ("adjoint", "perona_malik", "is not linear"),
        ({"name": "tikhonov", "alpha": 0.0}, {"name": "radon", "angles": 6}, "a kernel"),
        ("fbp", "identity", "no filtered back-projection"),
    ):
        net = REGISTRY.build("reconstructor", {"name": name, **small, "pull_back": pull_back})
        with pytest.raises(SpecError, match=said) as caught:
            net.setup(problem_of(operator), SHAPE)
        assert str(caught.value.where).startswith("pull_back")
    with pytest.raises(SpecError, match="'tv' is not a PullBack"):
        REGISTRY.build("reconstructor", {"name": name, "pull_back": "tv"})


def test_specs_without_it_stay_what_they_are() -> None:
    for name in (*KINDS, "unet", "conv_resnet", "diffnet"):
        assert "pull_back" not in spec_of(REGISTRY.build("reconstructor", name))
        spec = spec_of(REGISTRY.build("reconstructor", {"name": name, "pull_back": "tikhonov"}))
        assert spec["pull_back"] == {"name": "tikhonov", "alpha": 0.01}
        assert spec_of(REGISTRY.build("reconstructor", spec)) == spec


@pytest.mark.parametrize("name", ["unet", "conv_resnet", "diffnet"])
def test_other_networks_take_the_same(name: str) -> None:
    small = {"unet": {"channels": [3, 4]}, "conv_resnet": {"subnetworks": 1, "channels": 2, "hidden": 2}}
    given = {"name": name, **small.get(name, {"subnetworks": 1, "hidden": 2})}
    nets = []
    for parameter in ("start", "pull_back"):
        torch.manual_seed(0)
        nets.append(REGISTRY.build("reconstructor", {**given, parameter: TIKHONOV}))
        nets[-1].setup(problem_of(), SHAPE)
    z = torch.rand(1, *problem_of().operator.range_shape(SHAPE))
    with torch.no_grad():
        assert torch.equal(nets[0].eval()(z), nets[1].eval()(z))
    assert [net.reconstruction_radius for net in nets] == [None, None]
    assert REGISTRY.build("reconstructor", given).reconstruction_radius > 0
    assert "(A*A + 0.05 ‖A‖² I)⁻¹ A*z" in nets[1].architecture().formula
    with pytest.raises(SpecError, match="beside the start Adjoint") as caught:
        REGISTRY.build("reconstructor", {**given, "start": "adjoint", "pull_back": TIKHONOV})
    assert caught.value.where == "pull_back"
