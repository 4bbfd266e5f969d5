"""Chains with subnetworks at several resolutions."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from iresnet_helpers import Smooth, explicit, network
from torch import Tensor

import invreg
from invreg import CertificateError, Problem, Registry, ShapeError, SpecError, StabilityCertificate
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.residuals import residual
from invreg_iresnet.network.scales import rescaled
from invreg_iresnet.norms.certified_norm import certified_norm

REGISTRY = Registry.installed()
STAGES = [
    {"scale": 1, "subnetworks": 2, "hidden": 3, "kernel_size": 5},
    {"scale": 4, "subnetworks": 1, "hidden": 4, "kernel_size": 3},
    {"scale": 2, "subnetworks": 2, "hidden": 5, "kernel_size": 3},
]
KINDS = ["multiscale_iresnet", "multiscale_explicit_iresnet"]


def made(kind: str, image_shape: tuple[int, int, int] = (1, 7, 9), **parameters: Any) -> Any:
    """A small network with strong random weights, in float64 and evaluation mode."""
    torch.manual_seed(0)
    given = {"name": kind, "stages": STAGES, "channels": 2, "padding": 2, "lipschitz": 0.9} | parameters
    net: Any = REGISTRY.build("reconstructor", given)
    net.setup(Problem(Smooth()), image_shape)
    with torch.no_grad():
        for stack in (net.residuals, *net.further_residuals):
            stack.kernels.normal_()
            stack.mixings.normal_()
            stack.hidden_biases.normal_(std=0.05)
            stack.output_biases.normal_(std=0.05)
            stack.log_thresholds.fill_(math.log(0.05) / 3)
    return net.double().eval()


@cache
def certified(kind: str) -> tuple[Any, StabilityCertificate]:
    """A final network in float32 and its certificate, made once: tests leave both as they are."""
    net = made(kind, stages=STAGES[::2], channels=1).float()
    net.finalise()
    return net, net.certificate()


def jacobian(function: Any, x: Tensor) -> Tensor:
    matrix: Tensor = torch.autograd.functional.jacobian(lambda flat: function(flat.view_as(x)).flatten(), x.flatten())
    return matrix


def test_scales_are_permutations_of_the_same_numbers() -> None:
    x = torch.arange(2 * 3 * 8 * 12, dtype=torch.float64).view(2, 3, 8, 12)
    for old, new in [(1, 2), (1, 4), (2, 4), (4, 2), (2, 1), (1, 1)]:
        there = rescaled(rescaled(x, 1, old), old, new)
        assert there.shape == (2, 3 * new**2, 8 // new, 12 // new)
        torch.testing.assert_close(there, F.pixel_unshuffle(x, new), rtol=0, atol=0)
        torch.testing.assert_close(rescaled(there, new, 1), x, rtol=0, atol=0)
        assert rescaled(rescaled(x[:0], 1, old), old, new).shape == (0, *there.shape[1:])
    # A copy of an image is a copy at each scale: what chains begin with is a stack of equal copies there, too.
    state = Lifting(1, 3, 2, 0.5, multiple=4).lift(x[:, :1])
    first, *others = rescaled(state, 1, 2).chunk(3, dim=1)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_phi_and_its_inverse_undo_each_other(kind: str) -> None:
    net, x = made(kind, tolerance=1e-12), torch.rand(2, 1, 7, 9, dtype=torch.float64)
    state = net.lift(x)
    assert state.shape == (2, 2, 12, 16)  # 7 + 4 and 9 + 4, padded to multiples of 4
    with torch.no_grad():
        there = net.phi(state)
        again = net.invert(there).x if kind == "multiscale_iresnet" else net._invert(there, net._accuracy())
        torch.testing.assert_close(again, state, rtol=0, atol=1e-9)
        torch.testing.assert_close(net.forward_map(x), net.unlift(there), rtol=0, atol=1e-12)
        assert net(x).shape == net.forward_map(x).shape == x.shape
        assert net.forward_map(x[..., :6, :8]).shape == (2, 1, 6, 8)


def test_the_explicit_inverse_is_the_chain_at_its_scales() -> None:
    net = made("multiscale_explicit_iresnet")
    x = state = net.lift(torch.rand(1, 1, 7, 9, dtype=torch.float64))
    for stage, stack in zip(net.stages, (net.residuals, *net.further_residuals), strict=True):
        here = F.pixel_unshuffle(x, stage.scale)
        for index in range(stage.subnetworks):
            here = here + residual(here, stack.weights(), index, torch.float64)
        x = F.pixel_shuffle(here, stage.scale)
    torch.testing.assert_close(net._invert(state, net._accuracy()), x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_at_full_resolution_is_the_network_with_one_scale(kind: str) -> None:
    one = [{"scale": 1, "subnetworks": 3, "hidden": 6, "kernel_size": 5}]
    sizes = {"subnetworks": 3, "lipschitz": 0.8}
    several = made(kind, (1, 10, 12), stages=one, channels=4, lipschitz=0.8, border="reflect")
    single: Any = network(**sizes) if kind == "multiscale_iresnet" else explicit(**sizes)
    assert list(several.state_dict()) == list(single.state_dict())
    several.load_state_dict(single.state_dict())
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(several(z), single(z))
        assert torch.equal(several.forward_map(z), single.forward_map(z))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_training_are_those_of_finite_differences(kind: str) -> None:
    net = made(kind, tolerance=1e-12, **({"training_tolerance": 1e-12} if kind == "multiscale_iresnet" else {}))
    z = torch.rand(1, 1, 7, 9, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(z)
    net.train()
    net(z).square().sum().backward()
    with torch.no_grad():
        net.eval()
        step = 1e-6
        ends = [net(z + sign * step * direction).square().sum() for sign in (1, -1)]
        assert z.grad is not None
        # Norms are on a coarser grid in training, by a few percent.
        assert float((z.grad * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.1)
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in net.parameters())


@pytest.mark.parametrize(("size", "padding"), [((7, 9), 2), ((8, 8), 0), ((9, 10), 0), ((5, 6), 1), ((12, 12), 2)])
def test_sizes_that_scales_do_not_divide_are_padded(size: tuple[int, int], padding: int) -> None:
    lifting = Lifting(1, 2, padding, 0.3, multiple=4)
    x = torch.rand(3, 1, *size, dtype=torch.float64)
    state = lifting.lift(x)
    assert state.shape == (3, 2, *lifting.state_size(*size))
    assert all(
        side % 4 == 0 and 0 <= side - 2 * padding - own < 4 for side, own in zip(state.shape[2:], size, strict=True)
    )
    torch.testing.assert_close(lifting.unlift(state, size), x, rtol=0, atol=1e-15)
    basis = torch.eye(size[0] * size[1], dtype=torch.float64).view(-1, 1, *size)
    matrix = replace(lifting, copies=1, center=0.0).lift(basis).flatten(1)
    assert lifting.padding_norm(*size) == pytest.approx(float(torch.linalg.matrix_norm(matrix, ord=2)), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ({"scale": 3}, "stages.1.scale", ["1, 2, 4 or 8", "expected: s: states are looked at"]),
        ({"hidden": 0}, "stages.1.hidden", ["greater than or equal to 1", "expected: channels within each"]),
        ({"hiden": 3}, "stages.1.hiden", ["unknown parameter", "did you mean 'hidden'?"]),
    ],
)
def test_what_is_wrong_with_a_stage_is_said_of_its_own_parameter(
    change: dict[str, Any], where: str, words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        REGISTRY.build("reconstructor", {"name": KINDS[0], "stages": [STAGES[0], STAGES[1] | change]})
    assert str(caught.value).split(": ")[0].endswith(where)
    assert all(word in str(caught.value) for word in words)


def test_what_is_too_small_or_is_not_a_state_is_refused() -> None:
    lifting = Lifting(1, 2, 2, 0.3, multiple=8)
    with pytest.raises(ShapeError, match=r"more than 7 pixels on each side, .*multiples of 8"):
        lifting.lift(torch.rand(1, 1, 7, 20))
    with pytest.raises(ShapeError, match="multiples of 8"):
        lifting.check_state(torch.rand(1, 2, 16, 20))
    with pytest.raises(SpecError, match=r"stages\.0\.scale"):
        made(KINDS[0], stages=[STAGES[0] | {"scale": 3}])
    with pytest.raises(SpecError, match=r"stages\.1\.kernel_size"):
        made(KINDS[0], stages=[STAGES[0], STAGES[0] | {"kernel_size": 4}])
    with pytest.raises(SpecError, match="stages"):
        made(KINDS[0], stages=[])
    with pytest.raises(SpecError, match=r"2\^subnetworks"):
        made("multiscale_explicit_iresnet", lipschitz=0.99)


@pytest.mark.parametrize("kind", KINDS)
def test_specs_and_weights_go_there_and_back(kind: str) -> None:
    net, z = made(kind), torch.rand(1, 1, 7, 9, dtype=torch.float64)
    torch.manual_seed(1)
    again = made(kind)
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
        again.load_state_dict(copy.deepcopy(net.state_dict()))
        assert torch.equal(net(z), again(z))


@pytest.mark.parametrize("kind", KINDS)
def test_the_architecture_is_that_of_the_chain(kind: str) -> None:
    net = made(kind)
    described = net.architecture()
    assert [stage.name for stage in described.stages] == [
        "stack",
        "to 1/2, for φ₅",
        "φ₅, φ₄",
        "to 1/4, for φ₃",
        "φ₃",
        "to 1/1, for φ₂",
        "φ₂, φ₁",
        "mean",
    ]
    assert described.stages[0].shape_out == tuple(net.lift(torch.rand(1, 1, 7, 9)).shape[1:]) == (2, 12, 16)
    assert described.stages[4].shape_in == (32, 3, 4)
    assert sum(stage.total for stage in described.stages) == sum(weight.numel() for weight in net.parameters())
    assert "Lip(φ⁻¹) ≲ 10" in described.constraint


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_jacobian_exceeds_the_certified_bounds(kind: str) -> None:
    """By dense matrices: of phi^-1 on states, of Pi' (Id + g) Pi = Id + Pi' g Pi, and of R on images."""
    net, certificate = certified(kind)
    net.verify(certificate)
    net = copy.deepcopy(net).double()
    bounds = certificate.inverse_lipschitz
    assert bounds["certified"] <= bounds["product"] <= 10 * (1 + 1e-12)
    x = torch.rand(1, 1, 7, 9, dtype=torch.float64)

    def inverse(y: Tensor) -> Tensor:
        found: Tensor = net.invert(y, 1e-12).x if kind == "multiscale_iresnet" else net._invert(y, net._accuracy())
        return found

    for _ in range(3):
        x = torch.randn_like(x)
        matrix = jacobian(inverse, net.lift(x))
        assert float(torch.linalg.matrix_norm(matrix, ord=2)) <= bounds["certified"] * (1 + 1e-6)
        assert 1 / float(torch.linalg.svdvals(matrix).min()) <= certificate.forward_lipschitz["certified"] * (1 + 1e-6)
        image = jacobian(net, x)
        assert float(torch.linalg.matrix_norm(image, ord=2)) <= certificate.reconstruction_lipschitz * (1 + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_belong_to_their_scales_and_weights(kind: str) -> None:
    net, certificate = certified(kind)
    content = copy.deepcopy(dict(certificate.content))
    assert [len(group["scalings"][0]) for group in content["chain"]["states"]] == [3, 5]
    content["chain"]["states"][1]["squared_gain"] *= 0.5
    with pytest.raises(CertificateError, match=r"chain\.states\.2"):
        net.verify(StabilityCertificate(content))
    content = copy.deepcopy(dict(certificate.content))
    first, second = content["chain"]["states"]
    first |= {"length": 4, "scalings": first["scalings"] + second["scalings"]}
    content["chain"]["states"] = [first]
    with pytest.raises(CertificateError, match="of several stages"):
        net.verify(StabilityCertificate(content))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.further_residuals[0].mixings[0, 0, 0] *= 0.5
    with pytest.raises(CertificateError, match="the weights that it was made for"):
        other.verify(certificate)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_are_as_near_as_is_proven(kind: str) -> None:
    net, _ = certified(kind)
    z = torch.rand(2, 1, 7, 9, dtype=torch.float64)
    with torch.no_grad():
        found = net.reconstruct(z, tolerance=1e-2)
        net = copy.deepcopy(net).double()
        lifted = net.lift(z)
        exact = net.invert(lifted, 1e-13).x if kind == "multiscale_iresnet" else net._invert(lifted, net._accuracy())
    distance = (found.image.double() - net.lifting.unlift(exact, (7, 9))).flatten(1).norm(dim=1)
    assert found.met
    # The thresholds are exponentials, in float32 and in float64.
    assert (distance <= found.error_bound + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_back_stands_before_the_chain(kind: str) -> None:
    tikhonov = {"name": "tikhonov", "alpha": 0.05}
    given = {"stages": STAGES, "channels": 1, "padding": 1, "lipschitz": 0.7, "pull_back": tikhonov}
    net: Any = REGISTRY.build("reconstructor", {"name": kind, **given})
    problem = Problem(REGISTRY.build("operator", {"name": "radon", "angles": 6}))
    net.setup(problem, (1, 10, 10))
    p = REGISTRY.build("reconstructor", tikhonov)
    p.setup(problem, (1, 10, 10))
    x = torch.rand(2, 1, 10, 10)
    z = problem.operator(x)
    with torch.no_grad():
        assert net.eval()(z).shape == x.shape
        torch.testing.assert_close(net.target_operator(x), p(z))
        torch.testing.assert_close(net(z), net.unlift(net._invert(net.lift(p(z)), net._accuracy())))
    assert net.architecture().right == p.formula
    assert getattr(net, "reconstruction_radius", None) is None


@pytest.mark.slow
def test_a_run_is_trained_certified_and_exported_as_a_program(tmp_path: Path) -> None:
    stages = [{"scale": 2, "subnetworks": 2, "hidden": 4, "kernel_size": 3}]
    net = {"name": "multiscale_explicit_iresnet", "stages": stages, "channels": 1, "lipschitz": 0.7, "padding": 2}
    spec = {
        "title": "Scales",
        "data": {"name": "photos", "image_size": 32, "train_size": 24},
        "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
        "noise": {"name": "gaussian", "std": 0.02},
        "methods": {"net": {"reconstructor": net, "trainer": {"name": "reconstruction", "steps": 4, "batch_size": 2}}},
        "metrics": ["psnr"],
        "analyses": ["certificate"],
    }
    folder = invreg.run(spec, output=tmp_path, device="cpu", progress=False).folder
    exported = invreg.export_model(folder, "net", to=tmp_path / "model", torch_export=True)
    z = torch.rand(3, 1, 21, 27)
    model = invreg.load_model(exported, device="cpu")
    assert model.certificate is not None
    found = model.reconstruct(z)
    program = torch.export.load(exported / "program.pt2").module()
    torch.testing.assert_close(program(z), torch.as_tensor(found.image), rtol=0, atol=1e-5)


def test_a_mixing_of_channels_is_part_of_the_weights() -> None:
    weights = made("multiscale_iresnet", channels=3).residuals.evaluation_weights()
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    mixed = weights._replace(
        kernels=torch.einsum("nhmab,mp->nhpab", weights.kernels, q),
        mixings=torch.einsum("mp,nmhab->nphab", q, weights.mixings),
        output_biases=weights.output_biases @ q,
    )
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def turned(matrix: Tensor, state: Tensor) -> Tensor:
        return torch.einsum("mp,bphw->bmhw", matrix, state)

    for index, (kernel, own) in enumerate(zip(weights.kernels, mixed.kernels, strict=True)):
        expected = turned(q.T, residual(turned(q, x), weights, index, torch.float64))
        torch.testing.assert_close(residual(x, mixed, index, torch.float64), expected, rtol=1e-12, atol=1e-12)
        assert certified_norm(own) == pytest.approx(certified_norm(kernel), rel=3e-4)
