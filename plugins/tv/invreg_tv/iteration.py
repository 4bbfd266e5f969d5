"""The primal-dual iteration that linear and nonlinear operators share, on a batch that images leave when done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_tv.differences import gradient_norm_squared
from invreg_tv.polish import NEAR, polish
from invreg_tv.solution import Batch, Box, TVSolution, has_converged, primal_dual_gap
from invreg_tv.updates import Updates


class Look(NamedTuple):
    """The images still in the batch, after their gap has been computed.

    Attributes:
        x: the images, `[B, C, H, W]`.
        residual: F(x) - z, `[B, ...range]`.
        data_dual: the dual variable of the data term, likewise.
        tv_dual: that of TV, of the shape of the gradient, `[B, 2, C, H, W]`.
        gap: the primal-dual gap of these, `[B]`.
        objective: the objective at x, `[B]`.
    """

    x: Tensor
    residual: Tensor
    data_dual: Tensor
    tv_dual: Tensor
    gap: Tensor
    objective: Tensor


class Iteration(ABC):
    """The iterates of all images in the batch, and the steps from one to the next.

    Args:
        z: measurements, `[B, ...range]`.
        weight: weight of TV.
        start: images to start from, `[B, C, H, W]`.
        box: lowest and highest value of a pixel; None for no bounds.
    """

    def __init__(self, z: Tensor, weight: float, start: Tensor, box: Box | None) -> None:
        self.z, self.weight, self.box = z, weight, box
        self.bounds = box or (-torch.inf, torch.inf)
        axes = start.dim() - 2
        self.gradient_norm_squared = gradient_norm_squared(axes)
        p = start.new_zeros((start.shape[0], axes, *start.shape[1:]))
        self.updates = Updates(start.clamp(*self.bounds), p, *self.bounds)

    @abstractmethod
    def advance(self, iteration: int, *, kept: bool) -> None:
        """One iteration; `kept` if it is to be looked at."""

    @abstractmethod
    def look(self, tolerance: float) -> Look:
        """What has been reached, and its gap."""

    def watch(self, look: Look, iteration: int) -> Tensor:
        """Adapts the steps to what is seen; returns which images are to be given up, booleans `[B]`."""
        return torch.zeros_like(look.gap, dtype=torch.bool)

    def select(self, rest: Tensor) -> None:
        """Keeps only the images at the positions `rest`."""
        self.updates = self.updates.select(rest)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rest])

    def gap(self, x: Tensor, y: Tensor, residual: Tensor, pulled_back: Tensor, tolerance: float = 0.0) -> Look:
        """The gap of x, y and p⁺, with a better p where that may bring it below the tolerance.

        Args:
            x: images.
            y: dual variable of the data term.
            residual: F(x) - z.
            pulled_back: F'(x)* y.
            tolerance: relative gap to reach; 0 if no better p is to be looked for.
        """
        p = self.updates.p_next
        gap, objective = primal_dual_gap(x, y, p, residual, pulled_back, self.weight, self.box)
        near = (gap > tolerance * objective) & (gap <= NEAR * tolerance * objective)
        rows = near.nonzero().squeeze(1)
        if len(rows):
            polished = polish(p[rows], pulled_back[rows], self.weight)
            smaller, _ = primal_dual_gap(
                x[rows], y[rows], polished, residual[rows], pulled_back[rows], self.weight, self.box
            )
            better = smaller < gap[rows]
            gap[rows[better]] = smaller[better]
            p = p.index_copy(0, rows[better], polished[better])
        return Look(x, residual, y, p, gap, objective)


@torch.no_grad()
def minimise(state: Iteration, *, tolerance: float, max_iterations: int, check_every: int) -> TVSolution:
    """Iterates until the gap of each image is below `tolerance` times its objective, or the image is given up.

    An image that is done leaves the batch: a batch costs what its images would cost one by one, and no image depends
    on the others.

    Args:
        state: the iteration at its start.
        tolerance: relative gap to reach.
        max_iterations: iterations after which an image is given up.
        check_every: iterations from one look at the gap to the next.

    Raises:
        ConvergenceError: if the iterates become NaN or infinite.
    """
    batch = Batch(len(state.z), state.z.device)
    pixels = math.prod(state.updates.x.shape[1:])
    for iteration in range(1, max_iterations + 1):
        kept = iteration % check_every == 0 or iteration == max_iterations
        state.advance(iteration, kept=kept)
        if not kept:
            continue
        look = state.look(tolerance)
        converged = has_converged(look.gap, look.objective, tolerance, state.z, state.weight, pixels)
        done = converged | state.watch(look, iteration) | (iteration == max_iterations)
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
    return batch.solution()
