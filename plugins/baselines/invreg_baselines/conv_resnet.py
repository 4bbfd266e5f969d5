"""The unconstrained twin of the invertible residual network."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invreg.errors import SpecError
from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, require_positive


class ConvResNet(ImageNetwork):
    """TODO"""

    name = "conv_resnet"

    def __init__(
        self,
        subnetworks: Annotated[
            int,
            Field(ge=1, description="residual blocks", json_schema_extra={"search": {"low": 8, "high": 24}}),
        ] = 20,
        channels: Annotated[
            int,
            Field(
                ge=1, description="of the lifted images", json_schema_extra={"search": {"choices": [16, 32, 64, 96]}}
            ),
        ] = 64,
        hidden: Annotated[
            int,
            Field(
                ge=1,
                description="channels inside the blocks",
                json_schema_extra={"search": {"choices": [32, 64, 128, 192]}},
            ),
        ] = 128,
        kernel_size: KernelSize = 5,
        threshold: Annotated[float, Field(gt=0, description="of the soft shrinkage, the same in all blocks")] = 0.01,
        center: Center = 0.45,
        padding: Padding = 6,
    ) -> None:
        super().__init__(kernel_size, center, padding)
        require_positive(self.name, subnetworks=subnetworks, channels=channels, hidden=hidden, threshold=threshold)
        self.subnetworks, self.channels, self.hidden = subnetworks, channels, hidden
        self.threshold = threshold

    def build(self, channels: int) -> None:
        if channels > self.channels:
            raise SpecError(
                f"channels {self.channels} for images of {channels} channels",
                where=f"{self.name}.channels",
                expected=f"at least {channels}, so that the lifted image holds the whole image",
            )
        self.lift = nn.Conv2d(channels, self.channels, 1)
        self.blocks = nn.ModuleList(self._block() for _ in range(self.subnetworks))
        self.unlift = nn.Conv2d(self.channels, channels, 1)
        # The identity is where training starts: copies of the image, and their mean.
        copies = torch.eye(channels).repeat(-(-self.channels // channels), 1)[: self.channels]
        with torch.no_grad():
            self.lift.weight.copy_(copies[..., None, None])
            self.unlift.weight.copy_((copies / copies.sum(0)).T[..., None, None])
            self.lift.bias.zero_()
            self.unlift.bias.zero_()

    def _block(self) -> nn.Sequential:
        conv = nn.Conv2d(self.channels, self.hidden, self.kernel_size, padding=self.kernel_size // 2)
        mix = nn.Conv2d(self.hidden, self.channels, 1)
        _INIT(self, conv, mix)
        return nn.Sequential(conv, nn.Softshrink(self.threshold), mix)

    def transform(self, x: Tensor) -> Tensor:
        # Autocast touches the residual functions only: bfloat16 would round the image itself.
        with torch.autocast(x.device.type, enabled=False):
            state = self.lift(x).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            state = state + block(state)
        with torch.autocast(x.device.type, enabled=False):
            return self.unlift(state)

def _INIT(self, conv, mix):
    pass
