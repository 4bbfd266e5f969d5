"""The inverse of a chain of subnetworks, and its derivative by the implicit function theorem.

With phi = phi_1 o ... o phi_N and phi_i = Id - f_i, the inverse takes z = x_0 to x_N by x_i = x_{i-1} + f_i(x_i): a
fixed point of a contraction for each subnetwork, phi_1 first. Differentiating these equations, a gradient g of x_i goes
back to x_{i-1} as the w with w = g + f_i'(x_i)* w, the fixed point of another contraction, and to the weights of f_i by
the adjoint of their derivative, applied to w. So x_i and the hidden activations of f_i(x_i) are all that has to be
kept, however many iterations it took to find them.

Source: Arndt & Nickel 2024, sections 2 and 4.1 (implicit gradients after Bai, Kolter & Koltun 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from invreg_iresnet.axes import in_channels_last, per_channel
from invreg_iresnet.inversion.accuracy import Accuracy
from invreg_iresnet.inversion.convergence import not_finite
from invreg_iresnet.inversion.derivative import (
    AdjointDerivative,
    adjoint_fixed_points,
    gradients_of,
    warn_if_inaccurate,
)
from invreg_iresnet.inversion.fixed_point import Correction, Course, Solution, Update, solve
from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.network.compiled import CompiledSubnetwork, Step, compiled
from invreg_iresnet.network.precision import arithmetic
from invreg_iresnet.network.residuals import Weights
from invreg_iresnet.network.subnetwork import Subnetwork, plus, subnetworks
from invreg_iresnet.network.transforms import refuse_transforms


@dataclass(frozen=True)
class Inversion:
    """phi^-1(z) and how it was found.

    Attributes:
        x: the state `[B, M, *spatial]`.
        courses: the iteration of each subnetwork, phi_1 first.
    """

    x: Tensor
    courses: tuple[Course, ...]

    @property
    def iterations(self) -> tuple[int, ...]:
        """Evaluations of each residual function."""
        return tuple(course.iterations for course in self.courses)

    @property
    def residuals(self) -> tuple[float, ...]:
        """For each subnetwork, ||x_{i-1} + f_i(x) - x|| / ||x_{i-1} + f_i(x)|| of the worst image.

        x is the last iterate at which f_i was evaluated; the answer is one iteration further, and so its own residual
        is smaller, by the contraction of f_i.
        """
        return tuple(course.residual for course in self.courses)

    @property
    def converged(self) -> bool:
        """Whether every image has reached the tolerance in every subnetwork."""
        return all(course.status == "converged" for course in self.courses)


class Starts(NamedTuple):
    """Where iterations start.

    Attributes:
        forward: those of the states.
        backward: those of the gradients.
        learn: whether to learn from where they end.
    """

    forward: LearnedStarts
    backward: LearnedStarts
    learn: bool


def invert_chain(z: Tensor, weights: Weights, accuracy: Accuracy, starts: Starts | None = None) -> Inversion:
    """phi^-1(z), differentiable with respect to z and the weights: once; twice where the weights are constants.

    To be called within `arithmetic`, without autocast; gradients, computed later, set both themselves.

    Args:
        z: states, `[B, M, *spatial]`.
        weights: of all subnetworks.
        accuracy: of the fixed points and of their gradients.
        starts: where iterations start; those of untrained networks if left out.

    Raises:
        ConvergenceError: if values are not finite.
        InvregError: within torch.func.
    """
    refuse_transforms("invertible network, fixed points", z, *weights)
    courses: list[Course] = []
    z = in_channels_last(z)
    if starts is None:
        starts = untrained_starts(len(weights.kernels), z)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (z, *weights)):
        x = _ChainInverse.apply(z, accuracy, starts, courses, *weights)
    else:
        for solution in _fixed_points(z, subnetworks(weights, accuracy.dtype), accuracy, starts.forward, keep=False):
            courses.append(solution.course)
        x = solution.value
    return Inversion(x, tuple(courses))


def untrained_starts(subnetworks: int, state: Tensor) -> Starts:
    """The starts of an untrained network, for states like this one; they do not learn."""
    forward, backward = (LearnedStarts(subnetworks, state.shape[1], state.ndim - 2).to(state) for _ in range(2))
    return Starts(forward, backward, learn=False)


class _ChainInverse(torch.autograd.Function):
    """phi^-1 as one node in the graph of autograd."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, accuracy: Accuracy, starts: Starts, courses: list[Course], *stacks: Tensor
    ) -> Tensor:
        ctx.chain, ctx.accuracy, ctx.starts = subnetworks(Weights(*stacks), accuracy.dtype), accuracy, starts
        points, hiddens = [], []
        for solution in _fixed_points(z, ctx.chain, accuracy, starts.forward, learn=starts.learn):
            courses.append(solution.course)
            points.append(solution.point.to(accuracy.dtype))
            hiddens.append(solution.known)
        ctx.save_for_backward(*points, *hiddens)
        return solution.value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not any(ctx.needs_input_grad[4:]):
            hiddens = ctx.saved_tensors[len(ctx.chain) :]
            pulled = AdjointDerivative.apply(gradient, ctx.chain, ctx.accuracy, ctx.starts.backward, *hiddens)
            return pulled, None, None, None, *len(Weights._fields) * [None]
        return _ChainInverse._backward(ctx, gradient)

    @staticmethod
    @once_differentiable
    def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        chain, accuracy, starts, saved = ctx.chain, ctx.accuracy, ctx.starts, ctx.saved_tensors
        points, hiddens = saved[: len(chain)], saved[len(chain) :]
        courses, gradients = [], []
        with arithmetic(gradient.device, tf32=accuracy.tf32):
            solutions = adjoint_fixed_points(gradient, chain, hiddens, accuracy, starts.backward, learn=starts.learn)
            for subnetwork, x, hidden, solution in zip(
                reversed(chain), reversed(points), reversed(hiddens), solutions, strict=True
            ):
                courses.append(solution.course)
                if any(ctx.needs_input_grad[4:]):
                    gradients.append(gradients_of(subnetwork, x, hidden, solution.value))
        warn_if_inaccurate(courses[::-1], accuracy)
        stacks = [torch.stack(stack) for stack in zip(*gradients[::-1], strict=True)] or len(Weights._fields) * [None]
        return solution.value, None, None, None, *stacks


