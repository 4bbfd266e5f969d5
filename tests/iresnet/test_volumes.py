"""Volumes [C, D, H, W]: bounds against exact singular values of dense matrices, networks, inversion and proofs."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from iresnet_helpers import Smooth, stack_of
from torch import Tensor

from invreg.components.problem import Problem
from invreg.errors import CertificateError, ShapeError
from invreg_iresnet.axes import convolved, is_slow
from invreg_iresnet.certificate.chain_condition import Ends, Steps
from invreg_iresnet.certificate.composition import certify_subnetwork, check_subnetwork
from invreg_iresnet.certificate.curvature import curvature
from invreg_iresnet.certificate.gain_search import Gains
from invreg_iresnet.certificate.residual_defect import Defects
from invreg_iresnet.certificate.symbol_grid import grid_phases
from invreg_iresnet.explicit_iresnet import ExplicitIResNet, MultiscaleExplicitIResNet
from invreg_iresnet.inversion.starts import sample
from invreg_iresnet.iresnet import IResNet
from invreg_iresnet.network.adjoint import convolution_adjoint
from invreg_iresnet.network.compiled import compiled
from invreg_iresnet.network.initialisation import high_pass_start
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.scales import rescaled
from invreg_iresnet.network.subnetwork import Subnetwork
from invreg_iresnet.norms.certified_norm import certified_norm, norm_is_at_most, rough_norm
from invreg_iresnet.norms.grid_norms import amplification, most_amplified_waves
from invreg_iresnet.norms.power_iteration import power_iteration
from invreg_iresnet.norms.symbol_bounds import SymbolBounds
from invreg_iresnet.parameters import ChainStage

KINDS = {"iresnet": IResNet, "explicit_iresnet": ExplicitIResNet}
SHAPE = (1, 4, 5, 4)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@cache
def network(kind: str, *, final: bool = True, **parameters: Any) -> Any:
    """A small network with strong random weights, in float64 and evaluation mode; tests leave it as it is."""
    torch.manual_seed(0)
    given: dict[str, Any] = {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 1}
    net = KINDS[kind](**given | {"lipschitz": 0.7} | parameters)
    net.setup(Problem(Smooth()), SHAPE)
    with torch.no_grad():
        for name, values in stack_of(net).named_parameters():
            values.copy_(math.log(0.05) / 3 if name == "log_thresholds" else 0.05 * torch.randn(values.shape))
        stack_of(net).kernels.normal_()
        stack_of(net).mixings.normal_()
    net.double().eval()
    if final:
        net.finalise()
    return net


def symbol_norm(kernel: Tensor, points: int) -> float:
    """The largest singular value on a grid of n^3 frequencies."""
    symbols = torch.fft.fftn(kernel.double(), s=3 * (points,), dim=(2, 3, 4)).movedim((0, 1), (-2, -1))
    return float(torch.linalg.matrix_norm(symbols, ord=2).max())


def dense(function: Any, *shape: int) -> Tensor:
    """The matrix of a linear map of volumes of this shape."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    return function(basis).flatten(1).mT  # type: ignore[no-any-return]


def largest(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))


# -- norms


@pytest.mark.parametrize(("out", "channels"), [(2, 2), (3, 2), (1, 2)])
def test_certified_norms_bound_dense_matrices_of_volumes_and_are_near_the_supremum(out: int, channels: int) -> None:
    kernel = random(out, out, channels, 3, 3, 3)
    bound, near = certified_norm(kernel), symbol_norm(kernel, 16)
    assert near <= bound <= 1.03 * near  # the grid misses something
    zero_padded = dense(lambda x: F.conv3d(x, kernel, padding=1), channels, 4, 4, 4)
    periodic = dense(lambda x: F.conv3d(F.pad(x, 6 * (1,), mode="circular"), kernel), channels, 4, 4, 4)
    assert 0.7 * bound < largest(zero_padded) <= bound
    assert 0.8 * bound < largest(periodic) <= bound
    assert largest(periodic) == pytest.approx(symbol_norm(kernel, 4), rel=1e-12)


def test_norms_of_volumes_are_proven_again_and_smaller_ones_are_not() -> None:
    kernel = random(0, 2, 2, 3, 3, 3)
    bound = certified_norm(kernel)
    assert norm_is_at_most(kernel, bound)
    assert not norm_is_at_most(kernel, 0.999 * symbol_norm(kernel, 16))
    assert bound / 1.0001 <= rough_norm(kernel) <= 1.3 * bound


