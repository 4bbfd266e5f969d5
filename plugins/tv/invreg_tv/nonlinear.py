"""Total variation for nonlinear operators, by Valkonen's extension of the primal-dual algorithm (NL-PDHGM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg.operator import Operator
from invreg_tv.differences import GRADIENT_NORM_SQUARED, add_adjoint, add_gradient_, project_
from invreg_tv.norms import derivative_norm, lengths
from invreg_tv.solution import Batch, Box, TVSolution, has_converged, primal_dual_gap

#: Over-relaxation, until an image is stuck: with it, the iteration circles around the solution more easily.
RELAXATION = 1.5
#: Smallest and largest dual step for the data term at the start. Smaller ones, as linear operators have them, make
#: the iteration circle around the solution.
DATA_STEPS = (0.2, 0.4)
#: Dual step for the gradient, for a dual variable in the unit ball.
GRADIENT_STEP = 16.0
#: What a few power iterations may miss of ||F'(x)||, and what it may change while x moves.
NORM_MARGIN = 1.2
#: An image is stuck if its gap has not fallen to `PROGRESS` times its value within `PATIENCE` iterations and rose at
#: `RISES` checks or more (a gap that falls steadily is slow, not stuck).
PROGRESS, PATIENCE, RISES = 0.7, 100, 2
#: Each time that an image is stuck, its data step and its patience are doubled; after so many times it is given up.
DOUBLINGS = 3


@torch.no_grad()
def nonlinear_primal_dual(
    operator: Operator,
    z: Tensor,
    weight: float,
    *,
    start: Tensor,
    box: Box | None = (0.0, 1.0),
    tolerance: float = 1e-3,
    max_iterations: int = 2000,
    check_every: int = 10,
) -> TVSolution:
    """Looks for a stationary point of ½||F(x) - z||² + weight TV(x) over x in the box, for each image of a batch.

    The iteration is that of [`primal_dual`][invreg_tv.linear.primal_dual] with A* replaced by F'(x)* at the current x,
    and A x̄ by F(x̄); with ρ = 16 weight, σ = 7 sqrt(weight) / ||F'||, but at least 0.2 and at most 0.4,
    and τ (σ ||F'||² + 8 ρ) = 0.99, found by experiment. The problem is not convex, convergence is a local matter, and
    the answer depends on the start.

    What nobody knows beforehand is watched, image by image:

    - ||F'(x)|| is estimated at the start. When a step shows that F changes faster, the estimate is raised.
    - The gap is that of the problem with F linearised at x; it is 0 exactly at stationary points. Where it does not
      fall any more, the iteration circles around a solution: it goes on without relaxation and with σ doubled, which
      makes τ smaller, up to three times. An image that is still stuck then is given up. It is not `converged`, and took
      fewer than `max_iterations`.

    Source: Valkonen 2014, Inverse Problems 30 055012 (the exact NL-PDHGM); relaxation and watching are additions.

    Args:
        operator: F, with its `vjp` and `jvp`.
        z: measurements, `[B, ...range]`, float32 or float64.
        weight: weight of TV, positive.
        start: images to start from, `[B, C, H, W]`; a good start is z after total variation denoising.
        box: lowest and highest value of a pixel; None for no bounds.
        tolerance: relative gap that is asked for.
        max_iterations: iterations after which an image is given up.
        check_every: iterations from one look at the gap to the next.

    Raises:
        ConvergenceError: if the iterates become NaN or infinite.
    """
    low, high = box or (-torch.inf, torch.inf)
    x = start.clamp(low, high)
    y = operator(x) - z
    p = x.new_zeros((x.shape[0], 2, *x.shape[1:]))
    x_next, y_next, p_next = map(torch.empty_like, (x, y, p))
    x_bar, w, scratch = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    steps = _Steps(NORM_MARGIN * derivative_norm(operator, x), weight)
    batch = Batch(len(z), z.device)

    for iteration in range(1, max_iterations + 1):
        add_adjoint(operator.vjp(x, y), p, weight, out=w)
        torch.addcmul(x, steps.tau(x.dim()), w, value=-1, out=x_next).clamp_(low, high)
        torch.lerp(x, x_next, 2.0, out=x_bar)  # 2 x⁺ - x
        value_bar = operator(x_bar)
        torch.sub(value_bar, z, out=y_next)
        torch.lerp(y, y_next, steps.data_share(y.dim()), out=y_next)
        project_(add_gradient_(p_next.copy_(p), x_bar, GRADIENT_STEP), scratch)

        if iteration % check_every == 0 or iteration == max_iterations:
            value = operator(x_next)
            steps.watch_norm(lengths(value_bar - value), lengths(x_bar - x_next), lengths(x_next))
            add_adjoint(operator.vjp(x_next, y_next), p_next, weight, out=w)
            gap, objective = primal_dual_gap(x_next, y_next, p_next, value - z, w, weight, box)
            converged = has_converged(gap, objective, tolerance, z, weight, math.prod(x.shape[1:]))
            done = converged | steps.watch_gap(gap, iteration) | (iteration == max_iterations)
            if bool(done.any()) or not len(done):
                rest = batch.settle(
                    done,
                    x=x_next,
                    data_dual=y_next,
                    tv_dual=p_next,
                    gap=gap,
                    objective=objective,
                    iterations=torch.full_like(batch.active, iteration),
                    converged=converged,
                )
                if not len(rest):
                    break
                z, x, y, p, x_next, y_next, p_next = (t[rest] for t in (z, x, y, p, x_next, y_next, p_next))
                x_bar, w, scratch = (buffer[: len(rest)] for buffer in (x_bar, w, scratch))
                steps.select(rest)

        for current, proposed in ((x, x_next), (y, y_next), (p, p_next)):
            current.lerp_(proposed, steps.relaxation(current.dim()))
    return batch.solution()


class _Steps:
    """Step sizes of each image, and what makes them change."""

    def __init__(self, norm: Tensor, weight: float) -> None:
        self._weight = weight
        self._norm = norm
        self._sigma = (7 * weight**0.5 / norm).clamp(*DATA_STEPS)
        self._relaxation = torch.full_like(norm, RELAXATION)
        self._doublings = torch.zeros_like(norm)
        self._last = torch.full_like(norm, torch.inf)
        self._reference = torch.full_like(norm, torch.inf)  # the gap that was there at iteration `_since`
        self._since = torch.zeros_like(norm)
        self._rises = torch.zeros_like(norm)  # since then

    def tau(self, dimensions: int) -> Tensor:
        tau = 0.99 / (self._sigma * self._norm**2 + GRADIENT_NORM_SQUARED * GRADIENT_STEP * self._weight)
        return _column(tau, dimensions)

    def data_share(self, dimensions: int) -> Tensor:
        """σ / (1 + σ): how far the dual variable of the data term goes towards the residual."""
        return _column(self._sigma / (1 + self._sigma), dimensions)

    def relaxation(self, dimensions: int) -> Tensor:
        return _column(self._relaxation, dimensions)

    def watch_norm(self, change: Tensor, distance: Tensor, size: Tensor) -> None:
        """Told how much F changed over which distance; raises ||F'|| if that was more than it allows.

        A distance that is next to rounding, compared with the `size` of x, says nothing.
        """
        faster = (change > self._norm * distance) & (distance > 1000 * torch.finfo(size.dtype).eps * size)
        self._norm = torch.where(faster, NORM_MARGIN * change / distance, self._norm)

    def watch_gap(self, gap: Tensor, iteration: int) -> Tensor:
        """Told the gaps; treats images that are stuck, and says which are to be given up."""
        self._rises = self._rises + (gap > self._last)
        self._last = gap
        progress = gap <= PROGRESS * self._reference
        stuck = ~progress & (iteration - self._since >= PATIENCE * 2**self._doublings) & (self._rises >= RISES)
        given_up = stuck & (self._doublings == DOUBLINGS)
        self._sigma = torch.where(stuck, 2 * self._sigma, self._sigma)
        self._relaxation = torch.where(stuck, 1.0, self._relaxation)
        self._doublings = self._doublings + stuck
        news = progress | stuck
        self._reference = torch.where(news, gap, self._reference)
        self._since = torch.where(news, float(iteration), self._since)
        self._rises = torch.where(news, 0.0, self._rises)
        return given_up

    def select(self, rest: Tensor) -> None:
        """Forgets all images but those at the positions `rest`."""
        for name in [name for name, value in vars(self).items() if isinstance(value, Tensor)]:
            setattr(self, name, getattr(self, name)[rest])


def _column(values: Tensor, dimensions: int) -> Tensor:
    """One value per image, as a tensor of so many dimensions that broadcasts over a batch."""
    return values.view(-1, *[1] * (dimensions - 1))