def _fixed_points(
    z: Tensor,
    chain: list[Subnetwork],
    accuracy: Accuracy,
    starts: LearnedStarts,
    *,
    learn: bool = False,
    keep: bool = True,
) -> Iterator[Solution]:
    """The fixed points x_1, ..., x_N, one after the other; with hidden activations if these are to be kept."""
    path = [z]
    corrections = starts.predictions(accuracy.corrected)
    stoppings, lesson = starts.plan(z, accuracy.forward) if learn else (len(chain) * [accuracy.forward], None)
    for number, (subnetwork, stopping, correction) in enumerate(zip(chain, stoppings, corrections, strict=True), 1):
        start = starts.start(number, path)
        solution = solve(
            update_of(subnetwork, path[-1], keep=keep), start, stopping, correction, keep_first=lesson is not None
        )
        if solution.course.status == "not finite":
            raise not_finite(number, len(chain), subnetwork, path[-1], solution.course, accuracy.bound)
        if lesson:
            lesson.add(solution)
        yield solution
        path = [path[-1], solution.value]
    if lesson:
        starts.learn(lesson)


def update_of(subnetwork: Subnetwork, z: Tensor, *, keep: bool) -> Update:
    """x -> z + f(x), with the hidden activations at x if these are to be kept."""
    fast = compiled(subnetwork, z)
    if fast is not None:
        return _CompiledUpdate(fast, z, keep)
    shifted = z + per_channel(subnetwork.output_bias, z.ndim - 2)

    def update(x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = subnetwork.hidden(x)
        return plus(shifted, subnetwork.mixed(hidden)), hidden

    return update


@dataclass(frozen=True)
class _CompiledUpdate:
    """The same, compiled."""

    subnetwork: CompiledSubnetwork
    z: Tensor
    keep: bool

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        step, hidden = self._step(x, None, self.keep, look=False)
        return step.value, hidden

    def step(self, x: Tensor, ahead: Tensor | None, *, look: bool) -> tuple[Step, Tensor]:
        return self._step(x, ahead, self.keep and look, look=look)

    def answer(self, x: Tensor, value: Tensor, correction: Correction) -> Tensor:
        return self.subnetwork.answer(x, value, correction.matrix, correction.taps)

    def _step(self, x: Tensor, ahead: Tensor | None, keep: bool, *, look: bool) -> tuple[Step, Tensor]:
        hidden = self.subnetwork.room(x) if keep else None
        step = self.subnetwork.evaluate(x, self.z, hidden, ahead, look=look, give=look or ahead is None)
        return step, x if hidden is None else hidden
