"""Accelerated projected gradients, and derivatives of the minimisers they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invreg import ConvergenceError, InvregError

# After so many restarts an image goes on without: the theorems are about iterations that begin once.
_RESTARTS = 50
# Steps of conjugate gradients in a backward pass.
_BACKWARD_STEPS = 200


@dataclass(frozen=True)
class Minimisers:
    """Minimisers of a smooth convex J over the images in [0, 1].

    Attributes:
        x: the images, `[B, C, H, W]`.
        residual: the norm of L (y - P(y - J'(y) / L)) in the last step, whose result is x, relative to its scale,
            `[B]`; some element of the subdifferential of J + box at x is at most twice as long.
        iterations: steps of each image, `[B]`.
        converged: whether the residual is within the tolerance, `[B]`.
    """

    x: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


def minimise(
    gradient: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    start: Tensor,
    lipschitz: float,
    scale: Tensor,
    tolerance: float,
    max_iterations: int,
    *,
    accelerated: bool = True,
) -> Minimisers:
    """Minimises J over all x in [0, 1]^n, for each image of a batch, which leaves it when it is done.

    With L a Lipschitz constant of J' and P the projection to the box,

        x_k = P(y_k - J'(y_k) / L),    y_(k+1) = x_k + (k - 1) / (k + 3) (x_k - x_(k-1)).

    J(x_k) - min J <= O(1 / k²), and x_k converges to a minimiser. The counter k starts again where
    <y_k - x_k, x_k - x_(k-1)> > 0, as the step then leads back; this happens finitely often, so what is proven holds
    from the last time on.

    Source: Beck & Teboulle 2009, SIAM J. Imaging Sci. 2; Chambolle & Dossal 2015, J. Optim. Theory Appl. 166, for this
    momentum; O'Donoghue & Candès 2015, Found. Comput. Math. 15, for the restart.

    Args:
        gradient: J'(x), given x and the rows of `data` that belong to it.
        data: what J needs of each measurement, `[B, ...]`.
        start: images to start from.
        lipschitz: L.
        scale: what residuals are relative to, `[B]`.
        tolerance: the relative residual to reach.
        max_iterations: steps after which an image is given up.
        accelerated: false for y_k = x_(k-1), which needs no convexity for J(x_k) to decrease.

    Raises:
        ConvergenceError: if iterates are not finite.
    """
    result, count = start.clamp(0, 1), len(start)
    residual, iterations = scale.new_full((count,), torch.inf), torch.zeros(count, dtype=torch.long)
    active = torch.arange(count, device=start.device)
    x = y = result.clone()
    age = restarts = scale.new_zeros(count)
    for iteration in range(1, max_iterations + 1):
        if not len(active):
            break
        following = (y - gradient(y, data) / lipschitz).clamp(0, 1)
        back, ahead = y - following, following - x
        size = lipschitz * _norm(back)
        if not bool(torch.isfinite(size).all()):
            raise ConvergenceError(
                "the iterates are no longer finite",
                where="minimisation",
                expected="an operator and weights whose values are finite",
                hint="a smaller learning rate; or look at the operator with invreg.testing.check_operator",
            )
        again = ((back * ahead).flatten(1).sum(1) > 0) & (restarts < _RESTARTS)
        restarts = restarts + again
        age = torch.where(again, 0.0, age + 1)
        x = y = following
        if accelerated:
            y = following + (age / (age + 4)).view(-1, 1, 1, 1) * ahead
        done = size <= tolerance * scale
        if iteration == max_iterations or bool(done.any()):
            result[active], residual[active] = x, torch.where(size > 0, size / scale, 0.0)
            iterations[active.cpu()] = iteration
            rest = (~done).nonzero().squeeze(1)
            active, x, y, data, scale = active[rest], x[rest], y[rest], data[rest], scale[rest]
            age, restarts = age[rest], restarts[rest]
    converged = torch.ones(count, dtype=torch.bool, device=start.device)
    converged[active] = False
    return Minimisers(result, residual, iterations, converged)


class ImplicitMinimiser(torch.autograd.Function):
    """The minimiser x, with the derivative that the implicit function theorem gives it.

    With F the pixels where 0 < x < 1, where J'(x) = 0, dx = -(J''(x)_FF)^-1 (dJ')_F, and no derivative elsewhere. It is
    that of the minimiser, whatever the iteration that led there. Where J'' is singular, a small multiple of the
    identity is added.

    Source: Samuel & Tappen 2009, CVPR, for the minimiser of an energy.

    Apply it to x, to J'(x) as a function of all that x depends on, and to `second_derivative(v)`, v -> J''(x) v with
    the multiple of the identity, and the relative accuracy of the solution.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gradient: Tensor, second_derivative: Callable[[Tensor], Tensor], tolerance: float
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.second_derivative, ctx.tolerance = second_derivative, tolerance
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[None, Tensor, None, None]:
        (x,), (v,) = ctx.saved_tensors, outer
        free = ((x > 0) & (x < 1)).to(v.dtype)
        with torch.no_grad():
            solved = _conjugate_gradients(lambda u: free * ctx.second_derivative(free * u), free * v, ctx.tolerance)
        return None, -solved, None, None


class Underivable(torch.autograd.Function):
    """A critical point of which no derivative is known: backward passes raise an InvregError that says so.

    Apply it to x, to J'(x) as a function of all that x depends on, and to the name of the method.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, label: str) -> Tensor:
        ctx.label = label
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[None, Tensor, None]:
        raise InvregError(
            "derivatives of a critical point that need not be a minimiser",
            where=ctx.label,
            expected="a problem for which the objective is convex, such as operator: identity",
            hint="train there, and begin with those weights here: start_from",
        )


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], b: Tensor, tolerance: float) -> Tensor:
    """The solution of a symmetric positive definite system for each item of a batch."""
    x, r = torch.zeros_like(b), b
    direction, square = r, _inner(r, r)
    target = tolerance**2 * square
    for _ in range(_BACKWARD_STEPS):
        if bool((square <= target).all()):
            break
        image = matrix(direction)
        bend = _inner(direction, image)
        alpha = torch.where((bend > 0) & (square > target), square / bend, 0.0)
        x, r = x + alpha * direction, r - alpha * image
        before, square = square, torch.where(alpha > 0, _inner(r, r), square)
        direction = r + torch.where(before > 0, square / before, 0.0) * direction
        square = torch.where(bend > 0, square, torch.zeros_like(square))
    return x


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
