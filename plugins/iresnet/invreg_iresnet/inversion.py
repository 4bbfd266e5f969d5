"""The inverse of a chain of subnetworks, and its derivative by the implicit function theorem.

With phi = phi_1 o ... o phi_N and phi_i = Id - f_i, the inverse takes z = x_0 to x_N by x_i = x_{i-1} + f_i(x_i): a fixed
point of a contraction for each subnetwork, phi_1 first. Differentiating these equations, a gradient g of x_i goes back to
x_{i-1} as the w with w = g + f_i'(x_i)* w, the fixed point of another contraction, and to the weights of f_i by the adjoint
of their derivative, applied to w. So x_i and the hidden activations of f_i(x_i) are all that has to be kept, however many
iterations it took to find them.

Source: Arndt & Nickel 2024, sections 2 and 4.1 (implicit gradients after Bai, Kolter & Koltun 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from invreg_iresnet.fixed_point import Course, Solution, Stopping, solve
from invreg_iresnet.precision import without_tf32
from invreg_iresnet.residuals import Weights
from invreg_iresnet.subnetwork import Subnetwork, subnetworks
import os


@dataclass(frozen=True)
class Accuracy:
    """How accurately a chain is inverted.

    Attributes:
        forward: when the fixed points x_i end.
        backward: when the fixed points w of the gradients end.
        dtype: of the convolutions; states and residuals keep the dtype of z.
        tf32: whether a GPU may round float32 convolutions to TF32.
    """

    forward: Stopping
    backward: Stopping
    dtype: torch.dtype
    tf32: bool

    def arithmetic(self) -> AbstractContextManager[None]:
        return nullcontext() if self.tf32 else without_tf32()


def invert_chain(z: Tensor, weights: Weights, accuracy: Accuracy) -> tuple[Tensor, list[Course]]:
    """phi^-1(z) and the course of each iteration; differentiable, once, with respect to z and the weights.

    Args:
        z: states, `[B, M, H, W]`.
        weights: of all subnetworks.
        accuracy: how accurately.
    """
    courses: list[Course] = []
    z = z.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (z, *weights)):
        return ChainInverse.apply(z, accuracy, courses, *weights), courses
    for solution in _fixed_points(z, subnetworks(weights, accuracy.dtype), accuracy, courses):
        z = solution.value
    return z, courses


class ChainInverse(torch.autograd.Function):
    """phi^-1 as one node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, accuracy: Accuracy, courses: list[Course], *stacks: Tensor) -> Tensor:
        chain = subnetworks(Weights(*stacks), accuracy.dtype)
        solutions = list(_fixed_points(z, chain, accuracy, courses))
        ctx.chain, ctx.accuracy = chain, accuracy
        ctx.stacks = stacks
        ctx.save_for_backward(*(s.point.to(accuracy.dtype) for s in solutions), *(s.known for s in solutions))
        return solutions[-1].value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        chain, accuracy = ctx.chain, ctx.accuracy
        points, hiddens = ctx.saved_tensors[: len(chain)], ctx.saved_tensors[len(chain) :]
        for_weights = any(ctx.needs_input_grad[3:])
        gradients = [torch.empty_like(s) for s in ctx.stacks]
        g = gradient.contiguous(memory_format=torch.channels_last)
        prev = None; dec=0
        V=os.environ.get('VB','z')
        with accuracy.arithmetic():
            for i in reversed(range(len(chain))):
                net, hidden = chain[i], hiddens[i]

                def update(w: Tensor) -> tuple[Tensor, Tensor]:
                    u = net.hidden_adjoint(w, hidden)
                    return g + net.adjoint(u), u

                start = g if prev is None or V=='z' else 2*g-prev
                sol = solve(update, start, accuracy.backward)
                prev = g
                BW.append((sol.iterations, sol.residual))
                w = sol.value
                if for_weights:
                    for stack, gr in zip(gradients, net.weight_gradients(points[i], hidden, w, net.hidden_adjoint(w, hidden))):
                        stack[i] = gr
                g = w
        return g, None, None, *gradients

BW=[]
def _fixed_points(z: Tensor, chain: list[Subnetwork], accuracy: Accuracy, courses: list[Course]) -> Iterator[Solution]:
    previous = prev2= None
    V=os.environ.get('V','same')
    with accuracy.arithmetic():
        for net in chain:

            def update(x: Tensor) -> tuple[Tensor, Tensor]:
                hidden = net.hidden(x)
                return z + net.output(hidden), hidden
            start = z
            if V=='same' and previous is not None: start = 2 * z - previous
            if V=='opp' and previous is not None: start = previous
            if V=='two' and prev2 is not None: start = z+previous-prev2
            solution = solve(update, start, accuracy.forward)
            courses.append(Course(solution.iterations, solution.residual, solution.status))
            yield solution
            previous, z, prev2 = z, solution.value, previous
