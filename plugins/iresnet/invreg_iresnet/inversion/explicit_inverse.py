"""A chain of explicit subnetworks Id + g_i for training: one node in the graph, with the derivative written out.

x_i = x_{i-1} + g_i(x_{i-1}), so a gradient w of x_i goes back to x_{i-1} as w + g_i'(x_{i-1})* w. As g_i is piecewise
affine, its hidden activations determine its derivative: the inputs x_{i-1} and the activations are all that is kept,
for three evaluations' worth of convolutions in a step, and no more memory traffic than these need.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from invreg_iresnet.axes import in_channels_last
from invreg_iresnet.inversion.accuracy import Accuracy
from invreg_iresnet.network.compiled import compiled
from invreg_iresnet.network.precision import arithmetic
from invreg_iresnet.network.residuals import Weights
from invreg_iresnet.network.subnetwork import plus, subnetworks
from invreg_iresnet.network.transforms import refuse_transforms


def apply_chain(z: Tensor, weights: Weights, accuracy: Accuracy) -> Tensor:
    """(Id + g_N) o ... o (Id + g_1) at states z `[B, M, *spatial]`, differentiable once: by z and the weights.

    To be called within `arithmetic`, without autocast; gradients, computed later, set both themselves.

    Args:
        z: states.
        weights: of all subnetworks.
        accuracy: its dtype is that of the convolutions; states and residuals keep that of z.
    """
    refuse_transforms("explicit_iresnet in training", z, *weights)
    x: Tensor = _Chain.apply(in_channels_last(z), accuracy, *weights)
    return x


class _Chain(torch.autograd.Function):
    """The chain as one node in the graph of autograd."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, accuracy: Accuracy, *stacks: Tensor) -> Tensor:
        ctx.chain, ctx.accuracy = subnetworks(Weights(*stacks), accuracy.dtype), accuracy
        points, hiddens, x = [], [], z
        for subnetwork in ctx.chain:
            narrow = x.to(accuracy.dtype)
            points.append(narrow)
            fast = compiled(subnetwork, x)
            if fast is None:
                hiddens.append(subnetwork.hidden(narrow))
                x = plus(x, subnetwork.output(hiddens[-1]))
            else:
                hiddens.append(fast.room(x))
                x = fast.evaluate(x, x, hiddens[-1], look=False).value
        ctx.save_for_backward(*points, *hiddens)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        chain, saved = ctx.chain, ctx.saved_tensors
        points, hiddens = saved[: len(chain)], saved[len(chain) :]
        w = in_channels_last(gradient)
        gradients = []
        with arithmetic(gradient.device, tf32=ctx.accuracy.tf32):
            for subnetwork, x, hidden in zip(reversed(chain), reversed(points), reversed(hiddens), strict=True):
                fast = compiled(subnetwork, w) if x.dtype == w.dtype else None
                u = w if fast else subnetwork.hidden_adjoint(w, hidden)
                if any(ctx.needs_input_grad[2:]):
                    found = fast.gradients(x, hidden, w) if fast else subnetwork.weight_gradients(x, hidden, w, u)
                    gradients.append(found)
                w = fast.adjoint(w, hidden, w, look=False).value if fast else plus(w, subnetwork.adjoint(u))
        stacks = [torch.stack(stack) for stack in zip(*gradients[::-1], strict=True)] or len(Weights._fields) * [None]
        return w, None, *stacks
