"""Networks as they are evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def as_evaluated(net: nn.Module) -> Iterator[None]:
    """Within this context the network is in evaluation mode and its weights need no gradients, which saves memory."""
    modes = [(module, module.training) for module in net.modules()]
    learned = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    try:
        net.eval()
        net.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in learned:
            parameter.requires_grad_(requires_grad)
