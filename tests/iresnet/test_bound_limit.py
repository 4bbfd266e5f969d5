"""A target of the certified bound: kept in training by one factor of all mixings, and proven after it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from iresnet_helpers import Smooth, made, stack_of

from invreg.components.problem import Problem
from invreg.errors import SpecError
from invreg_iresnet.certificate.bound_limit import BoundLimit, meet_target
from invreg_iresnet.certificate.chain_condition import Ends, Steps, condition_kernel
from invreg_iresnet.certificate.gain_search import smallest_gain
from invreg_iresnet.certificate.symbol_grid import grid_symbols
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.iresnet import IResNet, MultiscaleIResNet
from invreg_iresnet.network.residuals import Weights
from invreg_iresnet.parameters import ChainStage

SMALL: dict[str, Any] = {"subnetworks": 3, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 2}
KINDS = ["iresnet", "explicit_iresnet"]


def limited(kind: str, target: float, **parameters: Any) -> Any:
    return made(kind, **{**SMALL, "target_bound": target, "lipschitz": 0.8, **parameters})


def multiscale(target: float, outer_side: int = 5) -> Any:
    """Three pieces: two stages at full resolution and one at half of it."""
    torch.manual_seed(0)
    outer = ChainStage(scale=1, subnetworks=2, hidden=3, kernel_size=outer_side)
    middle = ChainStage(scale=2, subnetworks=2, hidden=4, kernel_size=3)
    sizes: dict[str, Any] = {"channels": 2, "padding": 2, "border": "reflect"}
    net = MultiscaleIResNet((outer, middle, outer), lipschitz=0.8, target_bound=target, **sizes)
    net.setup(Problem(Smooth()), (1, 10, 12))
    for stack in net._parts()[1]:
        torch.nn.init.normal_(stack.kernels)
        torch.nn.init.normal_(stack.mixings)
    return net.double().eval()


def limit_of(net: Any) -> BoundLimit:
    limit = net.limit
    assert isinstance(limit, BoundLimit)
    return limit


def looked(net: Any, looks: int = 2) -> BoundLimit:
    """The limit of a network in training, after so many looks at the chain."""
    net.train()
    limit = limit_of(net)
    for look in range(looks):
        limit.calls.fill_(20 * look)
        used(net)
    return limit


def used(net: Any) -> Any:
    """The weights of the only stage, as they are used."""
    (stage,) = net._weights()
    return stage.weights


@pytest.mark.parametrize("implicit", [True, False])
def test_what_is_proven_holds_for_smaller_mixings(implicit: bool) -> None:
    """gamma and T for W prove gamma with theta T for theta W, in the dense matrices of all frequencies of a grid."""
    generator = torch.Generator().manual_seed(1)
    kernels = [torch.randn(3, 2, 3, 3, generator=generator, dtype=torch.float64) / 6 for _ in range(3)]
    mixings = [torch.randn(2, 3, generator=generator, dtype=torch.float64) / 4 for _ in range(3)]
    ends = Ends(torch.ones(2, 1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    start = [torch.full((3,), 3.0, dtype=torch.float64)] * 3
    found = smallest_gain(Steps(kernels, mixings, implicit), ends, start)
    assert found is not None
    for theta in (0.9, 0.5, 0.01):
        steps = Steps(kernels, [theta * one for one in mixings], implicit)
        scaled = [theta * one for one in found.scalings]
        condition = condition_kernel(steps, ends, scaled, 1.0001 * found.squared_gain)
        assert float(torch.linalg.eigvalsh(grid_symbols(condition.kernel, 24)).min()) > 0


def smoothed_gain(net: Any, stages: list[Weights]) -> float:
    """log gamma / 2 of the whole chain for the T of the limit, smoothed as it smooths them."""
    logarithm = 0.0
    for piece in limit_of(net).pieces:
        gains = piece.gains(stages, True)(1.0)
        logarithm += gains.smoothed(piece.scalings.flatten().log(), exponent=60)[0] / 2
    return logarithm


@pytest.mark.parametrize(
    ("make", "left"),
    [(partial(limited, "iresnet"), 1e-4), (partial(limited, "explicit_iresnet"), 1e-4), (multiscale, 0.15)],
)
def test_weights_of_a_step_keep_the_gain_of_the_chain(make: Any, left: float) -> None:
    """To first order, in every direction: the gradient goes through theta.

    At each frequency, only what is amplified most by a piece is followed. Between pieces, others count a little.
    """
    net = make(2.4)
    limit = limit_of(net)
    plain = [stack.evaluation_weights() for stack in net._parts()[1]]
    for calls in (0, 20):
        limit.calls.fill_(calls)
        limit(plain)
    assert 0 < float(limit.theta) < 1
    generator = torch.Generator().manual_seed(0)
    with_theta = without = 0.0
    for _ in range(4):
        steps = [
            [
                1e-4 * torch.randn(part.shape, generator=generator, dtype=part.dtype)
                for part in (one.kernels, one.mixings)
            ]
            for one in plain
        ]
        gains = []
        for sign in (-1, 1):
            limit.calls.fill_(21)  # no look at the chain
            moved = [
                one._replace(kernels=one.kernels + sign * kernels, mixings=one.mixings + sign * mixings)
                for one, (kernels, mixings) in zip(plain, steps, strict=True)
            ]
            with torch.no_grad():
                gains.append((smoothed_gain(net, limit(moved)), smoothed_gain(net, limit.scaled(moved))))
        changes = [abs(high - low) for low, high in zip(*gains, strict=True)]
        with_theta, without = with_theta + changes[0], without + changes[1]
    assert with_theta < left * without


@pytest.mark.parametrize("kind", KINDS)
def test_mixings_that_meet_the_target_are_used_as_they_are(kind: str) -> None:
    net = limited(kind, 2.4)
    stack = stack_of(net)
    with torch.no_grad():
        stack.mixings.mul_(0.02)
    assert float(looked(net).theta) == 1
    weights = used(net)
    draw = torch.randn(weights.mixings.shape, generator=torch.Generator().manual_seed(0), dtype=weights.mixings.dtype)
    (weights.mixings * draw).sum().backward()
    assert torch.equal(weights.mixings, stack.mixings)
    assert torch.equal(stack.mixings.grad, draw)
    assert not stack.kernels.grad.any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_in_training_is_near_the_proven_one(kind: str) -> None:
    net = limited(kind, 2.4)
    looked(net, 4)
    proven = net.eval().certificate().reconstruction_lipschitz
    assert proven == pytest.approx(2.4, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("make", [*(partial(limited, kind) for kind in KINDS), partial(multiscale, outer_side=3)])
def test_final_weights_meet_their_target(make: Any) -> None:
    net = make(2.4).train()
    net._weights()
    net.eval().finalise()
    certificate = net.certificate()
    assert 0.97 * 2.4 < certificate.reconstruction_lipschitz <= 2.4
    assert all(stack.is_final for stack in net._parts()[1])
    net.verify(certificate)


@pytest.mark.slow
def test_a_target_that_is_met_changes_nothing() -> None:
    nets = [made("iresnet", **SMALL, lipschitz=0.5, **more) for more in ({"target_bound": 100.0}, {})]
    for net in nets:
        net.train()
    assert torch.equal(*(used(net).mixings for net in nets))
    for net in nets:
        net.finalise()
    assert torch.equal(*(stack_of(net).mixings for net in nets))


def test_the_factor_is_in_the_mixings_once() -> None:
    net = limited("iresnet", 2.4)
    limit, stack = looked(net), stack_of(net)
    net.eval()
    theta, before = float(limit.theta), used(net)
    stack.finalise(limit.take())
    after = used(net)
    assert theta < 1
    assert float(limit.theta) == 1
    assert torch.allclose(after.mixings, before.mixings, rtol=0.05)
    assert torch.equal(after.mixings, stack.mixings)


def test_training_goes_on_from_saved_weights_as_it_would_have() -> None:
    net, twin = limited("iresnet", 2.4), limited("iresnet", 2.4, seed=7)
    looked(net, 3)
    twin.load_state_dict(net.state_dict())
    twin.train()
    for _ in range(22):  # past the next look
        weights, others = (used(one) for one in (net, twin))
        assert torch.equal(weights.mixings, others.mixings)


@pytest.mark.parametrize("cls", [IResNet, ExplicitIResNet])
def test_a_target_below_what_the_ends_allow_is_refused(cls: Any) -> None:
    net = cls(**SMALL, lipschitz=0.8, target_bound=2.0)
    with pytest.raises(SpecError, match="target_bound") as refused:
        net.setup(Problem(Smooth()), (1, 10, 12))
    assert "above 2" in str(refused.value)
    assert "padding: 0" in str(refused.value)
    cls(**{**SMALL, "padding": 0}, lipschitz=0.8, target_bound=1.5).setup(Problem(Smooth()), (1, 10, 12))


@pytest.mark.parametrize("shape", [lambda f: 2 * 50**f, lambda f: 2 * 50 ** (f**3), lambda f: 2 * 1.1 ** math.sqrt(f)])
@pytest.mark.parametrize("target", [2.01, 5.0, 99.0])
def test_factors_are_found_for_any_growing_bound(shape: Any, target: float) -> None:
    tried = []

    def prove(factor: float) -> float:
        tried.append(factor)
        return float(shape(factor))

    meet_target(prove, target, 2.0)
    assert shape(tried[-1]) <= target
    assert tried[-1] == 1 or shape(tried[-1]) > 0.97 * target
    assert len(tried) <= 9


@pytest.mark.parametrize("target", [2.5, 60.0, 99.0, 1000.0])
def test_factors_above_one_are_found_up_to_the_largest(target: float) -> None:
    tried = []

    def prove(factor: float) -> float:
        tried.append(factor)
        return 2 * 25**factor

    meet_target(prove, target, 2.0, 1.2)
    assert max(tried) <= 1.2
    assert prove(tried[-1]) <= target
    assert tried[-1] == 1.2 or prove(tried[-1]) > 0.97 * target


def test_a_bound_that_cannot_be_proven_counts_as_too_large() -> None:
    tried = []

    def prove(factor: float) -> float:
        tried.append(factor)
        return math.inf if factor > 0.3 else 2 * 1.5**factor

    meet_target(prove, 3.0, 2.0)
    assert tried[-1] <= 0.3
