"""Checks of linear operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from invreg.components.operator import LinearOperator, Shape
from invreg.testing.checks import Check, Refused
from invreg.testing.numbers import demand_close, demand_equal, vectors


def linear_checks(fresh: Callable[[], LinearOperator], shape: Shape, others: Sequence[Shape]) -> Iterator[Check]:
    """The checks of linearity and of the adjoint."""
    yield "linearity", lambda: _linearity(fresh(), shape)
    yield "adjoint", lambda: _adjoint(fresh(), shape)
    yield "adjoint_on_other_shapes", lambda: _adjoint(fresh(), *others)
    yield "derivatives_of_linear", lambda: _derivatives(fresh(), shape)
    yield "norm", lambda: _norm(fresh(), shape)
    yield "normal_function", lambda: _normal_function(fresh(), shape)


def _linearity(operator: LinearOperator, shape: Shape) -> None:
    x, y = vectors(1, 2, *shape), vectors(2, 2, *shape)
    fix = "derive from Operator instead of LinearOperator if F is not linear; an affine part belongs to neither"
    largest = float(operator(torch.zeros_like(x)).abs().max())
    if not largest <= 1e-12:
        raise Refused(f"A maps zero to values up to {largest:.3g}", "zero", fix)
    demand_close(operator(2 * x - 3 * y), 2 * operator(x) - 3 * operator(y), 1e-9, "A(2x - 3y) against 2Ax - 3Ay", fix)


def _adjoint(operator: LinearOperator, *shapes: Shape) -> None:
    for shape in shapes:
        _adjoint_on(operator, shape)


def _adjoint_on(operator: LinearOperator, shape: Shape) -> None:
    range_shape = operator.range_shape(shape)
    x, y = vectors(1, 2, *shape), vectors(2, 2, *range_shape)
    ax, aty = operator(x), operator.adjoint(y)
    fix = "adjoint() must be the transpose of forward() with the same boundary rule; without adjoint(), torch finds it"
    demand_equal(tuple(aty.shape), tuple(x.shape), f"for measurements {tuple(range_shape)}, the shape of A* y", fix)
    left, right = float((ax * y).sum()), float((x * aty).sum())
    scale = max(float(ax.norm() * y.norm()), float(x.norm() * aty.norm()))
    if not abs(left - right) <= 1e-10 * scale + 1e-300:
        raise Refused(
            f"on images {shape}, <A x, y> = {left:.12g} and <x, A* y> = {right:.12g}",
            "the same number up to 1e-10 of the norms",
            fix,
        )


def _derivatives(operator: LinearOperator, shape: Shape) -> None:
    x, h = vectors(1, 2, *shape), vectors(2, 2, *shape)
    image = operator(h)
    v = vectors(3, *image.shape)
    fix = "do not define jvp() and vjp() of a linear operator: they are forward() and adjoint()"
    demand_close(operator.jvp(x, h), image, 1e-9, "jvp(x, h) against A h", fix)
    demand_close(operator.vjp(x, v), operator.adjoint(v), 1e-9, "vjp(x, v) against A* v", fix)


def _norm(operator: LinearOperator, shape: Shape) -> None:
    told = float(operator.norm(shape))
    x, found = vectors(1, 1, *shape), 0.0
    for _ in range(30):  # the power method: each step is a lower bound of the norm
        image = operator(x)
        found = max(found, float(image.norm() / x.norm()))
        x = operator.adjoint(image)
        if not float(x.norm()) > 0:
            break
        x = x / x.norm()
    fix = "correct norm(), or leave it to LinearOperator by not defining it"
    if not told >= found * (1 - 1e-5):
        raise Refused(f"norm({shape}) is {told:.6g}, and ||A x|| / ||x|| = {found:.6g} for some x", "no less", fix)
    if type(operator).norm is not LinearOperator.norm:
        demand_close(
            torch.tensor([told]),
            torch.tensor([LinearOperator.norm(operator, shape).value]),
            1e-3,
            f"norm({shape}) = {told:.6g} against the Lanczos iteration of LinearOperator.norm",
            fix,
        )


def _normal_function(operator: LinearOperator, shape: Shape) -> None:
    x = vectors(1, 2, *shape)
    fix = "normal_function(x, f) is f(A*A) x, for every f; without one, do not define it"
    try:
        found = operator.normal_function(x, lambda values: values)
    except NotImplementedError:
        return
    normal = operator.adjoint(operator(x))
    demand_close(found, normal, 1e-9, "normal_function(x, t -> t) against A* A x", fix)
    found = operator.normal_function(x, lambda values: 1 - values**2)
    demand_close(found, x - operator.adjoint(operator(normal)), 1e-9, "for t -> 1 - t², against x - A*A A*A x", fix)
