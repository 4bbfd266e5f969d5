"""Derivatives of maps of images at one image, applied in both directions, to many arguments at once.

Maps treat the images of a batch independently: with copies of the image as the batch, each copy has a direction or a
cotangent of its own, and one pass serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from invreg import InvregError, Linearization, Operator, ShapeError, generator
from invreg_analyses.shared.evaluated import as_evaluated

Apply = Callable[[Tensor], Tensor]
_T = TypeVar("_T")

#: How far <J h, J h> and <h, J* J h> may be apart, relatively: far above rounding, far below what a wrong adjoint does.
_ADJOINT = 1e-3
#: Length of the step that tests whether a map changes at all.
_STEP = 1e-2
#: Numbers of copies whose graphs are kept: a full batch, the last one of some call, and a single copy.
_KEPT = 3


@dataclass(frozen=True)
class Derivative:
    """The derivative J of a map at one image `[1, C, H, W]`.

    Attributes:
        name: of the map, for messages.
        jvp: h -> J h, for any number of directions h `[K, C, H, W]`.
        vjp: v -> J* v, for any number of v, `[K, ...]`, each of the shape of the value.
    """

    name: str
    jvp: Apply
    vjp: Apply


def operator_derivative(operator: Operator, x: Tensor, key: int = 0, batch: int = 1) -> Derivative:
    """F'(x) of an operator, from its own `linearize`.

    Args:
        operator: F.
        x: one image, `[1, C, H, W]`.
        key: of the random direction in which the derivative is checked.
        batch: how many directions are handled at once; the memory grows with it.

    Raises:
        InvregError: if F cannot be differentiated at x in both directions.
    """
    _check_image(x)
    name = f"the operator {type(operator).__name__}"

    @lru_cache(maxsize=_KEPT)
    def linear(copies: int) -> Linearization:
        return operator.linearize(_copied(x, copies))

    tried(name, lambda: linear(1))
    jvp = _in_batches(lambda h: linear(len(h)).forward(h), batch)
    vjp = _in_batches(lambda v: linear(len(v)).adjoint(v), batch)
    return _checked(Derivative(name, jvp, vjp), operator, x, key)


def function_derivative(name: str, function: Apply, x: Tensor, key: int = 0, batch: int = 1) -> Derivative:
    """The derivative of a function of images at x, by automatic differentiation; weights should not require gradients.

    J h comes from forward mode (torch.func.jvp); where the function does not know that, from differentiating v -> J* v,
    which is linear in v, again.

    Args:
        name: of the function, for messages.
        function: images `[B, C, H, W]` to values.
        x: one image, `[1, C, H, W]`.
        key: of the random direction in which the derivative is checked.
        batch: how many directions are handled at once; the memory grows with it.

    Raises:
        InvregError: if the function cannot be differentiated at x in both directions.
    """
    _check_image(x)

    @lru_cache(maxsize=_KEPT)
    def graph(copies: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = _copied(x, copies).requires_grad_()
            value = function(point)
        if not value.requires_grad:
            raise InvregError("its value has no gradient")
        return point, value

    @lru_cache(maxsize=_KEPT)
    def adjoint_graph(copies: int) -> tuple[Tensor, Tensor]:
        point, value = graph(copies)
        v = torch.zeros_like(value, requires_grad=True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(value, point, v, create_graph=True)
        if not gradient.requires_grad:
            raise InvregError("it can be differentiated only once")
        return v, gradient

    def vjp(v: Tensor) -> Tensor:
        point, value = graph(len(v))
        return torch.autograd.grad(value, point, v, retain_graph=True)[0]

    def twice(h: Tensor) -> Tensor:
        v, gradient = adjoint_graph(len(h))
        return torch.autograd.grad(gradient, v, h, retain_graph=True)[0]

    def forward_mode(h: Tensor) -> Tensor:
        return torch.func.jvp(function, (_copied(x, len(h)),), (h,))[1]

    tried(name, lambda: graph(1))
    jvp = forward_mode
    try:
        forward_mode(torch.zeros_like(x))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 (each operation that lacks forward mode has its own way to say so)
        tried(name, lambda: adjoint_graph(1))
        jvp = twice
    return _checked(Derivative(name, _in_batches(jvp, batch), _in_batches(vjp, batch)), function, x, key)


@contextmanager
def linearized(
    label: str, net: Any, x: Tensor, key: int, batch: int = 1
) -> Iterator[tuple[Tensor, Derivative, Derivative]]:
    """The derivatives of a network's forward map and of its operator at one image; see `function_derivative`.

    Yields:
        x (in double precision if the network computes in it), phi'(x) and F'(x); valid within the context, in which the
        network is evaluated and its weights need no gradients.
    """
    with as_evaluated(net):
        with torch.no_grad():
            x = x.double() if net.forward_map(x).dtype == torch.float64 else x
        operator = operator_derivative(net.target_operator, x, key, batch)
        yield x, function_derivative(f"the forward map of {label}", net.forward_map, x, key, batch), operator


def _copied(x: Tensor, copies: int) -> Tensor:
    return x.detach().repeat(copies, 1, 1, 1)


def _in_batches(apply: Apply, batch: int) -> Apply:
    """A map of any number of arguments, by one of at most `batch` of them."""
    return lambda arguments: torch.cat([apply(part) for part in arguments.split(batch)])


def _checked(derivative: Derivative, function: Apply, x: Tensor, key: int) -> Derivative:
    """Tries both directions, and whether they belong together.

    Raises:
        InvregError: if they are not finite, zero or not adjoint to each other, though the map changes.
    """
    name = derivative.name
    h = torch.randn(x.shape, generator=generator(key), dtype=torch.float64).to(x)
    h = h / h.norm()
    jh = tried(name, lambda: derivative.jvp(h))
    back = tried(name, lambda: derivative.vjp(jh))
    if not (torch.isfinite(jh).all() and torch.isfinite(back).all()):
        raise InvregError(f"the derivative of {name} is NaN or infinite", where="derivative", expected="finite values")
    if not jh.any():
        refuse_change(name, function, x, h)
    first, second = float(jh.double().square().sum()), float((h.double() * back.double()).sum())
    if abs(first - second) > _ADJOINT * max(abs(first), abs(second)):
        raise InvregError(
            f"jvp and vjp of {name} do not belong together: ⟨J h, J h⟩ is {first:.6g}, ⟨h, J* J h⟩ is {second:.6g}",
            where="derivative",
            expected="a vjp (or adjoint) that is the transpose of the jvp (or forward)",
            hint="no detach() and no no_grad() on the way; for an operator, finite_differences has derivatives"
            " that belong together",
        )
    return derivative


def refuse_change(name: str, function: Apply, x: Tensor, h: Tensor) -> None:
    """Refuses a map with a zero derivative whose value changes along h.

    Raises:
        InvregError: if it changes.
    """
    with torch.no_grad():
        moved = function(x + _STEP * h) - function(x)
    if moved.double().norm() > 1e-4 * _STEP:
        raise InvregError(
            f"the derivative of {name} is zero, though its values change",
            where="derivative",
            expected="a map that torch can follow from the image to its value",
            hint="no detach(), no NumPy and no no_grad() in between; or give it jvp and vjp of its own (for an "
            "operator, finite_differences(operator) has them)",
        )


def tried(name: str, action: Callable[[], _T]) -> _T:
    """The result of the action; an error becomes an InvregError that names the map."""
    try:
        return action()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        cause = error.what if isinstance(error, InvregError) else str(error).strip().split("\n")[0]
        raise InvregError(
            f"{name} cannot be differentiated: {cause or type(error).__name__}",
            where="derivative",
            expected="a map with J h and J* v: made of what torch can differentiate twice or in forward mode",
            hint="for an operator, define jvp and vjp, or let finite_differences(operator) have them",
        ) from error


def _check_image(x: Tensor) -> None:
    if x.ndim != 4 or len(x) != 1:
        raise ShapeError(f"x of shape {tuple(x.shape)}", where="derivative", expected="one image, [1, C, H, W]")
