"""torch.func and torch.compile: right in the first call after weights were made, changed or loaded, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from iresnet_helpers import Smooth
from torch import Tensor

from invreg.components.problem import Problem
from invreg.errors import InvregError
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.invertible_chain import InvertibleChain
from invreg_iresnet.iresnet import IResNet

X = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
H = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

Map = Callable[[Tensor], Tensor]

#: Each gives the derivative in the direction H (or its transpose, the Jacobian matrix is told apart by `transposed`).
TRANSFORMS: dict[str, Callable[[Map], Any]] = {
    "jvp": lambda f: torch.func.jvp(f, (X,), (H,))[1],
    "jacfwd": lambda f: torch.tensordot(torch.func.jacfwd(f)(X), H, 4),
    "jacrev": lambda f: torch.tensordot(torch.func.jacrev(f)(X), H, 4),
    "linearize": lambda f: torch.func.linearize(f, X)[1](H),
    "vmap": lambda f: torch.func.vmap(lambda h: torch.func.jvp(f, (X,), (h,))[1])(H[None])[0],
}
each_transform = pytest.mark.parametrize(
    "transform", [pytest.param(name, marks=[pytest.mark.slow] if name == "linearize" else []) for name in TRANSFORMS]
)


def network(cls: type[InvertibleChain], state: str) -> InvertibleChain:
    torch.manual_seed(0)
    sizes = {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 2, "lipschitz": 0.7}
    net = cls(**sizes)  # type: ignore[arg-type]
    net.setup(Problem(Smooth()), (1, 6, 6))
    net.eval().double()
    if state == "final":
        net.finalise()
    if state == "loaded":
        other = network(cls, "final")
        net(X)
        net.load_state_dict(other.state_dict())
    if state == "changed":
        net(X)
        with torch.no_grad():
            net.residuals.kernels.mul_(1.5)  # type: ignore[union-attr]
    return net


def derivative(f: Map) -> Tensor:
    """In the direction H, by autograd alone."""
    matrix = torch.autograd.functional.jacobian(f, X)
    return torch.tensordot(matrix, H, 4)


@pytest.mark.parametrize("state", ["built", "final", "loaded", "changed"])
@each_transform
@pytest.mark.parametrize(("cls", "name"), [(IResNet, "forward_map"), (ExplicitIResNet, "__call__")])
def test_explicit_maps_go_through_torch_func_in_the_first_call(
    cls: type[InvertibleChain], name: str, transform: str, state: str
) -> None:
    found = TRANSFORMS[transform](getattr(network(cls, state), name))
    fresh = network(cls, state)
    torch.testing.assert_close(found, derivative(getattr(fresh, name)))
    assert found.abs().max() > 0.1


@pytest.mark.parametrize(("cls", "name"), [(IResNet, "forward_map"), (ExplicitIResNet, "__call__")])
def test_gradients_and_hessians_in_the_first_call(cls: type[InvertibleChain], name: str) -> None:
    def energy(f: Map) -> Map:
        return lambda x: f(x).square().sum() / 2

    gradient = torch.func.grad(energy(getattr(network(cls, "built"), name)))(X)
    f = getattr(network(cls, "built"), name)
    x = X.clone().requires_grad_()
    expected = torch.autograd.grad(energy(f)(x), x)[0]
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(torch.func.vjp(getattr(network(cls, "built"), name), X)[1](f(X))[0], expected)
    hessian = torch.func.hessian(energy(getattr(network(cls, "built"), name)))(X)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(energy(f), X))


def test_what_was_seen_within_a_transform_is_used_outside() -> None:
    net = network(IResNet, "built")
    torch.func.jvp(net.forward_map, (X,), (H,))
    assert torch.equal(net.forward_map(X), network(IResNet, "built").forward_map(X))
    (net.forward_map(X).sum()).backward()
    assert all(p.grad is not None for p in (net.residuals.kernels, net.residuals.mixings))  # type: ignore[union-attr]


@each_transform
@pytest.mark.parametrize(("cls", "name"), [(IResNet, "__call__"), (ExplicitIResNet, "forward_map")])
def test_fixed_points_are_refused_by_name(cls: type[InvertibleChain], name: str, transform: str) -> None:
    f = getattr(network(cls, "built"), name)
    with pytest.raises(InvregError, match=r"do not go through fixed points(.|\n)*torch\.autograd: grad"):
        TRANSFORMS[transform](f)
    assert torch.isfinite(derivative(f)).all()  # what is suggested works


def test_in_training_an_explicit_reconstruction_is_differentiated_by_autograd_only() -> None:
    net = network(ExplicitIResNet, "built").train()
    with pytest.raises(InvregError, match="explicit_iresnet in training"):
        torch.func.grad(lambda x: net(x).sum())(X)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "name"), [(IResNet, "forward_map"), (ExplicitIResNet, "__call__")])
def test_explicit_maps_are_compiled_in_the_first_call(cls: type[InvertibleChain], name: str) -> None:
    compiled = torch.compile(getattr(network(cls, "built"), name), backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(X), getattr(network(cls, "built"), name)(X))
