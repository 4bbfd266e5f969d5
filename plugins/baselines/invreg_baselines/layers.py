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
    axes: int = 2,
) -> nn.Conv2d | nn.Conv3d:
    """A zero-padded convolution with bias that keeps the size of images (divided by the stride, rounded up).

    Args:
        channels_in: channels of what it is given.
        channels_out: channels of what it returns.
        kernel_size: odd.
        stride: pixels from one output to the next.
        slope: of the leaky ReLU that follows, for negative numbers; 0 for a ReLU, 1 for none. Weights are drawn so that
            the size of the numbers is kept through both (He et al. 2015); biases are zero.
        scale: times those weights.
        axes: spatial axes, 2 for images and 3 for volumes.
    """
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    conv = kind(channels_in, channels_out, kernel_size, stride, kernel_size // 2)
    std = scale * math.sqrt(2 / (1 + slope**2) / (channels_in * kernel_size**axes))
    nn.init.normal_(conv.weight, 0, std)
    nn.init.constant_(conv.get_parameter("bias"), 0)
    return conv
