"""A U-Net."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invreg.errors import ShapeError
from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, require_positive

_SLOPE = 0.2
# The last convolution starts this much smaller than usual, so that the network starts near the identity.
_LAST_SCALE = 0.1


class UNet(ImageNetwork):
    """TODO"""

    name = "unet"

    def __init__(
        self,
        channels: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...],
            Field(
                min_length=1,
                description="of each scale, from fine to coarse",
                json_schema_extra={
                    "search": {
                        "choices": [[16, 32, 64, 128], [32, 64, 128, 256], [16, 32, 64, 128, 256], [32, 64, 128, 256, 512]]
                    }
                },
            ),
        ] = (16, 32, 64, 128, 256),
        kernel_size: KernelSize = 5,
        center: Center = 0.45,
        padding: Padding = 6,
    ) -> None:
        super().__init__(kernel_size, center, padding)
        require_positive(self.name, channels=min(channels, default=0))
        self.channels = tuple(channels)
        self.multiple = 2 ** (len(self.channels) - 1)

    def build(self, channels: int) -> None:
        k, (first, *_) = self.kernel_size, self.channels
        steps = list(zip(self.channels[:-1], self.channels[1:], strict=True))
        self.first = _unit(channels, first, k)
        self.down = nn.ModuleList(
            nn.Sequential(_unit(fine, coarse, k, stride=2), _unit(coarse, coarse, k)) for fine, coarse in steps
        )
        self.skip = nn.ModuleList(_unit(fine, fine, 1) for fine, _ in steps)
        self.up = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(fine + coarse), _unit(fine + coarse, fine, k), _unit(fine, fine, k))
            for fine, coarse in steps
        )
        self.last = nn.Conv2d(first, channels, 1)
        with torch.no_grad():
            self.last.weight.mul_(_LAST_SCALE)
            self.last.bias.zero_()

    def transform(self, x: Tensor) -> Tensor:
        features = [self.first(x)]
        for down in self.down:
            features.append(down(features[-1]))
        found = features.pop()
        for skip, up in zip(reversed(self.skip), reversed(self.up), strict=True):
            found = up(torch.cat([_double(found), skip(features.pop())], 1))
        return x + self.last(found)


def _unit(channels_in: int, channels_out: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel_size, stride, kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight, _SLOPE)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.LeakyReLU(_SLOPE))


def _double(x: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
