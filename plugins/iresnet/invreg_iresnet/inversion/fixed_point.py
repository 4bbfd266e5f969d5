"""Fixed points of contractions on batches of states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from invreg_iresnet.axes import but_first, per_image
from invreg_iresnet.network.compiled import Step

#: Maps a batch of states x to g(x) and what else of its evaluation is kept.
Update = Callable[[Tensor], tuple[Tensor, Tensor]]


@runtime_checkable
class FusedUpdate(Protocol):
    """An update that makes what follows from g(x) in the same pass over memory."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As any update."""
        ...

    def step(self, x: Tensor, ahead: Tensor | None, *, look: bool) -> tuple[Step, Tensor]:
        """The step, and what else of its evaluation is kept: see `CompiledSubnetwork`."""
        ...

    def answer(self, x: Tensor, value: Tensor, correction: Correction) -> Tensor:
        """The corrected answer of a step from x to value."""
        ...


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
        matrix: the one, transposed, that `of_step` applies to the channels of each pixel, and `of_answer` as well.
        taps: the kernels, one for each channel, that `of_answer` applies besides.
    """

    of_step: Callable[[Tensor], Tensor]
    steps: int
    of_answer: Callable[[Tensor], Tensor] | None
    matrix: Tensor
    taps: Tensor


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
    """Iterates x <- g(x) for a contraction g, for each image of a batch `[B, M, *spatial]` by itself.

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
        corrects = correction if correction is not None and iteration <= correction.steps else None
        step = look(update, x, corrects)
        value, (steps, sizes) = step.value, step.norms
        if keep_first and iteration == 1:
            first = x, value
        relative = [one / size if size else one / _TINY for one, size in zip(steps, sizes, strict=True)]
        resting = [one <= stopping.tolerance for one in relative]
        worst = _largest(relative)
        longest = _largest([0.0 if rests else one for one, rests in zip(steps, resting, strict=True)])
        shortest, fruitless = (longest, 0) if longest < shortest else (shortest, fruitless + 1)
        status = _status(worst, fruitless, iteration, stopping)
        if status == "converged" and not enough:
            enough = iteration
        if status is not None and (iteration >= least or status == "not finite"):
            break
        going_on = step.going_on(corrects)
        if any(resting) and iteration >= least:
            at_rest = per_image(torch.tensor(resting, device=x.device), x)
            going_on = torch.where(at_rest, x, going_on)
        x = going_on
    if correction is not None and correction.of_answer is not None:
        if isinstance(update, FusedUpdate):
            value = update.answer(x, value, correction)
        else:
            value = correction.of_answer(value - x if step.residual is None else step.residual).add_(value)
    return Solution(x, value, step.known, Course(iteration, worst, status or "exhausted"), first, enough)


class Look(NamedTuple):
    """A step with its norms on the host.

    Attributes:
        value: g(x).
        known: what else the evaluation gave.
        further: where a corrected iteration goes on, if that was made with the step.
        residual: g(x) - x, if that was not.
        norms: of the residual and of g(x), for each image.
    """

    value: Tensor
    known: Tensor
    further: Tensor | None
    residual: Tensor | None
    norms: list[list[float]]

    def going_on(self, correction: Correction | None) -> Tensor:
        """Where the iteration goes on, corrected as the step was."""
        if self.further is not None:
            return self.further
        if correction is None or self.residual is None:
            return self.value
        return correction.of_step(self.residual).add_(self.value)


def look(update: Update, x: Tensor, correction: Correction | None) -> Look:
    """A step from x, which the correction is for."""
    if isinstance(update, FusedUpdate):
        step, known = update.step(x, None if correction is None else correction.matrix, look=True)
        assert step.norms is not None  # noqa: S101 (for mypy: they were asked for)
        return Look(step.value, known, step.further, None, step.norms.tolist())
    value, known = update(x)
    residual = value - x
    # One transfer: each waits for the GPU.
    return Look(value, known, None, residual, torch.stack([_norms(residual), _norms(value)]).tolist())


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
        if isinstance(update, FusedUpdate) and iteration < times and not (keep_first and iteration == 1):
            step, _ = update.step(point, None if correction is None else correction.matrix, look=False)
            x = step.value if step.further is None else step.further
            continue
        x, known = update(point)
        if keep_first and iteration == 1:
            first = point, x
        if correction is not None:
            predict = correction.of_answer if iteration == times else correction.of_step
            if predict is not None and iteration == times and isinstance(update, FusedUpdate):
                x = update.answer(point, x, correction)
            elif predict is not None:
                x = predict(x - point).add_(x)
    return Solution(point, x, known, Course(times, math.nan, "counted"), first)


def _norms(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(states, dim=but_first(states))


def _largest(values: Sequence[float]) -> float:
    """The largest value, NaN if one is."""
    return math.nan if any(map(math.isnan, values)) else max(values)
