"""Fixed points of contractions on batches of states."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

#: Maps a batch of states x to g(x) and what else of its evaluation is kept.
Update = Callable[[Tensor], tuple[Tensor, Tensor]]

#: How an iteration ended: every image within the tolerance; after a fixed count, without a look; at the largest
#: number of iterations; where rounding stops all progress; at values that are not finite.
Status = Literal["converged", "counted", "exhausted", "stalled", "not finite"]

# The steps of a contraction get shorter with each iteration. If several in a row do not, that is rounding.
_PATIENCE = 3


@dataclass(frozen=True)
class Stopping:
    """When a fixed-point iteration ends.

    Attributes:
        tolerance: the relative residual ||g(x) - x|| / ||g(x)|| that every image of the batch must reach; 0 stands for
            exactly `max_iterations` evaluations, without a look at the residual.
        max_iterations: the largest number of evaluations of g.
    """

    tolerance: float
    max_iterations: int


class Course(NamedTuple):
    """The course of an iteration.

    Attributes:
        iterations: evaluations of g.
        residual: the last relative residual, of the worst image of the batch; NaN if none was measured.
        status: how it ended.
    """

    iterations: int
    residual: float
    status: Status


class Solution(NamedTuple):
    """Where an iteration ended.

    Attributes:
        point: where g was evaluated last.
        value: g(point), the answer: closer to the fixed point than `point` by one iteration.
        known: what else the evaluation at `point` gave.
        course: of the iteration.
    """

    point: Tensor
    value: Tensor
    known: Tensor
    course: Course


def solve(update: Update, start: Tensor, stopping: Stopping) -> Solution:
    """Iterates x <- g(x) for a contraction g, for each image of a batch `[B, M, H, W]` by itself.

    An image within the tolerance stays as it is while others go on: its result does not depend on its batch.
    """
    if not stopping.tolerance or not len(start):
        return _repeat(update, start, stopping.max_iterations)
    x = start
    shortest, fruitless = math.inf, 0
    for iteration in range(1, stopping.max_iterations + 1):
        value, known = update(x)
        steps, sizes = _norms(value - x), _norms(value)
        residuals = steps / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
        resting = residuals <= stopping.tolerance
        # Fetched in one transfer: each one waits for the GPU.
        worst, longest, count = torch.stack(
            [residuals.max(), steps.masked_fill(resting, 0).max(), resting.sum()]
        ).tolist()
        shortest, fruitless = (longest, 0) if longest < shortest else (shortest, fruitless + 1)
        status = _status(worst, fruitless, iteration, stopping)
        if status is not None:
            break
        x = torch.where(resting[:, None, None, None], x, value) if count else value
    return Solution(x, value, known, Course(iteration, worst, status or "exhausted"))


def _status(worst: float, fruitless: int, iteration: int, stopping: Stopping) -> Status | None:
    if worst <= stopping.tolerance:
        return "converged"
    if not math.isfinite(worst):
        return "not finite"
    if fruitless >= _PATIENCE:
        return "stalled"
    return "exhausted" if iteration == stopping.max_iterations else None


def _repeat(update: Update, x: Tensor, times: int) -> Solution:
    for _ in range(times - 1):
        x = update(x)[0]
    value, known = update(x)
    return Solution(x, value, known, Course(times, math.nan, "counted"))


def _norms(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(states, dim=(1, 2, 3))
