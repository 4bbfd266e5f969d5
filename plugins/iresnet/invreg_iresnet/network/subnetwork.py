"""One residual function: its evaluation, and the adjoint of its derivative, step by step."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight, conv3d_weight

from invreg import ConvergenceError
from invreg_iresnet.axes import channels_first, convolved, per_channel, pixels_last, rows
from invreg_iresnet.network.adjoint import convolution_adjoint
from invreg_iresnet.network.residuals import START_THRESHOLD, Weights

#: What to try when weights are not finite.
DIVERGED = "training diverged: a smaller lr (and muon_lr), a longer warmup, or the weights of an earlier step"


class Subnetwork(NamedTuple):
    """f = W S K with fixed weights, in the dtype of its convolutions; nothing here is recorded by autograd.

    f is piecewise affine: where the hidden activations h = S(K x) vanish, S is flat, elsewhere it has slope 1. So h
    is all that the derivative f'(x) depends on.

    Attributes:
        kernel: `[H, M, k, k]`, for volumes `[H, M, k, k, k]`.
        hidden_bias: `[H]`.
        mixing: `[M, H, 1, 1]`, for volumes `[M, H, 1, 1, 1]`.
        output_bias: `[M]`.
        threshold: a number on the host, as the fused shrinkage of torch takes it.
    """

    kernel: Tensor
    hidden_bias: Tensor
    mixing: Tensor
    output_bias: Tensor
    threshold: float

    @property
    def padding(self) -> int:
        return self.kernel.shape[-1] // 2

    def hidden(self, x: Tensor) -> Tensor:
        """h = S(K x)."""
        hidden = convolved(x.to(self.kernel.dtype), self.kernel, self.hidden_bias, padding=self.padding)
        return torch.ops.aten.softshrink.out(hidden, self.threshold, out=hidden)

    def output(self, hidden: Tensor) -> Tensor:
        """f(x) = W h + b, in the dtype of the convolutions."""
        return self.mixed(hidden).add_(per_channel(self.output_bias, hidden.ndim - 2))

    def mixed(self, hidden: Tensor) -> Tensor:
        """W h = f(x) - b, for callers that have added b already: adding b takes as long as W."""
        return _per_pixel(hidden, self.mixing.flatten(1))

    def hidden_adjoint(self, w: Tensor, hidden: Tensor) -> Tensor:
        """u = S'(K x) W* w: the gradient w of f(x) brought back to K x."""
        u = _per_pixel(w.to(self.mixing.dtype), self.mixing.flatten(1).T)
        # The shrinkage is flat exactly where it gave zero, which this (shrinkage to 0, fused) reads off h.
        return torch.ops.aten.softshrink_backward.grad_input(u, hidden, 0.0, grad_input=u)

    def hidden_tangent(self, t: Tensor, hidden: Tensor) -> Tensor:
        """u = S'(K x) K t: the tangent t of x brought to the hidden activations; f'(x) t = W u."""
        u = convolved(t.to(self.kernel.dtype), self.kernel, padding=self.padding)
        return torch.ops.aten.softshrink_backward.grad_input(u, hidden, 0.0, grad_input=u)

    def adjoint(self, u: Tensor) -> Tensor:
        """K* u; together, f'(x)* w = K* S'(K x) W* w."""
        return convolution_adjoint(u, self.kernel)

    def weight_gradients(self, x: Tensor, hidden: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the fields, in their order and in the dtype of w.

        Args:
            x: where f was evaluated.
            hidden: h there.
            w: the gradient of f(x).
            u: what `hidden_adjoint` gave for it.
        """
        narrow = w.to(u.dtype)
        kernel_gradient = conv2d_weight if self.kernel.ndim == 4 else conv3d_weight
        pixels = (0, *range(2, x.ndim))
        return (
            kernel_gradient(x, self.kernel.shape, u, padding=self.padding).to(w.dtype),
            u.sum(pixels, dtype=w.dtype),
            (rows(narrow).T @ rows(hidden)).view_as(self.mixing).to(w.dtype),
            w.sum(pixels),
            -_dot(hidden.sign(), u).to(w.dtype),
        )


def subnetworks(weights: Weights, dtype: torch.dtype) -> list[Subnetwork]:
    """All subnetworks with constant weights in `dtype`.

    Raises:
        ConvergenceError: if a threshold is not a number, or beyond those of the dtype.
    """
    *stacks, thresholds = (stack.detach() for stack in weights)
    values = thresholds.tolist()
    largest = torch.finfo(dtype).max
    for number, value in enumerate(values, 1):
        if not 0 <= value <= largest:  # nor NaN
            raise ConvergenceError(
                f"the threshold of the shrinkage is {value:.4g}",
                where=f"invertible network, subnetwork {number} of {len(values)}",
                expected=f"a finite number; its start is {START_THRESHOLD:g}",
                hint=DIVERGED,
            )
    kernels, hidden_biases, mixings, output_biases = (stack.to(dtype) for stack in stacks)
    return [Subnetwork(*one) for one in zip(kernels, hidden_biases, mixings, output_biases, values, strict=True)]


def plus(state: Tensor, of_f: Tensor) -> Tensor:
    """state + of_f in the dtype of the state; in place of what f gave, where it can be."""
    return of_f.add_(state) if of_f.dtype == state.dtype else state + of_f


def _per_pixel(x: Tensor, matrix: Tensor) -> Tensor:
    """A 1x1 convolution as a matrix product: in the channels-last layout, pixels are the rows of a matrix.

    A product alone is up to three times as fast as one with a bias (measured on a CPU, few channels).
    """
    return channels_first(F.linear(pixels_last(x), matrix))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of all values; in one pass where their dtype is that of sums."""
    if a.dtype in (torch.float32, torch.float64):
        return torch.dot(rows(a).flatten(), rows(b).flatten())
    return (a * b).sum(dtype=torch.float32)
