"""Finalisation, the certificate of a whole network, and its verification."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
from iresnet_helpers import Smooth, certified, explicit, made, network, stack_of
from torch import Tensor

from invreg.components.certificate import StabilityCertificate
from invreg.components.problem import Problem
from invreg.components.reconstructor import CertifiesStability, FinalisesWeights
from invreg.errors import CertificateError, DataError, SpecError
from invreg_iresnet.certificate import network_certificate
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.network.precision import each_in_one_thread
from invreg_iresnet.norms.certified_norm import certified_norm, norm_is_at_most
from toy import EverySecondRow

KINDS = ["iresnet", "explicit_iresnet"]


# -- finalisation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_stored_keeps_the_bound(kind: str, dtype: torch.dtype) -> None:
    net = made(kind).to(dtype)
    assert not stack_of(net).is_final
    net.finalise()
    stack = stack_of(net)
    assert stack.is_final
    for kernel, mixing in zip(stack.kernels, stack.mixings, strict=True):
        assert norm_is_at_most(kernel, 1.0)
        assert norm_is_at_most(mixing, net.residual_bound)
        assert certified_norm(kernel) > 0.999
    weights = stack.weights()
    assert torch.equal(weights.kernels, stack.kernels)
    assert torch.equal(weights.mixings, stack.mixings)


def test_finalising_changes_reconstructions_hardly() -> None:
    net = network(lipschitz=0.9)
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    net.requires_grad_(False)
    before = net(z)
    net.finalise()
    assert 0 < float((net(z) - before).abs().max()) < 0.02 * float(before.abs().max())
    once = net(z)
    net.finalise()
    torch.testing.assert_close(net(z), once, rtol=1e-3, atol=1e-3)


def test_small_mixings_stay_as_they_are() -> None:
    net = network()
    with torch.no_grad():
        stack_of(net).mixings.mul_(1e-3)
    before = stack_of(net).mixings.detach().clone()
    net.finalise()
    assert torch.equal(stack_of(net).mixings, before)


def test_finality_goes_with_the_weights_and_ends_with_them() -> None:
    net = network()
    net.finalise()
    twin = network(seed=3)
    twin.load_state_dict(net.state_dict())
    assert stack_of(twin).is_final
    assert stack_of(copy.deepcopy(net)).is_final
    assert stack_of(net.float().double()).is_final is False  # float32 has rounded them: another network
    with torch.no_grad():
        stack_of(twin).kernels[0, 0, 0, 0, 0] += 1e-3
    assert not stack_of(twin).is_final
    weights = stack_of(twin).weights()
    assert not torch.equal(weights.kernels, stack_of(twin).kernels)


def test_single_precision_weights_stay_final_in_double() -> None:
    net = network().float()
    net.finalise()
    assert stack_of(net.double()).is_final


def test_weights_that_keep_another_bound_are_not_final() -> None:
    loose, tight = network(lipschitz=0.999), network(lipschitz=0.5)
    loose.finalise()
    tight.load_state_dict(loose.state_dict())
    assert not stack_of(tight).is_final
    norms = torch.linalg.matrix_norm(stack_of(tight).evaluation_weights().mixings[..., 0, 0], ord=2)
    assert float(norms.max()) <= tight.residual_bound * (1 + 1e-9)


def test_training_goes_on_after_finalisation() -> None:
    net = network()
    net.finalise()
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    loss = net(torch.rand(1, 1, 10, 12)).square().mean()
    loss.backward()
    assert float(stack_of(net).kernels.grad.norm()) > 0
    optimizer.step()
    net.eval()
    assert not stack_of(net).is_final


@pytest.mark.slow
def test_dead_kernels_can_be_final() -> None:
    net = network()
    with torch.no_grad():
        stack_of(net).kernels[1] = 0
        stack_of(net).mixings[2] = 0
    net.finalise()
    assert stack_of(net).is_final
    bounds = net.certificate()
    assert bounds.inverse_lipschitz["product"] == pytest.approx(1 / (1 - net.residual_bound), rel=1e-2)
    net.verify(bounds)


@pytest.mark.parametrize("kind", KINDS)
def test_broken_weights_are_refused(kind: str) -> None:
    net = made(kind)
    with torch.no_grad():
        stack_of(net).hidden_biases[1, 0] = math.nan
    with pytest.raises(CertificateError, match="hidden_biases that are not finite"):
        net.certificate()
    with torch.no_grad():
        stack_of(net).kernels[0, 0, 0, 0, 0] = math.inf
    with pytest.raises(CertificateError):
        net.finalise()


# -- the certificate


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_ordered_and_hold(kind: str) -> None:
    net = made(kind, padding=0, image_shape=(1, 6, 7))
    net.finalise()
    assert isinstance(net, CertifiesStability)
    assert isinstance(net, FinalisesWeights)
    certificate = net.certificate()
    inverse, forward = certificate.inverse_lipschitz, certificate.forward_lipschitz
    sharp = {"iresnet": ("mu", "schur"), "explicit_iresnet": ("schur", "mu")}[kind]
    assert set(inverse) == {"product", "lipsdp", sharp[0], "chain", "certified"}
    assert set(forward) == {"product", "lipsdp", sharp[1], "certified"}
    for bounds in (inverse, forward):
        assert bounds["certified"] == min(value for value in bounds.values() if value is not None)
        assert bounds["certified"] < bounds["product"]
    assert inverse["product"] <= 10.001
    assert inverse["chain"] == inverse["certified"] < 0.8 * inverse[sharp[0]]
    image = certificate.reconstruction_lipschitz
    assert image == certificate.content["image_lipschitz"] <= inverse["certified"]
    # The derivative at any state is a product of matrices, whose singular values keep the bounds.
    net.requires_grad_(False)
    x = torch.randn(1, 4, 6, 7, dtype=torch.float64)
    chain = net.phi if kind == "iresnet" else lambda z: net._invert(z, net._accuracy())
    values = torch.linalg.svdvals(torch.func.jacrev(chain)(x).reshape(168, 168))
    grows, shrinks = (forward, inverse) if kind == "iresnet" else (inverse, forward)
    assert 1.2 < float(values.max()) <= grows["certified"]
    assert 1.2 < float(1 / values.min()) <= shrinks["certified"]
    # From images to images: a sum over equal copies before, a mean over them after.
    z = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    of_images = torch.linalg.svdvals(torch.autograd.functional.jacobian(net, z).reshape(42, 42))
    assert 1.1 < float(of_images.max()) <= image


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_subnetwork_is_monotone(kind: str) -> None:
    net, certificate = certified(kind)
    listed = certificate.content["subnetworks"]
    assert len(listed) == len(stack_of(net))
    for one in listed:
        assert 0 < one["monotonicity"] <= 1
        assert 0 < one["smallest_contraction"] < 1
        assert one["lipschitz"] <= net.residual_bound * (1 + 1e-4)
    whole = math.prod(one["inverse_lipschitz"] for one in listed)
    assert whole >= certificate.inverse_lipschitz["certified"] * (1 - 1e-9)


@pytest.mark.slow
def test_padding_is_part_of_the_reconstruction() -> None:
    _, certificate = certified("iresnet")
    assert certificate.content["padding_norm"] == 2
    assert certificate.reconstruction_lipschitz == 2 * certificate.content["image_lipschitz"]
    assert "at most" in certificate.sentence


@pytest.mark.slow
def test_a_network_that_exceeds_its_bound_gets_no_number() -> None:
    net = network(lipschitz=0.9)
    net.finalise()
    stack = stack_of(net)
    with torch.no_grad():
        stack.mixings.mul_(40)
        stack.final_digest.copy_(stack._digest())  # as if they were final
    certificate = net.certificate()
    assert certificate.inverse_lipschitz == dict.fromkeys(["product", "lipsdp", "mu", "chain", "certified"])
    assert certificate.content["chain"] is None
    assert certificate.content["chain_missing"] == "no gain is proven of subnetwork 1"
    assert certificate.reconstruction_lipschitz is None
    assert certificate.forward_lipschitz["certified"] is not None
    assert certificate.sentence == "No bound could be proven for this network."
    with pytest.raises(CertificateError, match="no Lipschitz bound of the inverse is proven"):
        net.reconstruct(torch.rand(1, 1, 10, 12))
    net.verify(certificate)


# -- verification


def rewritten(certificate: StabilityCertificate) -> Any:
    return json.loads(json.dumps(certificate.content))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_survives_its_file(kind: str) -> None:
    net, certificate = certified(kind)
    read = StabilityCertificate(rewritten(certificate))
    assert read.content == certificate.content
    net.verify(read)


def test_each_subnetwork_is_verified_by_one_thread_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    net, certificate = certified(KINDS[0])
    threads: int = torch.get_num_threads()
    seen: list[int] = []
    real = network_certificate.check_subnetwork

    def noting(*arguments: Any) -> None:
        seen.append(torch.get_num_threads())
        real(*arguments)

    monkeypatch.setattr(network_certificate, "check_subnetwork", noting)
    torch.set_num_threads(2)
    try:
        net.verify(certificate)
        content = rewritten(certificate)
        change_bound(content)
        with pytest.raises(CertificateError):
            net.verify(StabilityCertificate(content))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def change_bound(content: Any) -> None:
    content["inverse_lipschitz"]["certified"] *= 0.9


def change_product(content: Any) -> None:
    content["forward_lipschitz"]["product"] *= 0.99


def change_reconstruction(content: Any) -> None:
    content["reconstruction_lipschitz"] = 1.0


def change_padding(content: Any) -> None:
    content["padding_norm"] = 1.0


def change_role(content: Any) -> None:
    content["role"] = "inverse"


def change_hash(content: Any) -> None:
    content["weights"] = content["weights"].replace(content["weights"][-1], "z")


def drop_subnetwork(content: Any) -> None:
    content["subnetworks"].pop()


def change_contraction(content: Any) -> None:
    content["subnetworks"][1]["bounds"]["contraction"] += 0.01


def change_scaling(content: Any) -> None:
    content["subnetworks"][0]["bounds"]["scalings"]["contraction"][0] *= 30


def change_monotonicity(content: Any) -> None:
    content["subnetworks"][0]["monotonicity"] = 0.99


def change_image(content: Any) -> None:
    content["image_lipschitz"] = 1.0


def change_copies(content: Any) -> None:
    content["copies"] = 8


def change_gain(content: Any) -> None:
    content["chain"]["images"][0]["squared_gain"] *= 0.9


def change_chain_scaling(content: Any) -> None:
    content["chain"]["states"][0]["scalings"][0][0] *= 30


def drop_chain(content: Any) -> None:
    content["chain"] = None


def nonsense_chain(content: Any) -> None:
    content["chain"] = [1, 2]


def no_bounds(content: Any) -> None:
    content["subnetworks"][0] = {"bounds": 3}


def no_subnetworks(content: Any) -> None:
    content["subnetworks"] = None


@pytest.mark.slow
@pytest.mark.parametrize(
    "tamper",
    [
        change_bound,
        change_product,
        change_reconstruction,
        change_padding,
        change_role,
        change_hash,
        drop_subnetwork,
        change_contraction,
        change_scaling,
        change_monotonicity,
        change_image,
        change_copies,
        change_gain,
        change_chain_scaling,
        drop_chain,
        nonsense_chain,
        no_bounds,
        no_subnetworks,
    ],
)
def test_whatever_is_changed_is_found(tamper: Any) -> None:
    net, certificate = certified("iresnet")
    content = rewritten(certificate)
    tamper(content)
    with pytest.raises(CertificateError, match="certificate"):
        net.verify(StabilityCertificate(content))


def without_bounds(content: Any) -> None:
    content["subnetworks"][0] = {}


def null_side(content: Any) -> None:
    content["inverse_lipschitz"] = None


def huge_integer(content: Any) -> None:
    content["subnetworks"][0]["bounds"]["lipsdp"] = 10**400


@pytest.mark.slow
@pytest.mark.parametrize("tamper", [without_bounds, null_side, huge_integer])
def test_malformed_certificates_are_certificate_errors(tamper: Any) -> None:
    net, certificate = certified("iresnet")
    content = rewritten(certificate)
    tamper(content)
    with pytest.raises(CertificateError):
        net.verify(StabilityCertificate(content))


@pytest.mark.slow
def test_nobody_changes_what_has_been_verified() -> None:
    shared, made_of_it = certified("iresnet")
    net, given = copy.deepcopy(shared), rewritten(made_of_it)
    certificate = StabilityCertificate(given)
    net.verify(certificate)
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64)
    before = net.reconstruct(z, 1e-2, data_error=1.0).data_error_bound
    given["image_lipschitz"] = 1e-3
    certificate.content["image_lipschitz"] = 1e-3  # type: ignore[index]
    certificate.content["subnetworks"][0]["bounds"]["contraction"] = 1.0
    assert torch.equal(net.reconstruct(z, 1e-2, data_error=1.0).data_error_bound, before)


@pytest.mark.slow
def test_a_network_that_is_set_up_again_forgets_its_certificate() -> None:
    shared, grey = certified("iresnet")
    net, state = copy.deepcopy(shared), shared.state_dict()
    net.setup(Problem(Smooth()), (2, 10, 12))
    net.load_state_dict(state)
    net.double().eval()
    assert net.certificate().content["copies"] == 2 != grey.content["copies"]
    with pytest.raises(CertificateError, match="certificate"):
        net.verify(grey)


@pytest.mark.slow
def test_the_sentence_says_what_it_is_about() -> None:
    net = network(EverySecondRow(), image_shape=(1, 10, 12), lipschitz=0.9)
    certificate = net.certificate()
    assert certificate.content["reads"] == "A*z / ||A||^2"
    assert "two measurements z whose A*z / ||A||^2 differ by d" in certificate.sentence
    assert "exact reconstructions" in certificate.sentence
    with pytest.raises(SpecError, match=r"not in X[\s\S]*A\*z"):
        net.reconstruct(torch.rand(1, 1, 5, 12), data_error=0.1)
    content = rewritten(certificate)
    content["reads"] = "z"
    with pytest.raises(CertificateError, match="reads"):
        net.verify(StabilityCertificate(content))


@pytest.mark.slow
def test_symmetric_networks_with_nothing_to_expand_are_certified() -> None:
    """K proportional to W': Id - f expands nothing, so there is nothing left to minimise."""
    net = network(lipschitz=0.9, kernel_size=3)
    stack = stack_of(net)
    with torch.no_grad():
        stack.kernels.zero_()
        stack.kernels[..., 1, 1] = stack.mixings[..., 0, 0].mT
    net.finalise()
    certificate = net.certificate()
    assert certificate.forward_lipschitz["schur"] < 1.01
    net.verify(certificate)


