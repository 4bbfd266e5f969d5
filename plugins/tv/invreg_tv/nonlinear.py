"""Total variation for nonlinear operators, by Valkonen's extension of the primal-dual algorithm (NL-PDHGM)."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import Operator
from invreg_tv.iteration import Iteration, Look, minimise
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

    With dual variables y for the data and weight * p, |p| <= 1, for TV, one iteration is

        x⁺ = P_box(x - τ (F'(x)* y + weight gradient*(p))),            x̄ = 2 x⁺ - x
        y⁺ = (y + σ (F(x̄) - z)) / (1 + σ)
        p⁺ = P_{|.| <= 1}(p + ρ gradient(x̄) / weight)

    followed by over-relaxation, (x, y, p) + 1.5 ((x⁺, y⁺, p⁺) - (x, y, p)). The steps ρ = 16 weight, σ = 7 sqrt(weight)
    / ||F'||, but at least 0.2 and at most 0.4, and τ (σ ||F'||² + 8 ρ) = 0.99 were found by experiment; for volumes, 12
    takes the place of 8, the bound of ||gradient||². The problem is not convex, convergence is a local matter, and the
    answer depends on the start.

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
    state = _Iteration(operator, z, weight, start, box)
    return minimise(state, tolerance=tolerance, max_iterations=max_iterations, check_every=check_every)


class _Iteration(Iteration):
    """With the dual variable y of the data term.

    y⁺ is formed only where the gap is computed; the relaxed y follows from the residual directly.
    """

    def __init__(self, operator: Operator, z: Tensor, weight: float, start: Tensor, box: Box | None) -> None:
        super().__init__(z, weight, start, box)
        self._operator = operator
        self._y = operator(self.updates.x) - z
        self._residual_bar = self._y_next = self._y
        norm = NORM_MARGIN * derivative_norm(operator, self.updates.x)
        self._steps = _Steps(norm, weight, self.gradient_norm_squared)

    def advance(self, iteration: int, *, kept: bool) -> None:
        steps = self._steps
        data = self._operator.vjp(self.updates.x, self._y)
        self.updates.advance(data, self.weight, steps.tau, GRADIENT_STEP, steps.relaxation, kept=kept)
        self._residual_bar = self._operator(self.updates.x_bar) - self.z
        if kept:
            self._y_next = torch.lerp(self._y, self._residual_bar, _column(steps.data_share, self._y))
        self._y.lerp_(self._residual_bar, _column(steps.relaxation * steps.data_share, self._y))

    def look(self, tolerance: float) -> Look:
        x, y = self.updates.x_next, self._y_next
        return self.gap(x, y, self._operator(x) - self.z, self._operator.vjp(x, y), tolerance)

    def watch(self, look: Look, iteration: int) -> Tensor:
        return self._steps.watch(look, self.updates.x_bar, self._residual_bar, iteration)

    def select(self, rest: Tensor) -> None:
        super().select(rest)
        self._steps.select(rest)


class _Steps:
    """Step sizes of each image, and what makes them change.

    Attributes:
        tau: the primal steps, `[B]`.
        data_share: σ / (1 + σ) for the dual steps σ of the data term, `[B]`: how far its dual variable goes towards
            the residual.
        relaxation: over-relaxation, `[B]`.
    """

    def __init__(self, norm: Tensor, weight: float, gradient_norm_squared: float) -> None:
        self._weight, self._gradient = weight, gradient_norm_squared
        self._norm = norm
        self._sigma = (7 * weight**0.5 / norm).clamp(*DATA_STEPS)
        self.relaxation = torch.full_like(norm, RELAXATION)
        self._doublings = torch.zeros_like(norm)
        self._last = torch.full_like(norm, torch.inf)
        self._reference = torch.full_like(norm, torch.inf)  # the gap that was there at iteration `_since`
        self._since = torch.zeros_like(norm)
        self._rises = torch.zeros_like(norm)  # since then
        self._update()

    def watch(self, look: Look, x_bar: Tensor, residual_bar: Tensor, iteration: int) -> Tensor:
        """Adapts the steps to what is seen; returns which images are to be given up, booleans `[B]`.

        Args:
            look: what has been reached.
            x_bar: where F was evaluated in this iteration, `[B, C, H, W]`.
            residual_bar: F(x̄) - z, `[B, ...range]`.
            iteration: the number of this iteration.
        """
        self._watch_norm(lengths(residual_bar - look.residual), lengths(x_bar - look.x), lengths(look.x))
        given_up = self._watch_gap(look.gap, iteration)
        self._update()
        return given_up

    def select(self, rest: Tensor) -> None:
        """Keeps only the images at the positions `rest`."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rest])

    def _update(self) -> None:
        self.tau = 0.99 / (self._sigma * self._norm**2 + self._gradient * GRADIENT_STEP * self._weight)
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


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value per image, shaped to be broadcast over a batch like `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))
