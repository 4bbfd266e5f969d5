"""Batch normalisation over a batch that several processes share."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from invreg import processes


def share_statistics(module: nn.Module) -> None:
    """Lets the layers of batch normalisation in a module see the parts of all processes.

    Their classes, weights and running statistics stay what they are. `torch.nn.SyncBatchNorm`, which does the same,
    replaces them and is for GPUs only.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = partial(_normalised, layer)  # type: ignore[method-assign]


def unshare_statistics(module: nn.Module) -> None:
    """Undoes `share_statistics`."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.__dict__.pop("forward", None)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each of their losses depends on it."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return processes().sum(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return processes().sum(gradients[0])


def _normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    """What the layer gives for this part of the batch."""
    if not layer.training:
        return type(layer).forward(layer, x)
    axes = [0, *range(2, x.ndim)]
    values = x.float()  # as batch normalisation does where autocast has made x smaller
    size = torch.full((1,), x.numel() / x.shape[1], device=x.device)
    # Two passes, as for a single process: sums of squares would cancel where the mean is large.
    sums = _Sum.apply(torch.cat([values.sum(axes), size]))
    count = sums[-1].detach()
    mean = _over_channels(sums[:-1] / count, x)
    variance = _Sum.apply((values - mean).square().sum(axes)) / count
    with torch.no_grad():
        _keep(layer, mean.flatten(), variance * count / (count - 1))
    found = (values - mean) * _over_channels(torch.rsqrt(variance + layer.eps), x)
    if layer.affine:
        found = found * _over_channels(layer.weight, x) + _over_channels(layer.bias, x)
    return found.to(x.dtype)


def _over_channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))


def _keep(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Updates the running statistics."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean += share * (mean - layer.running_mean)
    layer.running_var += share * (variance - layer.running_var)