@pytest.mark.parametrize("sides", [(3, 1, 1), (1, 3, 1), (1, 1, 3), (1, 1, 1), (2, 3, 1), (3, 5, 3)])
def test_kernels_of_volumes_may_have_any_sides(sides: tuple[int, int, int]) -> None:
    kernel = random(1, 2, 1, *sides)
    near = symbol_norm(kernel, 24)
    assert near * (1 - 1e-12) <= certified_norm(kernel) <= 1.02 * near


def test_a_flat_kernel_in_a_volume_has_the_norm_of_the_kernel_of_images() -> None:
    kernel = random(2, 2, 2, 3, 3)
    of_images = certified_norm(kernel)
    for axis in (2, 3, 4):
        assert certified_norm(kernel.unsqueeze(axis)) == pytest.approx(of_images, rel=1e-3)


def test_second_derivatives_of_symbols_of_volumes_are_bounded() -> None:
    symbol = SymbolBounds(random(3, 2, 2, 3, 3, 3), 24)
    gram = symbol._polynomial
    turn, step = 1 << 16, 64
    at = torch.randint(turn, (40, 3), generator=torch.Generator().manual_seed(0))
    h = step * 2 * math.pi / turn
    for (i, j), bound in zip(symbol._pairs, symbol._second_derivatives(), strict=True):
        a, b = (step * torch.eye(3, dtype=torch.int64)[axis] for axis in (i, j))
        parts = [sign_a * sign_b * gram(at + sign_a * a + sign_b * b, turn) for sign_a in (1, -1) for sign_b in (1, -1)]
        found = float(torch.linalg.matrix_norm(sum(parts) / (4 * h * h), ord=2).max())  # type: ignore[arg-type]
        assert found <= bound * (1 + 1e-3)


def test_norms_in_training_are_those_of_a_grid() -> None:
    kernels = random(4, 3, 4, 2, 3, 3, 3)
    found = amplification(kernels, most_amplified_waves(kernels, 8))
    torch.testing.assert_close(found.tolist(), [symbol_norm(kernel, 8) for kernel in kernels], rtol=1e-6, atol=0)


def test_power_iterations_of_volumes_stay_below_and_come_near() -> None:
    kernels = random(5, 2, 3, 2, 3, 3, 3)
    norms, _ = power_iteration(kernels, random(6, 2, 2, 8, 8, 8), 30)
    for norm, kernel in zip(norms.tolist(), kernels, strict=True):
        assert 0.85 * certified_norm(kernel) < norm <= certified_norm(kernel)
    with pytest.raises(ShapeError, match="D, H, W"):
        power_iteration(kernels, random(6, 2, 2, 8, 8))


def test_kernels_with_four_sides_are_refused() -> None:
    with pytest.raises(ShapeError, match="for volumes"):
        certified_norm(torch.ones(1, 1, 3, 3, 3, 3))


def test_curvatures_bound_second_derivatives_in_every_direction() -> None:
    kernel = random(7, 3, 2, 3, 3, 3)
    bound, generator = curvature(kernel), torch.Generator().manual_seed(1)
    taps = torch.cartesian_prod(*3 * (torch.arange(-1.0, 2.0).double(),))
    phases = grid_phases(3, 8, 3)
    greatest = 0.0
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=3)), dtype=torch.float64)
    for direction in torch.cat([2 * torch.rand(40, 3, generator=generator).double() - 1, signs]):
        weighted = (taps @ direction) ** 2 * kernel.flatten(2)
        symbols = torch.einsum("wt,hmt->whm", phases, weighted.to(phases))
        greatest = max(greatest, float(torch.linalg.matrix_norm(symbols, ord=2).max()))
    assert greatest <= bound <= 2 * greatest


# -- borders and states


@pytest.mark.parametrize("border", ["reflect", "tapered"])
@pytest.mark.parametrize(("size", "padding", "multiple"), [((4, 5, 4), 1, 1), ((3, 4, 5), 2, 1), ((4, 4, 5), 1, 4)])
def test_norms_of_paddings_of_volumes_are_those_of_their_matrices(
    border: Any, size: tuple[int, int, int], padding: int, multiple: int
) -> None:
    lifting = Lifting(1, 1, padding, 0.0, multiple, border, axes=3)
    if border == "tapered" and min(size) < 2 * padding:
        with pytest.raises(ShapeError, match="3x4x5"):
            lifting.check_size(*size)
        return
    padded = dense(lifting.lift, 1, *size)
    assert padded.shape[0] == math.prod(lifting.state_size(*size))
    assert lifting.padding_norm(*size) == pytest.approx(largest(padded), rel=2e-6)
    assert largest(padded) <= lifting.padding_norm(*size) * (1 + 1e-12)
    if border == "tapered":
        torch.testing.assert_close(padded.mT @ padded, torch.eye(padded.shape[1], dtype=torch.float64))


