"""Convolutions with their initial weights."""

from __future__ import annotations

import math

from torch import nn


def convolution(
    channels_in: int,
    channels_out: int,
    kernel_size: int,
    *,
    stride: int = 1,
    slope: float = 1.0,
    scale: float = 1.0,
) -> nn.Conv2d:
    """A zero-padded convolution with bias that keeps the size of images (divided by the stride, rounded up).

    Args:
        channels_in: channels of what it is given.
        channels_out: channels of what it returns.
        kernel_size: odd.
        stride: pixels from one output to the next.
        slope: of the leaky ReLU that follows, for negative numbers; 0 for a ReLU, 1 for none. Weights are drawn so that
            the size of the numbers is kept through both (He et al. 2015); biases are zero.
        scale: times those weights.
    """
    conv = nn.Conv2d(channels_in, channels_out, kernel_size, stride, kernel_size // 2)
    std = scale * math.sqrt(2 / (1 + slope**2) / (channels_in * kernel_size**2))
    nn.init.normal_(conv.weight, 0, std)
    nn.init.constant_(conv.get_parameter("bias"), 0)
    return conv
