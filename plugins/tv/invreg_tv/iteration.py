"""The primal-dual iteration that linear and nonlinear operators share, on a batch that images leave when done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from invreg import Operator
from invreg_tv.differences import add_adjoint, add_gradient, project_
from invreg_tv.polish import NEAR, polish
from invreg_tv.solution import Batch, Box, TVSolution, has_converged, primal_dual_gap


class Look(NamedTuple):
    """The images still in the batch, after their gap has been computed.

    Attributes:
        x: the images x⁺, `[B, C, H, W]`.
        x_bar: where F was evaluated in this iteration, likewise.
        residual: F(x⁺) - z, `[B, ...range]`.
        residual_bar: F(x̄) - z, likewise.
        data_dual: y⁺, likewise.
        tv_dual: p⁺, or a better one, `[B, 2, C, H, W]`.
        gap: the primal-dual gap of x⁺ and these two, `[B]`.
        objective: the objective at x⁺, `[B]`.
    """

    x: Tensor
    x_bar: Tensor
    residual: Tensor
    residual_bar: Tensor
    data_dual: Tensor
    tv_dual: Tensor
    gap: Tensor
    objective: Tensor


class Steps(ABC):
    """Step sizes of each image.

    Attributes:
        tau: the primal steps, `[B]`.
        data_share: σ / (1 + σ) for the dual steps σ of the data term, `[B]`: how far its dual variable goes towards
            the residual.
        gradient_step: ρ / weight, the dual step for the gradient with a dual variable in the unit ball.
        relaxation: over-relaxation, `[B]`.
    """

    tau: Tensor
    data_share: Tensor
    gradient_step: float
    relaxation: Tensor

    @abstractmethod
    def watch(self, look: Look, iteration: int) -> Tensor:
        """Adapts the steps to what is seen; returns which images are to be given up, booleans `[B]`."""

    def select(self, rest: Tensor) -> None:
        """Keeps only the images at the positions `rest`."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rest])


@torch.no_grad()
def minimise(
    operator: Operator,
    z: Tensor,
    weight: float,
    *,
    start: Tensor,
    steps: Steps,
    box: Box | None,
    tolerance: float,
    max_iterations: int,
    check_every: int,
) -> TVSolution:
    """Iterates until the gap of each image is below `tolerance` times its objective, or the image is given up.

    With K = (F, gradient), dual variables y and weight * p, |p| <= 1, and F'(x)* = A* if F = A is linear, one
    iteration is

        x⁺ = P_box(x - τ (F'(x)* y + weight gradient*(p))),            x̄ = 2 x⁺ - x
        y⁺ = (y + σ (F(x̄) - z)) / (1 + σ)
        p⁺ = P_{|.| <= 1}(p + ρ gradient(x̄) / weight)

    followed by over-relaxation, (x, y, p) + relaxation ((x⁺, y⁺, p⁺) - (x, y, p)). The gap is that of (x⁺, y⁺, p⁺);
    when it comes near the tolerance, a better p from [`polish`][invreg_tv.polish.polish] takes the place of p⁺ in it.

    An image that is done leaves the batch: a batch costs what its images would cost one by one, and no image depends
    on the others.

    Args:
        operator: F, with its `vjp`.
        z: measurements, `[B, ...range]`.
        weight: weight of TV.
        start: images to start from, `[B, C, H, W]`.
        steps: step sizes.
        box: lowest and highest value of a pixel; None for no bounds.
        tolerance: relative gap to reach.
        max_iterations: iterations after which an image is given up.
        check_every: iterations from one look at the gap to the next.

    Raises:
        ConvergenceError: if the iterates become NaN or infinite.
    """
    state = _Iterates(operator, z, weight, start, box)
    batch = Batch(len(z), z.device)
    for iteration in range(1, max_iterations + 1):
        state.propose(steps)
        if iteration % check_every == 0 or iteration == max_iterations:
            look = state.look(steps, tolerance)
            converged = has_converged(look.gap, look.objective, tolerance, state.z, weight, math.prod(start.shape[1:]))
            done = converged | steps.watch(look, iteration) | (iteration == max_iterations)
            if bool(done.any()) or not len(done):
                rest = batch.settle(
                    done,
                    x=look.x,
                    data_dual=look.data_dual,
                    tv_dual=look.tv_dual,
                    gap=look.gap,
                    objective=look.objective,
                    iterations=torch.full_like(batch.active, iteration),
                    converged=converged,
                )
                if not len(rest):
                    break
                state.select(rest)
                steps.select(rest)
        state.relax(steps)
    return batch.solution()