def test_reflection_costs_the_root_of_two_for_each_axis() -> None:
    assert Lifting(1, 1, 2, 0.0, axes=3).padding_norm(6, 7, 8) == pytest.approx(2**1.5)
    assert Lifting(1, 1, 0, 0.0, axes=3).padding_norm(6, 7, 8) == 1


@pytest.mark.parametrize("border", ["reflect", "tapered"])
def test_volumes_come_back_from_their_states(border: Any) -> None:
    lifting, x = Lifting(2, 3, 2, 0.45, border=border, axes=3), random(8, 2, 2, 4, 5, 6)
    state = lifting.lift(x)
    assert state.shape == (2, 6, 8, 9, 10)
    assert state.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(lifting.unlift(state), x)
    with pytest.raises(ShapeError, match="D, H, W"):
        lifting.lift(x[:, :, 0])
    with pytest.raises(ShapeError, match=r"D \+ 4, H \+ 4, W \+ 4"):
        lifting.unlift(state[:, :, 0])


def test_scales_of_volumes_permute_numbers_and_act_on_each_channel() -> None:
    state = random(9, 2, 3, 4, 8, 4)
    small = rescaled(state, 1, 2)
    assert small.shape == (2, 24, 2, 4, 2)
    assert torch.equal(small.flatten().sort().values, state.flatten().sort().values)
    assert torch.equal(small[:, 8:16], rescaled(state[:, 1:2], 1, 2))
    assert torch.equal(rescaled(small, 2, 1), state)
    assert torch.equal(rescaled(small, 2, 4), rescaled(state, 1, 4))
    assert rescaled(state[:0], 1, 2).shape == (0, 24, 2, 4, 2)
    # As for images, where a slice of a volume is one.
    flat = F.pixel_unshuffle(state[:, :, 0], 2)
    assert torch.equal(small[:, :, 0].unflatten(1, (3, 2, 4))[:, :, 0].flatten(1, 2), flat)


# -- networks


