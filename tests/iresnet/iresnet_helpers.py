"""Small networks and operators for the tests of iresnet."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from invreg.components.certificate import StabilityCertificate
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.iresnet import IResNet


class Smooth(LinearOperator):
    """A mild self-adjoint mean over neighbours, from X to X."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.7 * x + 0.15 * (x.roll(1, -1) + x.roll(-1, -1))


SMALL: dict[str, Any] = {"subnetworks": 3, "channels": 4, "hidden": 6, "padding": 2}


def network(
    operator: Operator | None = None, image_shape: Shape = (1, 10, 12), *, seed: int = 0, **parameters: Any
) -> IResNet:
    """A small network with strong random weights, whose constraints are all active, in float64 and evaluation mode."""
    torch.manual_seed(seed)
    net = IResNet(**SMALL | parameters)
    net.setup(Problem(operator or Smooth()), image_shape)
    assert net.residuals is not None
    with torch.no_grad():
        net.residuals.kernels.normal_()
        net.residuals.mixings.normal_()
        net.residuals.hidden_biases.normal_(std=0.05)
        net.residuals.output_biases.normal_(std=0.05)
        net.residuals.log_thresholds.fill_(math.log(0.05) / 3)
    return net.double().eval()


def stack_of(net: IResNet) -> Any:
    """The stack of residual functions of a network that is set up."""
    assert net.residuals is not None
    return net.residuals


def grid_norm(kernel: Tensor, points: int) -> float:
    """The largest singular value of the symbol of a kernel `[out, in, k, k]` on n x n frequencies, in float64."""
    symbols = torch.fft.fft2(kernel.detach().double(), s=(points, points)).permute(2, 3, 0, 1)
    return float(torch.linalg.matrix_norm(symbols, ord=2).max())


def grid_factor(kernel_size: int, points: int) -> float:
    """cos(pi m / n)^-2, m = (k - 1)/2: no frequency exceeds the maximum over the n x n grid by more than this factor.

    Infinite for n <= 2m, where a grid says nothing.
    """
    half = (kernel_size - 1) / 2
    return math.cos(math.pi * half / points) ** -2 if points > 2 * half else math.inf


def explicit(image_shape: tuple[int, int, int] = (1, 10, 12), *, seed: int = 0, **parameters: Any) -> ExplicitIResNet:
    """A small explicit network with strong random weights, in float64 and evaluation mode."""
    torch.manual_seed(seed)
    given: dict[str, Any] = {"subnetworks": 5, "channels": 4, "hidden": 6, "padding": 2, "lipschitz": 0.9}
    net = ExplicitIResNet(**given | parameters)
    net.setup(Problem(Smooth()), image_shape)
    stack = stack_of(net)
    with torch.no_grad():
        stack.kernels.normal_()
        stack.mixings.normal_()
        stack.hidden_biases.normal_(std=0.05)
        stack.output_biases.normal_(std=0.05)
        stack.log_thresholds.fill_(math.log(0.05) / 3)
    return net.double().eval()


def made(kind: str, **parameters: Any) -> Any:
    return network(**{"lipschitz": 0.9, **parameters}) if kind == "iresnet" else explicit(**parameters)


@cache
def certified(kind: str, *, single: bool = False, **parameters: Any) -> tuple[Any, StabilityCertificate]:
    """A final network in float64 (or float32) and its certificate, made once: tests leave both as they are."""
    net = made(kind, **parameters)
    net = net.float() if single else net
    net.finalise()
    return net, net.certificate()
