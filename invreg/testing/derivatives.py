"""Checks of derivatives: against difference quotients, against each other, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.testing.checks import Check, Refused
from invreg.testing.numbers import demand_close, demand_finite, images, vectors


def derivative_checks(
    fresh: Callable[[], Operator], shape: Shape, others: Sequence[Shape], tolerance: float
) -> Iterator[Check]:
    """The checks of `jvp` and `vjp`."""
    yield "jvp_against_differences", lambda: _jvp(fresh(), [shape, *others], tolerance)
    yield "vjp_against_jvp", lambda: _vjp(fresh(), [shape, *others])
    yield "gradients", lambda: _gradients(fresh(), shape, tolerance)


def _jvp(operator: Operator, shapes: Sequence[Shape], tolerance: float) -> None:
    for shape in shapes:
        _jvp_on(operator, shape, tolerance)


def _jvp_on(operator: Operator, shape: Shape, tolerance: float) -> None:
    x, h, t = images(1, 2, *shape), vectors(2, 2, *shape), 1e-5
    quotient = (operator(x + t * h) - operator(x - t * h)) / (2 * t)
    demand_close(
        operator.jvp(x, h),
        quotient,
        tolerance,
        f"on images {shape}, jvp(x, h) against (F(x + t h) - F(x - t h)) / 2t with t = 1e-5",
        "correct jvp(), or leave it to automatic differentiation by not defining it",
    )


def demand_transposed(operator: Operator, shape: Shape) -> None:
    """Refuses a `vjp` that is not the transpose of `jvp`."""
    x, h = images(1, 2, *shape), vectors(2, 2, *shape)
    v = vectors(3, 2, *operator(x).shape[1:])
    forward, backward = operator.jvp(x, h), operator.vjp(x, v)
    fix = "correct vjp() (of a linear operator: adjoint()), or leave it to automatic differentiation"
    if backward.shape != h.shape:
        raise Refused(f"vjp(x, v) has the shape {tuple(backward.shape)}", f"that of x, {tuple(h.shape)}", fix)
    left, right = float((forward * v).sum()), float((h * backward).sum())
    scale = max(float(forward.norm() * v.norm()), float(h.norm() * backward.norm()))
    if not abs(left - right) <= 1e-10 * scale + 1e-300:
        raise Refused(
            f"on images {shape}, <F'(x) h, v> = {left:.12g} and <h, F'(x)* v> = {right:.12g}",
            "the same number up to 1e-10 of the norms",
            fix,
        )


def _vjp(operator: Operator, shapes: Sequence[Shape]) -> None:
    for shape in shapes:
        demand_transposed(operator, shape)


def _gradients(operator: Operator, shape: Shape, tolerance: float) -> None:
    fix = (
        "derivatives exist at flat images, too: add a small number under roots, avoid x / x.norm() and torch.where NaN"
    )
    for value in (0.0, 0.5, 1.0):
        x = torch.full((1, *shape), value, dtype=torch.float64)
        v = vectors(3, 1, *operator(x).shape[1:])
        demand_finite(operator.vjp(x, v), f"vjp at the image that is {value} everywhere", fix)
        demand_finite(operator.jvp(x, vectors(2, 1, *shape)), f"jvp at the image that is {value} everywhere", fix)
    x = images(1, 2, *shape).requires_grad_()
    result = operator(x)
    if not result.requires_grad:  # made without torch: then jvp and vjp, checked above, are all there is
        return
    v = vectors(3, 2, *result.shape[1:])
    (gradient,) = torch.autograd.grad((result * v).sum(), x)
    what = "the gradient by automatic differentiation against " + (
        "adjoint()" if isinstance(operator, LinearOperator) else "vjp()"
    )
    demand_close(
        gradient, operator.vjp(x.detach(), v), tolerance, what, "let both describe the same map; avoid detach()"
    )
