"""Fixed points of contractions on batches of states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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

# In place of a norm of zero.
_TINY = torch.finfo(torch.float32).tiny


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


@dataclass(frozen=True)
class Correction:
    """What is added to the steps of an iteration, and to its answer.

    Attributes:
        of_step: from a residual r = g(x) - x, what is left from g(x) to the fixed point, about.
        steps: how many of the first steps are corrected: a prediction that was learned for large residuals would
            hinder small ones.
        of_answer: the same for the answer: it is closer to the fixed point then, in the mean; None for g(x) as it is.
    """

    of_step: Callable[[Tensor], Tensor]
    steps: int
    of_answer: Callable[[Tensor], Tensor] | None


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
        value: g(point), perhaps corrected, the answer: closer to the fixed point than `point` by one iteration.
        known: what else the evaluation at `point` gave.
        course: of the iteration.
        first: the start x and g(x), if they were to be kept.
        enough: how many evaluations would have been enough, if that is known; otherwise 0.
    """

    point: Tensor
    value: Tensor
    known: Tensor
    course: Course
    first: tuple[Tensor, Tensor] | None = None
    enough: int = 0


def solve(
    update: Update, start: Tensor, stopping: Stopping, correction: Correction | None = None, *, keep_first: bool = False
) -> Solution:
    """Iterates x <- g(x) for a contraction g, for each image of a batch `[B, M, H, W]` by itself.

    An image within the tolerance stays as it is while others go on: its result does not depend on its batch.

    Args:
        update: g.
        start: x.
        stopping: when to end.
        correction: of the steps.
        keep_first: whether the first step is kept; then there are two of them at least.
    """
    least = 2 if keep_first else 1
    if not stopping.tolerance or not len(start):
        return _repeat(update, start, max(least, stopping.max_iterations), correction, keep_first=keep_first)
    x, first, enough = start, None, 0
    shortest, fruitless = math.inf, 0
    for iteration in range(1, max(least, stopping.max_iterations) + 1):
        value, known = update(x)
        if keep_first and iteration == 1:
            first = x, value
        residual = value - x
        steps, sizes = torch.stack([_norms(residual), _norms(value)]).tolist()  # one transfer: each waits for the GPU
        relative = [step / size if size else step / _TINY for step, size in zip(steps, sizes, strict=True)]
        resting = [one <= stopping.tolerance for one in relative]
        worst = _largest(relative)
        longest = _largest([0.0 if rests else step for step, rests in zip(steps, resting, strict=True)])
        shortest, fruitless = (longest, 0) if longest < shortest else (shortest, fruitless + 1)
        status = _status(worst, fruitless, iteration, stopping)
        if status == "converged" and not enough:
            enough = iteration
        if status is not None and (iteration >= least or status == "not finite"):
            break
        going_on = value
        if correction is not None and iteration <= correction.steps:
            going_on = correction.of_step(residual).add_(value)
        if any(resting) and iteration >= least:
            at_rest = torch.tensor(resting, device=x.device)[:, None, None, None]
            going_on = torch.where(at_rest, x, going_on)
        x = going_on
    if correction is not None and correction.of_answer is not None:
        value = correction.of_answer(residual).add_(value)
    return Solution(x, value, known, Course(iteration, worst, status or "exhausted"), first, enough)


def _status(worst: float, fruitless: int, iteration: int, stopping: Stopping) -> Status | None:
    if worst <= stopping.tolerance:
        return "converged"
    if not math.isfinite(worst):
        return "not finite"
    if fruitless >= _PATIENCE:
        return "stalled"
    return "exhausted" if iteration == stopping.max_iterations else None


def _repeat(update: Update, x: Tensor, times: int, correction: Correction | None, *, keep_first: bool) -> Solution:
    first = None
    for iteration in range(1, times + 1):
        point = x
        x, known = update(point)
        if keep_first and iteration == 1:
            first = point, x
        if correction is not None:
            predict = correction.of_answer if iteration == times else correction.of_step
            if predict is not None:
                x = predict(x - point).add_(x)
    return Solution(point, x, known, Course(times, math.nan, "counted"), first)


def _norms(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(states, dim=(1, 2, 3))


def _largest(values: Sequence[float]) -> float:
    """The largest value, NaN if one is."""
    return math.nan if any(map(math.isnan, values)) else max(values)
