"""Learned diffusion: explicit time steps with filters that a network chooses for each pixel."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, require_positive

# The last convolution of each block starts this much smaller than usual, so that the network starts near the identity.
_LAST_SCALE = 0.1


class DiffNet(ImageNetwork):
    """TODO"""

    name = "diffnet"

    def __init__(
        self,
        subnetworks: Annotated[
            int, Field(ge=1, description="time steps", json_schema_extra={"search": {"low": 3, "high": 10}})
        ] = 5,
        hidden: Annotated[
            int,
            Field(
                ge=1,
                description="channels of the networks that choose the filters",
                json_schema_extra={"search": {"choices": [16, 32, 64]}},
            ),
        ] = 32,
        kernel_size: KernelSize = 3,
        step_size: Annotated[float, Field(gt=0, description="time step at the start; it is learned")] = 0.2,
        center: Center = 0.45,
        padding: Padding = 6,
    ) -> None:
        super().__init__(kernel_size, center, padding)
        require_positive(self.name, subnetworks=subnetworks, hidden=hidden, step_size=step_size)
        self.subnetworks, self.hidden, self.step_size = subnetworks, hidden, step_size

    def build(self, channels: int) -> None:
        self.steps = nn.Sequential(
            *(DiffusionStep(channels, self.hidden, self.kernel_size, self.step_size) for _ in range(self.subnetworks))
        )

    def transform(self, x: Tensor) -> Tensor:
        return self.steps(x)


class DiffusionStep(nn.Module):
    """TODO"""

    def __init__(self, channels: int, hidden: int, kernel_size: int, step_size: float) -> None:
        super().__init__()
        sizes = [channels, hidden, hidden, hidden, 5 * channels]
        convs = [
            nn.Conv2d(a, b, kernel_size, padding=kernel_size // 2) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        ]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        with torch.no_grad():
            convs[-1].weight.mul_(_LAST_SCALE)
        first, second, third, last = convs
        self.filters = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), last)
        self.step_size = nn.Parameter(torch.tensor(step_size))

    def forward(self, u: Tensor) -> Tensor:
        center, above, below, left, right = self.filters(u).chunk(5, 1)
        v = F.pad(u, (1, 1, 1, 1))
        change = above * v[..., :-2, 1:-1] + below * v[..., 2:, 1:-1] - center * u
        change = change + left * v[..., 1:-1, :-2] + right * v[..., 1:-1, 2:]
        return u + self.step_size * change
