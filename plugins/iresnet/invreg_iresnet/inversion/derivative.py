"""The derivative J of phi^-1 at a point, applied in both directions by fixed points.

With x_i = x_{i-1} + f_i(x_i), a tangent t_{i-1} goes on to the t_i with t_i = t_{i-1} + f_i'(x_i) t_i, and a gradient g
of x_i back to the w with w = g + f_i'(x_i)* w. Both are fixed points of contractions, and all that they need of x_i are
the hidden activations there. As residual functions are piecewise affine, J is constant near almost every point: what is
differentiated once more is not J, but v -> J* v, whose derivative is J.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from invreg_iresnet.axes import in_channels_last
from invreg_iresnet.inversion.accuracy import Accuracy
from invreg_iresnet.inversion.convergence import warn_if_short
from invreg_iresnet.inversion.fixed_point import Correction, Course, Solution, Update, solve
from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.network.compiled import CompiledSubnetwork, Step, compiled
from invreg_iresnet.network.precision import arithmetic
from invreg_iresnet.network.subnetwork import Subnetwork, plus


def adjoint_fixed_points(
    gradient: Tensor,
    chain: Sequence[Subnetwork],
    hiddens: Sequence[Tensor],
    accuracy: Accuracy,
    starts: LearnedStarts,
    *,
    learn: bool = False,
) -> Iterator[Solution]:
    """The gradients of x_{N-1}, ..., x_0, one after the other, for a gradient of x_N.

    To be called within `arithmetic`.

    Args:
        gradient: `[B, M, *spatial]`.
        chain: subnetworks, phi_1 first.
        hiddens: the hidden activations of each f_i(x_i).
        accuracy: the accuracy of the fixed points.
        starts: where iterations start.
        learn: whether to learn from where they end.
    """
    path = [in_channels_last(gradient)]
    corrections = starts.predictions(accuracy.corrected)
    stoppings, lesson = starts.plan(path[0], accuracy.backward) if learn else (len(chain) * [accuracy.backward], None)
    backwards = zip(reversed(chain), reversed(hiddens), stoppings, corrections, strict=True)
    for number, (subnetwork, hidden, stopping, correction) in enumerate(backwards, 1):
        start = starts.start(number, path)
        update = _adjoint_update(subnetwork, hidden, path[-1])
        solution = solve(update, start, stopping, correction, keep_first=lesson is not None)
        if lesson:
            lesson.add(solution)
        yield solution
        path = [path[-1], solution.value]
    if lesson:
        starts.learn(lesson)


def warn_if_inaccurate(courses: Sequence[Course], accuracy: Accuracy) -> None:
    """Warns of derivatives that did not reach their tolerance; of each subnetwork, phi_1 first."""
    # A gradient that is not finite is passed on: loss scaling relies on some, and trainers check what they get.
    warn_if_short(
        courses,
        what="a gradient of the reconstruction",
        tolerance=accuracy.backward.tolerance,
        bound=accuracy.bound,
        dtype=accuracy.dtype,
    )


class AdjointDerivative(torch.autograd.Function):
    """v -> J* v as a node in the graph of autograd; its derivative is t -> J t."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, chain: list[Subnetwork], accuracy: Accuracy, starts: LearnedStarts, *hiddens: Tensor
    ) -> Tensor:
        ctx.chain, ctx.accuracy = chain, accuracy
        ctx.save_for_backward(*hiddens)
        with arithmetic(v.device, tf32=accuracy.tf32):
            solutions = list(adjoint_fixed_points(v, chain, hiddens, accuracy, starts))
        warn_if_inaccurate([solution.course for solution in reversed(solutions)], accuracy)
        return solutions[-1].value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
        chain, accuracy, hiddens = ctx.chain, ctx.accuracy, ctx.saved_tensors
        t = in_channels_last(tangent)
        courses = []
        with arithmetic(t.device, tf32=accuracy.tf32):
            for subnetwork, hidden in zip(chain, hiddens, strict=True):
                solution = solve(_tangent_update(subnetwork, hidden, t), t, accuracy.backward)
                courses.append(solution.course)
                t = solution.value
        warn_if_inaccurate(courses, accuracy)
        return t, None, None, None, *len(hiddens) * [None]


def _adjoint_update(subnetwork: Subnetwork, hidden: Tensor, g: Tensor) -> Update:
    """w -> g + f'(x)* w, at the x with these hidden activations."""
    fast = compiled(subnetwork, g)
    if fast is not None:
        return _CompiledAdjoint(fast, hidden, g)

    def update(w: Tensor) -> tuple[Tensor, Tensor]:
        u = subnetwork.hidden_adjoint(w, hidden)
        return plus(g, subnetwork.adjoint(u)), u

    return update


@dataclass(frozen=True)
class _CompiledAdjoint:
    """The same, compiled; nothing else is kept."""

    subnetwork: CompiledSubnetwork
    hidden: Tensor
    g: Tensor

    def __call__(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return self.subnetwork.adjoint(w, self.hidden, self.g, look=False).value, w

    def step(self, w: Tensor, ahead: Tensor | None, *, look: bool) -> tuple[Step, Tensor]:
        return self.subnetwork.adjoint(w, self.hidden, self.g, ahead, look=look, give=look or ahead is None), w

    def answer(self, w: Tensor, value: Tensor, correction: Correction) -> Tensor:
        return self.subnetwork.answer(w, value, correction.matrix, correction.taps)


def gradients_of(subnetwork: Subnetwork, x: Tensor, hidden: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the weights of f where its value has the gradient w, at x with these hidden activations."""
    fast = compiled(subnetwork, w) if x.dtype == w.dtype else None
    if fast is not None:
        return fast.gradients(x, hidden, w)
    return subnetwork.weight_gradients(x, hidden, w, subnetwork.hidden_adjoint(w, hidden))


def _tangent_update(subnetwork: Subnetwork, hidden: Tensor, t: Tensor) -> Update:
    """s -> t + f'(x) s, at the x with these hidden activations."""

    def update(s: Tensor) -> tuple[Tensor, Tensor]:
        u = subnetwork.hidden_tangent(s, hidden)
        return t + subnetwork.mixed(u), u

    return update