def test_kernels_of_volumes_start_as_high_pass_filters() -> None:
    torch.manual_seed(0)
    kernels, mixings = high_pass_start(2, 2, 4, 3, 1.0, 3)
    assert kernels.shape == (2, 4, 2, 3, 3, 3)
    assert mixings.shape == (2, 2, 4, 1, 1, 1)
    assert kernels.sum((3, 4, 5)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_volumes_are_inverted(kind: str) -> None:
    net = network(kind)
    state = net.lift(torch.rand(2, *SHAPE, dtype=torch.float64))
    through = net.phi(state)
    back = net.invert(through, 1e-12, 500).x if kind == "iresnet" else net._invert(through, net._accuracy())
    torch.testing.assert_close(back, state, rtol=0, atol=2e-4)
    assert net(torch.rand(3, *SHAPE)).shape == (3, *SHAPE)
    assert net(torch.rand(1, 1, 5, 4, 7)).shape == (1, 1, 5, 4, 7)
    assert "kernel_size=3, axes=3" in repr(net)
    with pytest.raises(ShapeError, match="D, H, W"):
        net(torch.rand(2, 1, 5, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_volumes_are_those_of_differences(kind: str) -> None:
    net = network(kind, final=False, tolerance=1e-12, **{"training_tolerance": 1e-12} if kind == "iresnet" else {})
    z, way = torch.rand(1, *SHAPE, dtype=torch.float64), random(10, 1, *SHAPE)
    net.requires_grad_(False)
    z.requires_grad_()
    weights = random(11, 1, *SHAPE)
    (gradient,) = torch.autograd.grad((weights * net(z)).sum(), z)
    with torch.no_grad():
        difference = ((weights * net(z + 1e-6 * way)).sum() - (weights * net(z - 1e-6 * way)).sum()) / 2e-6
    assert float((gradient * way).sum()) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_of_a_network_of_volumes_learn(kind: str) -> None:
    torch.manual_seed(1)
    net = KINDS[kind](subnetworks=3, channels=2, hidden=4, kernel_size=3, padding=1, lipschitz=0.7)
    net.setup(Problem(Smooth()), SHAPE)
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    x = torch.rand(4, *SHAPE)
    z, losses = Smooth()(x), []
    for step in range(30):
        net.training_progress(step / 30)
        loss = (net(z) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in net.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("sides", [(6, 5, 4), (7, 4, 6), (5, 3, 3)])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_small_volume_alone_is_convolved_in_halves(sides: tuple[int, ...], padding: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, kernel = torch.randn(1, 3, *sides, generator=generator), torch.randn(4, 3, 3, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    assert is_slow(x, kernel) == (sides[0] > 5)
    assert not is_slow(x.expand(2, -1, -1, -1, -1), kernel)
    assert not is_slow(x.double(), kernel)
    assert not is_slow(torch.empty(1, 8, 64, 64, 1), kernel)
    given = [one.requires_grad_() for one in (x, kernel, bias)]
    found = convolved(*given, padding=padding)
    expected = F.conv3d(*(one.double() for one in given), padding=padding)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    weights = torch.randn(expected.shape, generator=generator)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), given),
        torch.autograd.grad((expected * weights).sum(), given),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-4)
    u = torch.randn(1, 4, *sides, generator=generator)
    with torch.no_grad():
        assert torch.allclose(convolution_adjoint(u, kernel), F.conv_transpose3d(u, kernel, padding=1), atol=1e-5)


def test_gradients_of_weights_are_those_of_autograd() -> None:
    one = Subnetwork(random(12, 4, 2, 3, 3, 3), random(13, 4), random(14, 2, 4, 1, 1, 1), random(15, 2), 0.3)
    x, w = random(16, 2, 2, 4, 3, 5), random(17, 2, 2, 4, 3, 5)
    assert compiled(one, x) is None
    hidden = one.hidden(x)
    found = one.weight_gradients(x, hidden, w, one.hidden_adjoint(w, hidden))
    leaves = [tensor.clone().requires_grad_() for tensor in one[:4]]
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    inner = F.conv3d(x, leaves[0], leaves[1], padding=1)
    output = F.conv3d(inner - inner.clamp(-threshold, threshold), leaves[2], leaves[3])
    torch.testing.assert_close(one.output(hidden), output.detach())
    torch.testing.assert_close(found, torch.autograd.grad((w * output).sum(), (*leaves, threshold)))


def test_neighbours_in_volumes_are_those_around_each_pixel() -> None:
    state = random(18, 2, 2, 3, 4, 5)
    found = sample(state, 3)
    padded = F.pad(state, 6 * (1,))
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1).flatten(-3)
    torch.testing.assert_close(found, windows.movedim(1, -2).flatten(0, 3))
    assert torch.equal(sample(state), state.movedim(1, -1).flatten(0, 3))


def test_images_with_other_axes_are_refused() -> None:
    for shape in ((1, 8), (1, 4, 4, 4, 4)):
        with pytest.raises(ShapeError, match="for volumes"):
            IResNet(channels=2, padding=1).setup(Problem(Smooth()), shape)


# -- certificates


def jacobian(function: Any, at: Tensor) -> Tensor:
    found = torch.autograd.functional.jacobian(function, at, vectorize=False)
    return found.reshape(at.numel(), at.numel())  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_subnetworks_hold_for_dense_matrices_of_any_slopes(kind: str) -> None:
    kernel, mixing = random(20, 3, 2, 3, 3, 3), random(21, 2, 3, 1, 1, 1)
    kernel, mixing = kernel / certified_norm(kernel), 0.6 * mixing / largest(mixing.flatten(1))
    mixing = mixing if kind == "iresnet" else -mixing
    bounds = certify_subnetwork(kernel, mixing, 1e-3)
    check_subnetwork(kernel, mixing, bounds)
    assert bounds.contraction is not None
    assert bounds.lipsdp < bounds.product
    k = dense(lambda x: F.conv3d(x, kernel, padding=1), 2, 4, 4, 4)
    w = dense(lambda x: F.conv3d(x, mixing), 3, 4, 4, 4)
    identity = torch.eye(len(w), dtype=torch.float64)
    for seed in range(3):
        slopes = torch.rand(len(k), generator=torch.Generator().manual_seed(seed)).double().round(decimals=seed)
        f = w @ (slopes[:, None] * k)
        assert largest(f) <= bounds.lipsdp
        assert largest(identity - f) <= bounds.expansion
        assert 1 / largest(torch.linalg.inv(identity - f)) >= bounds.contraction


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", ["reflect", "tapered"])
def test_certificates_of_volumes_bound_exact_derivatives(kind: str, border: str) -> None:
    net = network(kind, border=border)
    certificate = net.certificate()
    net.verify(certificate)
    inverse, forward = certificate.content["inverse_lipschitz"], certificate.content["forward_lipschitz"]
    assert inverse["chain"] is not None
    assert inverse["certified"] < inverse["product"]
    padding = certificate.content["padding_norm"]
    assert padding == pytest.approx(2**1.5 if border == "reflect" else 1, rel=1e-5)
    for seed in range(2):
        state = net.lift(random(seed, 1, *SHAPE))
        derivative = jacobian(lambda x: net._invert(x, net._accuracy()), state)
        assert 0.3 * inverse["certified"] < largest(derivative) <= inverse["certified"]
        assert largest(torch.linalg.inv(derivative)) <= forward["certified"]
        assert largest(jacobian(net, random(seed, 1, *SHAPE))) <= certificate.reconstruction_lipschitz


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_gains_of_chains_of_volumes_hold_at_random_frequencies(kind: str) -> None:
    net = network(kind, border="tapered")
    claimed = net.certificate().content["chain"]["states"]
    assert len(claimed) == 1
    stack, identity = stack_of(net), torch.eye(2, dtype=torch.float64)
    kernels, mixings = list(stack.kernels.detach()), list(stack.mixings.detach().flatten(2))
    frequencies = 2 * math.pi * torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)).double()
    taps = torch.cartesian_prod(*3 * (torch.arange(-1.0, 2.0).double(),))
    phases = torch.exp(1j * (frequencies @ taps.mT))
    symbols = [torch.einsum("wt,hmt->whm", phases, kernel.flatten(2).to(phases)) for kernel in kernels]
    gains = Gains(Steps(kernels, mixings, kind == "iresnet"), Ends(identity, identity), symbols)
    scalings = torch.tensor(claimed[0]["scalings"], dtype=torch.float64)
    largest_gain = float(gains.values(scalings.flatten().log()).max())
    assert 0.95 * claimed[0]["squared_gain"] < largest_gain <= claimed[0]["squared_gain"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_of_volumes_come_with_errors_that_hold(kind: str) -> None:
    net = network(kind, border="tapered")
    z = torch.rand(2, *SHAPE)
    found = net.reconstruct(z, 1e-2, data_error=0.1)
    exact = net.reconstruct(z, 1e-11)
    assert found.met
    assert exact.met
    distances = (found.image - exact.image).flatten(1).norm(dim=1)
    assert (distances <= found.error_bound + 1e-10).all()
    assert (found.data_error_bound > found.error_bound).all()
    changed = net.reconstruct(z + 0.1 * F.normalize(torch.ones(1, *SHAPE), dim=(1, 2, 3, 4)), 1e-8)
    assert ((found.image - changed.image).flatten(1).norm(dim=1) <= found.data_error_bound).all()


@pytest.mark.slow
def test_claims_about_volumes_that_are_too_small_are_refused() -> None:
    net = network("explicit_iresnet", border="tapered")
    content = net.certificate().content
    for group in content["chain"]["images"]:
        group["squared_gain"] *= 0.9
    with pytest.raises(CertificateError, match="chain"):
        net.verify(type(net.certificate())(content))
    content = net.certificate().content
    content["chain"]["states"][0]["centre"] = 1.0
    with pytest.raises(CertificateError, match="volumes"):
        net.verify(type(net.certificate())(content))


def test_residuals_of_volumes_in_float64_are_bounded() -> None:
    one = Subnetwork(random(22, 4, 2, 3, 3, 3), random(23, 4), random(24, 2, 4, 1, 1, 1), random(25, 2), 0.3)
    before, point, value = (random(seed, 2, 2, 5, 4, 6) for seed in (26, 27, 28))
    found = Defects(one)(before, point, value)
    expected = (before + one.output(one.hidden(point)) - value).flatten(1).norm(dim=1)
    assert (found >= expected).all()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)


@pytest.mark.slow
def test_a_network_of_volumes_with_several_resolutions_is_certified() -> None:
    torch.manual_seed(0)
    stages = [{"scale": 2, "subnetworks": 2, "hidden": 4, "kernel_size": 3}]
    net = MultiscaleExplicitIResNet(tuple(ChainStage(**one) for one in stages), 1, lipschitz=0.7, padding=1)
    net.setup(Problem(Smooth()), (1, 4, 5, 4))
    assert stack_of(net).kernels.shape == (2, 4, 8, 3, 3, 3)
    net.double().eval()
    net.finalise()
    certificate = net.certificate()
    derivative = jacobian(net, random(0, 1, 1, 4, 5, 4))
    assert largest(derivative) <= certificate.reconstruction_lipschitz
    x = torch.rand(1, 1, 4, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(net.unlift(net.lift(x)), x)
    assert net.forward_map(x).shape == x.shape
    assert "unshuffle 2×2×2" in str(net.architecture().stages)
