"""An invertible residual network as a textbook would have it; what the library is measured against.

The network is that of `iresnet`: the same residual functions, the same states, the same bound. What differs is how it
is computed: layer by layer with autograd, tensors in the usual layout, float32, one warm power iteration per step for
each norm, and fixed points and implicit gradients solved to one and the same tolerance, from the start at z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invreg_iresnet.iresnet import IResNet
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.residuals import Weights

#: From f and z to the x with x = z + f(x), differentiable.
Inverse = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]

# Side of the images on which norms are iterated; small, which favours this network.
_POWER_SIZE = 32
_LOG_THRESHOLD_UNIT = 3.0


class Layer(NamedTuple):
    """The weights of one residual function, with their norms."""

    kernel: Tensor
    hidden_bias: Tensor
    mixing: Tensor
    output_bias: Tensor
    threshold: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        hidden = F.conv2d(x, self.kernel, self.hidden_bias, padding=self.kernel.shape[-1] // 2)
        hidden = hidden - hidden.clamp(-self.threshold, self.threshold)
        return F.conv2d(hidden, self.mixing, self.output_bias)


class Textbook(nn.Module):
    """phi^-1 between lifting and mean, trained as a textbook would.

    Args:
        net: the network whose sizes, bound and weights are taken.
        inverse: how x = z + f(x) is solved, and differentiated.
        lifting: that of the network if left out.
    """

    def __init__(self, net: IResNet, inverse: Inverse, lifting: Lifting | None = None) -> None:
        super().__init__()
        stack, self.inverse = net.residuals, inverse
        self.lifting, self.bound = lifting or net.lifting, net.residual_bound
        with torch.no_grad():
            weights = stack.evaluation_weights()
        tensors = weights._replace(thresholds=weights.thresholds.log() / _LOG_THRESHOLD_UNIT)
        # One parameter for each tensor of each layer: clones, in the usual layout.
        self.layers = nn.ModuleList(
            nn.ParameterList(nn.Parameter(stacked[index].detach().clone().contiguous()) for stacked in tensors)
            for index in range(len(stack))
        )
        kernels = weights.kernels
        vectors = torch.randn(len(stack), 1, kernels.shape[2], _POWER_SIZE, _POWER_SIZE)
        columns = torch.randn(len(stack), kernels.shape[1])
        self.register_buffer("vectors", vectors.to(kernels))
        self.register_buffer("columns", columns.to(kernels))
        self.iterate_norms(50)

    @torch.no_grad()
    def iterate_norms(self, times: int = 1) -> None:
        """Power iterations from where the last ones ended."""
        for (kernel, _, mixing, *_), vector, column in zip(self.layers, self.vectors, self.columns, strict=True):
            padding, matrix = kernel.shape[-1] // 2, mixing[:, :, 0, 0]
            for _ in range(times):
                found = F.conv_transpose2d(F.conv2d(vector, kernel, padding=padding), kernel, padding=padding)
                vector.copy_(found / found.norm())
                found = matrix.T @ (matrix @ column)
                column.copy_(found / found.norm())

    def normalised(self) -> list[Layer]:
        """The layers with norms of 1 and of the bound at most, by the last vectors."""
        layers = []
        for (kernel, hidden_bias, mixing, output_bias, log), vector, column in zip(
            self.layers, self.vectors, self.columns, strict=True
        ):
            kernel_norm = F.conv2d(vector, kernel, padding=kernel.shape[-1] // 2).norm()
            mixing_norm = (mixing[:, :, 0, 0] @ column).norm()
            mixing = mixing * (self.bound / mixing_norm).clamp_max(1)
            threshold = (_LOG_THRESHOLD_UNIT * log).exp()
            layers.append(Layer(kernel / kernel_norm, hidden_bias, mixing, output_bias, threshold))
        return layers

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions of measurements in X, `[B, C, H, W]`."""
        if self.training:
            self.iterate_norms()
        state = self.lifting.lift(z).contiguous()
        return self.lifting.unlift(invert(state, self.normalised(), self.inverse))


def layers_of(weights: Weights) -> list[Layer]:
    """The layers of stacked weights."""
    return [Layer(*one) for one in zip(*weights, strict=True)]


def invert(z: Tensor, layers: list[Layer], inverse: Inverse) -> Tensor:
    """phi^-1(z) for states, one layer after the other."""
    for layer in layers:
        z = inverse(layer, z)
    return z


def fixed_point(
    update: Callable[[Tensor], Tensor], x: Tensor, tolerance: float, most: int = 200, still: int = 3
) -> tuple[Tensor, int]:
    """Iterates until the relative residual of the worst image is at most the tolerance, and the iterations it took.

    Ends as well where `still` iterations in a row have not made the residual smaller.
    """
    smallest, since = float("inf"), 0
    for iteration in range(1, most + 1):
        value = update(x)
        residual = float(((value - x).flatten(1).norm(dim=1) / value.flatten(1).norm(dim=1)).max())
        x = value
        smallest, since = (residual, 0) if residual < smallest else (smallest, since + 1)
        if residual <= tolerance or since >= still:
            return x, iteration
    return x, most


def implicit(tolerance: float, backward: float | None = None, most: int = 200) -> Inverse:
    """Fixed point forward and backward; the derivative of f at the solution by autograd.

    Args:
        tolerance: of the solution.
        backward: of the gradient; that of the solution if left out.
        most: iterations of each.
    """

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        with torch.no_grad():
            x, _ = fixed_point(lambda x: z + f(x), z, tolerance, most)
        if not torch.is_grad_enabled():
            return x
        point = x.detach().requires_grad_()
        value = f(point)

        def solve(gradient: Tensor) -> Tensor:
            def update(w: Tensor) -> Tensor:
                return gradient + torch.autograd.grad(value, point, w, retain_graph=True)[0]

            return fixed_point(update, gradient, tolerance if backward is None else backward, most)[0]

        x = z + f(x)
        if x.requires_grad:
            x.register_hook(solve)
        return x

    return inverse


def unrolled(iterations: int) -> Inverse:
    """Fixed-point iterations that autograd differentiates one by one."""

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        x = z
        for _ in range(iterations):
            x = z + f(x)
        return x

    return inverse


def torchdeq_inverse(tolerance: float, backward: float | None = None, most: int = 60) -> Inverse | None:
    """Solver and implicit gradient of torchdeq; None if it is not installed.

    Args:
        tolerance: relative residual of the solution.
        backward: of the gradient; that of the solution if left out.
        most: iterations.
    """
    try:
        from torchdeq import get_deq
    except ImportError:
        return None
    backward = tolerance if backward is None else backward
    limits: dict[str, Any] = {"f_max_iter": most, "b_max_iter": most, "f_tol": tolerance, "b_tol": backward}
    deq = get_deq(ift=True, f_stop_mode="rel", b_stop_mode="rel", **limits)

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        deq.train(torch.is_grad_enabled())
        return deq(lambda x: z + f(x), z)[0][-1]

    return inverse