class _Iterates:
    """The iterates (x, y, p) of all images in the batch, and memory that every iteration uses again.

    Apart from the operator, memory bandwidth limits an iteration: it allocates nothing, and writes only what is needed.
    In particular y⁺ is formed only where the gap is computed; the relaxed y follows from the residual directly.
    """

    def __init__(self, operator: Operator, z: Tensor, weight: float, start: Tensor, box: Box | None) -> None:
        self._operator, self._weight, self._box = operator, weight, box
        self.z = z
        self._x = start.clamp(*(box or (-torch.inf, torch.inf)))
        self._y = operator(self._x) - z
        self._p = start.new_zeros((start.shape[0], 2, *start.shape[1:]))
        self._x_next, self._x_bar, self._w, self._scratch = self._x.new_empty((4, *self._x.shape))
        self._residual_bar = torch.empty_like(self._y)
        self._p_next = torch.zeros_like(self._p)

    def propose(self, steps: Steps) -> None:
        """x⁺, p⁺, and the residual that y⁺ is a step towards."""
        add_adjoint(self._operator.vjp(self._x, self._y), self._p, self._weight, out=self._w)
        torch.addcmul(self._x, _column(steps.tau, self._x), self._w, value=-1, out=self._x_next)
        if self._box:
            self._x_next.clamp_(*self._box)
        torch.lerp(self._x, self._x_next, 2.0, out=self._x_bar)  # 2 x⁺ - x
        torch.sub(self._operator(self._x_bar), self.z, out=self._residual_bar)
        project_(add_gradient(self._p, self._x_bar, steps.gradient_step, out=self._p_next), self._scratch)

    def look(self, steps: Steps, tolerance: float) -> Look:
        """The gap of what has been proposed, with a better p⁺ where that may bring it below the tolerance."""
        x, p = self._x_next, self._p_next
        y = torch.lerp(self._y, self._residual_bar, _column(steps.data_share, self._y))
        residual = self._operator(x) - self.z
        pulled_back = self._operator.vjp(x, y)
        w = add_adjoint(pulled_back, p, self._weight, out=self._w)
        gap, objective = primal_dual_gap(x, y, p, residual, w, self._weight, self._box)
        near = (gap > tolerance * objective) & (gap <= NEAR * tolerance * objective)
        rows = near.nonzero().squeeze(1)
        if len(rows):
            polished, w = polish(p[rows], pulled_back[rows], self._weight)
            smaller, _ = primal_dual_gap(x[rows], y[rows], polished, residual[rows], w, self._weight, self._box)
            better = smaller < gap[rows]
            gap[rows[better]] = smaller[better]
            p = p.index_copy(0, rows[better], polished[better])
        return Look(x, self._x_bar, residual, self._residual_bar, y, p, gap, objective)

    def relax(self, steps: Steps) -> None:
        """Takes what has been proposed for the next iterates, over-relaxed."""
        self._x.lerp_(self._x_next, _column(steps.relaxation, self._x))
        self._y.lerp_(self._residual_bar, _column(steps.relaxation * steps.data_share, self._y))
        self._p.lerp_(self._p_next, _column(steps.relaxation, self._p))

    def select(self, rest: Tensor) -> None:
        """Keeps only the images at the positions `rest`."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rest])


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value per image, shaped to be broadcast over a batch like `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))
