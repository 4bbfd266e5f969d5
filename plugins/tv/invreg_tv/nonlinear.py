"""Total variation for nonlinear operators, by Valkonen's extension of the primal-dual algorithm (NL-PDHGM)."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import Operator
from invreg_tv.differences import GRADIENT_NORM_SQUARED
from invreg_tv.iteration import Look, Steps, minimise
from invreg_tv.norms import derivative_norm, lengths
from invreg_tv.solution import Box, TVSolution

#: Over-relaxation, until an image is stuck: with it, the iteration cycles near the solution more easily.
RELAXATION = 1.5
#: Smallest and largest dual step for the data term at the start. Smaller ones, as linear operators have them, make
#: the iteration cycle near the solution.
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

    The iteration is [`minimise`][invreg_tv.iteration.minimise] with the over-relaxation 1.5, ρ = 16 weight,
    σ = 7 sqrt(weight) / ||F'||, but at least 0.2 and at most 0.4, and τ (σ ||F'||² + 8 ρ) = 0.99, found by experiment.
    The problem is not convex, convergence is a local matter, and the answer depends on the start.

    What is not known beforehand is observed for each image:

    - ||F'(x)|| is estimated at the start. When a step shows that F changes faster, the estimate is raised.
    - The gap is that of the problem with F linearised at x; it is 0 exactly at stationary points. Where it does not
      fall any more, the iteration cycles near a solution: it goes on without relaxation and with σ doubled, which
      makes τ smaller, up to three times. An image that is still stuck then is given up. It is not `converged`, and took
      fewer than `max_iterations`.

    Source: Valkonen 2014, Inverse Problems 30 055012 (the exact NL-PDHGM); relaxation and observation are additions.

    Args:
        operator: F, with its `vjp` and `jvp`.
        z: measurements, `[B, ...range]`, float32 or float64.
        weight: weight of TV, positive.
        start: images to start from, `[B, C, H, W]`; a good start is z after total variation denoising.
        box: lowest and highest value of a pixel; None for no bounds.
        tolerance: relative gap to reach.
        max_iterations: iterations after which an image is given up.
        check_every: iterations from one look at the gap to the next.

    Raises:
        ConvergenceError: if the iterates become NaN or infinite.
    """
    norm = NORM_MARGIN * derivative_norm(operator, start.clamp(*(box or (-torch.inf, torch.inf))))
    return minimise(
        operator,
        z,
        weight,
        start=start,
        steps=_Steps(norm, weight),
        box=box,
        tolerance=tolerance,
        max_iterations=max_iterations,
        check_every=check_every,
    )


class _Steps(Steps):
    """Step sizes of each image, and what makes them change."""

    gradient_step = GRADIENT_STEP

    def __init__(self, norm: Tensor, weight: float) -> None:
        self._weight = weight
        self._norm = norm
        self._sigma = (7 * weight**0.5 / norm).clamp(*DATA_STEPS)
        self.relaxation = torch.full_like(norm, RELAXATION)
        self._doublings = torch.zeros_like(norm)
        self._last = torch.full_like(norm, torch.inf)
        self._reference = torch.full_like(norm, torch.inf)  # the gap that was there at iteration `_since`
        self._since = torch.zeros_like(norm)
        self._rises = torch.zeros_like(norm)  # since then
        self._update()

    def watch(self, look: Look, iteration: int) -> Tensor:
        self._watch_norm(lengths(look.residual_bar - look.residual), lengths(look.x_bar - look.x), lengths(look.x))
        given_up = self._watch_gap(look.gap, iteration)
        self._update()
        return given_up

    def _update(self) -> None:
        self.tau = 0.99 / (self._sigma * self._norm**2 + GRADIENT_NORM_SQUARED * GRADIENT_STEP * self._weight)
        self.data_share = self._sigma / (1 + self._sigma)

    def _watch_norm(self, change: Tensor, distance: Tensor, size: Tensor) -> None:
        """Raises ||F'|| where F has changed by more than it allows over this distance.

        A distance that is next to rounding, compared with the `size` of x, is meaningless.
        """
        faster = (change > self._norm * distance) & (distance > 1000 * torch.finfo(size.dtype).eps * size)
        self._norm = torch.where(faster, NORM_MARGIN * change / distance, self._norm)

    def _watch_gap(self, gap: Tensor, iteration: int) -> Tensor:
        """Takes the gaps, treats images that are stuck, and returns which are to be given up."""
        self._rises = self._rises + (gap > self._last)
        self._last = gap
        progress = gap <= PROGRESS * self._reference
        stuck = ~progress & (iteration - self._since >= PATIENCE * 2**self._doublings) & (self._rises >= RISES)
        given_up = stuck & (self._doublings == DOUBLINGS)
        self._sigma = torch.where(stuck, 2 * self._sigma, self._sigma)
        self.relaxation = torch.where(stuck, 1.0, self.relaxation)
        self._doublings = self._doublings + stuck
        news = progress | stuck
        self._reference = torch.where(news, gap, self._reference)
        self._since = torch.where(news, float(iteration), self._since)
        self._rises = torch.where(news, 0.0, self._rises)
        return given_up
