"""Fixed points of nonexpansive maps on batches of images, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invreg import ConvergenceError


@dataclass(frozen=True)
class FixedPoints:
    """Where the iterations x <- G(x) ended.

    Attributes:
        x: the last images, `[B, C, H, W]`.
        residual: the norm of the last step, relative to the scale, `[B]`.
        iterations: steps of each image, `[B]`.
        converged: whether the residual is within the tolerance, `[B]`.
    """

    x: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


@torch.no_grad()
def iterate(
    update: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    start: Tensor,
    scale: Tensor,
    tolerance: float,
    max_iterations: int,
) -> FixedPoints:
    """Iterates x <- G(x) for each image of a batch, which leaves it when it is done.

    For averaged G with a fixed point, x converges to one, and steps get shorter; for a contraction, at its rate.

    Source: Krasnosel'skii 1955; Mann 1953; Bauschke & Combettes 2017, theorem 5.15.

    Args:
        update: G(x), given x and the rows of `data` that belong to it.
        data: what G needs of each measurement, `[B, ...]`.
        start: images to start from.
        scale: what residuals are relative to, `[B]`.
        tolerance: the relative residual to reach.
        max_iterations: steps after which an image is given up.

    Raises:
        ConvergenceError: if iterates are not finite.
    """
    count = len(start)
    result, residual = start.clone(), scale.new_full((count,), torch.inf)
    iterations = torch.zeros(count, dtype=torch.long)
    active, x = torch.arange(count, device=start.device), start
    for iteration in range(1, max_iterations + 1):
        if not len(active):
            break
        following = update(x, data)
        size = _norm(following - x)
        if not bool(torch.isfinite(size).all()):
            raise ConvergenceError(
                "the iterates are no longer finite",
                where="fixed point",
                expected="an operator and weights whose values are finite",
                hint="a smaller learning rate; or look at the operator with invreg.testing.check_operator",
            )
        x, done = following, size <= tolerance * scale
        if iteration == max_iterations or bool(done.any()):
            result[active], residual[active] = x, torch.where(size > 0, size / scale, 0.0)
            iterations[active.cpu()] = iteration
            rest = (~done).nonzero().squeeze(1)
            active, x, data, scale = active[rest], x[rest], data[rest], scale[rest]
    converged = torch.ones(count, dtype=torch.bool, device=start.device)
    converged[active] = False
    return FixedPoints(result, residual, iterations, converged)


class ImplicitFixedPoint(torch.autograd.Function):
    """The fixed point x = G(x), with the derivative that the implicit function theorem gives it.

    dx = (Id - G'(x))^-1 (dG). Backward passes solve w = v + G'(x)* w by iteration, which converges if G is a
    contraction. Where G is only averaged, the iteration ends at the largest number of steps at the latest: its result
    is then the gradient through as many steps of the iteration.

    Source: Bai, Kolter & Koltun 2019, NeurIPS, theorem 1.

    Apply it to G(x), made of the x that was found and of all that G depends on, to v -> G'(x)* v, and the relative
    accuracy of the solution and the largest number of steps to it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pull_back: Callable[[Tensor], Tensor], tolerance: float, max_iterations: int
    ) -> Tensor:
        ctx.pull_back, ctx.tolerance, ctx.max_iterations = pull_back, tolerance, max_iterations
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (v,) = outer
        w, target = v, ctx.tolerance * _norm(v)
        for _ in range(ctx.max_iterations):
            following = v + ctx.pull_back(w)
            short = bool((_norm(following - w) <= target).all())
            w = following
            if short:
                break
        return w, None, None, None


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