@pytest.mark.slow
def test_other_weights_are_found() -> None:
    shared, certificate = certified("iresnet")
    net = copy.deepcopy(shared)
    with torch.no_grad():
        stack_of(net).kernels[0, 0, 0, 0, 0] += 1e-9
    with pytest.raises(CertificateError, match="weights"):
        net.verify(certificate)


@pytest.mark.parametrize("content", [None, {}, {"format": "invreg-certificate-1"}, {"format": "other"}, []])
def test_nonsense_is_no_certificate(content: Any) -> None:
    with pytest.raises(CertificateError):
        StabilityCertificate(content)


# -- the explicit network


def test_phi_undoes_the_reconstruction() -> None:
    net = explicit(tolerance=1e-13)
    x = torch.randn(3, 4, 14, 16, dtype=torch.float64)
    accuracy = net._accuracy()
    there = net._invert(x, accuracy)
    torch.testing.assert_close(net.phi(there), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(net._invert(net.phi(x), accuracy), x, rtol=0, atol=1e-10)


def test_reconstruction_is_the_composition_of_its_parts() -> None:
    net = explicit()
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    weights = stack_of(net).weights()

    def g(x: Tensor, i: int) -> Tensor:
        hidden = torch.nn.functional.conv2d(x, weights.kernels[i], weights.hidden_biases[i], padding=2)
        shrunk = hidden.sign() * (hidden.abs() - weights.thresholds[i]).clamp_min(0)
        return torch.nn.functional.conv2d(shrunk, weights.mixings[i], weights.output_biases[i])

    state = net.lift(z)
    for i in range(5):
        state = state + g(state, i)
    torch.testing.assert_close(net(z), net.unlift(state))


@pytest.mark.slow
def test_the_forward_map_has_gradients() -> None:
    net = explicit(tolerance=1e-13, image_shape=(1, 6, 6), padding=1, subnetworks=4)
    x = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net.forward_map, x, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(("subnetworks", "lipschitz", "fine"), [(10, 0.999, True), (9, 0.999, False), (1, 0.5, False)])
def test_the_bound_and_the_length_fit_together(subnetworks: int, lipschitz: float, fine: bool) -> None:
    if fine:
        net = ExplicitIResNet(subnetworks=subnetworks, lipschitz=lipschitz)
        assert (1 + net.residual_bound) ** subnetworks == pytest.approx(1 / (1 - lipschitz), rel=1e-9)
        return
    with pytest.raises(SpecError, match=r"^ExplicitIResNet.lipschitz: 0[\s\S]*at least \d+ subnetworks") as caught:
        ExplicitIResNet(subnetworks=subnetworks, lipschitz=lipschitz)
    suggested = int(str(caught.value.hint).split()[2])
    ExplicitIResNet(subnetworks=suggested, lipschitz=lipschitz)


def test_what_is_not_finite_is_said() -> None:
    with pytest.raises(DataError, match="1 of 1 measurements hold NaN or infinite values, 120 in all"):
        explicit()(torch.full((1, 1, 10, 12), math.nan))


def test_training_and_evaluation_are_the_same_map_with_the_same_gradients() -> None:
    net = explicit()
    net.finalise()
    stack = stack_of(net)
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    parameters = [z, *net.parameters()]
    target = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    # One way of finding norms for both, so that only the chain differs.
    stack.weights = stack.evaluation_weights
    results = []
    for training in (True, False):
        image = net.train(training)(z)
        loss = (image - target).square().sum()
        results.append([image, *torch.autograd.grad(loss, parameters, allow_unused=True)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


def test_the_explicit_chain_runs_in_the_dtype_of_autocast() -> None:
    net = explicit().float().train()
    exact = net(torch.rand(1, 1, 10, 12, generator=torch.Generator().manual_seed(0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(torch.rand(1, 1, 10, 12, generator=torch.Generator().manual_seed(0)))
    assert rounded.dtype == torch.float32
    difference = float((rounded - exact).detach().abs().max())
    assert 0 < difference < 0.1
    rounded.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_threads_share_subnetworks_and_errors_arrive() -> None:
    def work(number: int) -> tuple[int, int, bool]:
        if number == 7:
            raise CertificateError("seven", expected="another number")
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert each_in_one_thread(work, range(5)) == [(number, 1, False) for number in range(5)]
        assert torch.get_num_threads() == 2
        with pytest.raises(CertificateError, match="seven"):
            each_in_one_thread(work, range(20))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
