"""Checks of pull-backs: methods that are linear, with a bound of their norm."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from invreg.components.operator import Shape
from invreg.components.pull_back import PullBack
from invreg.testing.checks import Check, Refused
from invreg.testing.numbers import demand_close, demand_equal, vectors


def pull_back_checks(made: PullBack, shape: Shape) -> Iterator[Check]:
    """The checks of what a network relies on that reads P z."""
    wide = copy.deepcopy(made).double()
    range_shape = tuple(made.problem.operator.range_shape(shape))
    yield "linearity", lambda: _linearity(wide, range_shape)
    yield "gradient", lambda: _gradient(wide, range_shape, shape)
    yield "norm_bound", lambda: _norm_bound(wide, range_shape, shape)


def _linearity(made: PullBack, range_shape: Shape) -> None:
    z, other = vectors(1, 2, *range_shape), vectors(2, 2, *range_shape)
    fix = "derive from Reconstructor instead of PullBack if P is not linear; iterations take a fixed number of steps"
    with torch.no_grad():
        found, expected = made.forward(2 * z - 3 * other), 2 * made.forward(z) - 3 * made.forward(other)
    demand_close(found, expected, 1e-9, "P(2z - 3w) against 2Pz - 3Pw, in float64", fix)


def _gradient(made: PullBack, range_shape: Shape, shape: Shape) -> None:
    z, y = vectors(1, 1, *range_shape), vectors(2, 1, *shape)
    fix = "compute P z from z by differentiable operations, without detach() and torch.no_grad()"
    try:
        transposed = _transposed(made, y, z)
    except RuntimeError as error:
        raise Refused(str(error).splitlines()[0], "a gradient of P z with respect to z", fix) from None
    with torch.no_grad():
        there, back = (made.forward(z) * y).sum()[None], (z * transposed).sum()[None]
    demand_close(there, back, 1e-6, "<P z, y> against <z, P* y>, by automatic differentiation", fix)


def _norm_bound(made: PullBack, range_shape: Shape, shape: Shape) -> None:
    told, z, found = made.norm_bound(shape), vectors(1, 1, *range_shape), 0.0
    demand_equal(type(told), float, f"the type of norm_bound({shape})", "return a number")
    for _ in range(30):  # the power method: each step is a lower bound of the norm
        with torch.no_grad():
            image = made.forward(z)
        found = max(found, float(image.norm() / z.norm()))
        z = _transposed(made, image, z)
        if not float(z.norm()) > 0:
            break
        z = z / z.norm()
    if not told >= found * (1 - 1e-9):
        raise Refused(
            f"norm_bound({shape}) is {told:.6g}, and ||P z|| / ||z|| = {found:.6g} for some z",
            "no less",
            "correct norm_bound(), or leave it to PullBack by not defining it",
        )


def _transposed(made: PullBack, y: Tensor, like: Tensor) -> Tensor:
    """P* y."""
    z = torch.zeros_like(like).requires_grad_()
    return torch.autograd.grad(made.forward(z), z, y)[0]
