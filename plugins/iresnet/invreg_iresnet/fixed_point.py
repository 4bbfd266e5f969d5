"""Fixed points of contractions on batches of states."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

#: Maps a batch of states x to (g(x), what else is known of the evaluation).
Update = Callable[[Tensor], tuple[Tensor, Tensor]]

#: How an iteration ended: within its tolerance; without a look at it, by a fixed count; at its largest number of
#: iterations; where rounding stops all progress; with values that are not finite.
Status = Literal["converged", "counted", "exhausted", "stalled", "not finite"]

# Steps of a contraction get shorter and shorter. Only rounding can make them stop doing so.
_PATIENCE = 3


@dataclass(frozen=True)
class Stopping:
    """When a fixed-point iteration ends.

    Attributes:
        tolerance: the relative residual ||g(x) - x|| / ||g(x)|| that every image of the batch must reach; 0 does exactly
            `max_iterations` and measures nothing.
        max_iterations: the largest number of evaluations of g.
    """

    tolerance: float
    max_iterations: int


class Course(NamedTuple):
    iterations: int
    residual: float
    status: Status


class Solution(NamedTuple):
    """The end of an iteration.

    Attributes:
        point: where g was evaluated last.
        value: g(point): one iteration closer to the fixed point, and the answer.
        known: what else the evaluation at `point` gave.
        iterations: evaluations of g.
        residual: ||value - point|| / ||value|| of the worst image; NaN if not measured.
        status: how it ended.
    """

    point: Tensor
    value: Tensor
    known: Tensor
    iterations: int
    residual: float
    status: Status


def solve(update: Update, start: Tensor, stopping: Stopping) -> Solution:
    """Iterates x <- g(x) to the fixed point of a contraction g, each image of a batch for itself.

    An image that is within the tolerance rests at its point while others go on: what becomes of it does not depend on
    the batch that it is in.
    """
    if not stopping.tolerance or not len(start):
        return _repeat(update, start, stopping.max_iterations)
    x = start
    shortest, fruitless = math.inf, 0
    for iteration in range(1, stopping.max_iterations + 1):
        value, known = update(x)
        steps, sizes = _norms(value - x), _norms(value)
        residuals = steps / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
        done = residuals <= stopping.tolerance
        summary = [residuals.max(), steps.masked_fill(done, 0).max(), done.sum()]
        worst, longest, resting = torch.stack(summary).tolist()  # together: a GPU is waited for only once
        if worst <= stopping.tolerance:
            return Solution(x, value, known, iteration, worst, "converged")
        if not math.isfinite(worst):
            return Solution(x, value, known, iteration, worst, "not finite")
        shortest, fruitless = (longest, 0) if longest < shortest else (shortest, fruitless + 1)
        if fruitless == _PATIENCE:
            return Solution(x, value, known, iteration, worst, "stalled")
        if iteration < stopping.max_iterations:
            x = torch.where(done[:, None, None, None], x, value) if resting else value
    return Solution(x, value, known, stopping.max_iterations, worst, "exhausted")


def _repeat(update: Update, x: Tensor, times: int) -> Solution:
    for _ in range(times - 1):
        x, _known = update(x)
    value, known = update(x)
    return Solution(x, value, known, times, math.nan, "counted")


def _norms(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(states, dim=(1, 2, 3))
