"""Learned diffusion: explicit time steps with filters that a network chooses for each pixel."""

from __future__ import annotations

from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from invreg import Layer, Shape, Stage, search_choices, search_range
from invreg.text import composition, subscript
from invreg_baselines.description import Parts, layers_in, parameters_of
from invreg_baselines.layers import convolution
from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, PulledBack, Start

# The last convolution of each block starts this much smaller than usual, so that the network starts near the identity.
_LAST_SCALE = 0.1


class DiffNet(ImageNetwork):
    """N = n explicit time steps of a diffusion with learned filters, each a
    [`DiffusionStep`][invreg_baselines.diffnet.DiffusionStep] with weights of its own.

    With the defaults and one image channel that makes 101,310 parameters. The architecture was made for measurements
    that a diffusion has blurred, as its steps can run such a process backwards; other operators are harder for it.

    See [`ImageNetwork`][invreg_baselines.network.ImageNetwork] for what surrounds N.

    Source: Arridge & Hauptmann 2020, "Networks for nonlinear diffusion problems in imaging" (DiffNet); Arndt & Nickel
    2024, table 1 (the sizes).
    """

    #: Neighbours are those of an image: above, below, left and right.
    supported_axes = (2,)

    def __init__(
        self,
        subnetworks: Annotated[
            int,
            Field(
                ge=1,
                le=1000,
                description="number n of time steps, each with a network of its own",
                json_schema_extra=search_range(3, 10),
            ),
        ] = 5,
        hidden: Annotated[
            int,
            Field(
                ge=1,
                description="channels of the networks that choose the filters",
                json_schema_extra=search_choices([16, 32, 64]),
            ),
        ] = 32,
        kernel_size: KernelSize = 3,
        step_size: Annotated[float, Field(gt=0, description="time step at the start; it is learned")] = 0.2,
        center: Center = 0.45,
        padding: Padding = 6,
        start: Start = None,
        pull_back: PulledBack = None,
    ) -> None:
        super().__init__(kernel_size, center, padding, start, pull_back)
        self.subnetworks, self.hidden, self.step_size = subnetworks, hidden, step_size

    def build(self, channels: int) -> None:
        self.steps = nn.Sequential(
            *(DiffusionStep(channels, self.hidden, self.kernel_size, self.step_size) for _ in range(self.subnetworks))
        )

    @property
    def memory_per_pixel(self) -> float | None:
        """About two layers of hidden activations in float32, and the filters and shifted images of a step."""
        return 8.0 * self.hidden + 64.0

    @property
    def reconstruction_radius(self) -> int | None:
        """Each step sees four half kernels: its filters reach farther than the neighbours that they weigh.

        A start may see the whole image.
        """
        return None if self.start is not None else self.subnetworks * 4 * (self.kernel_size // 2)

    def transform(self, x: Tensor) -> Tensor:
        return self.steps(x)

    def parts(self, shape: Shape, entrance: str) -> Parts:
        step = cast(DiffusionStep, self.steps[0])
        # Each convolution together with the ReLU that follows it.
        *inner, last = [step.filters[i : i + 2] for i in range(0, len(step.filters), 2)]
        chosen = layers_in([*inner, last], shape)
        differences = Layer("filtering, × Δt", chosen[-1].shape_out, shape, step.step_size.numel())
        stage = Stage(
            "diffusion steps Sᵢ",
            "u + Δt (k₁u↑ + k₂u↓ + k₃u← + k₄u→ − k₀u), with filters k = k(u)",
            shape,
            shape,
            parameters_of(step),
            repeats=len(self.steps),
            residual="+",
            layers=[*chosen, differences],
        )
        return Parts(composition(f"S{subscript(len(self.steps))}", "S₁", len(self.steps)), [stage])


class DiffusionStep(nn.Module):
    """One explicit time step, for each pixel (and each channel) of u `[B, C, H, W]`:

        u + dt (k_1 u_above + k_2 u_below + k_3 u_left + k_4 u_right - k_0 u),

    where u is zero beyond its edges. The filters k = k(u), five at each pixel of each channel, come from four
    convolutions with ReLUs in between; dt is learned. All five are free: the step is a diffusion where k_0 is the sum
    of the others and those are positive. At the start all of them are small, and the step is near the identity.

    Args:
        channels: C.
        hidden: channels of the convolutions.
        kernel_size: of the convolutions, odd.
        step_size: dt at the start.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, step_size: float) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            convolution(channels, hidden, kernel_size, slope=0),
            nn.ReLU(),
            convolution(hidden, hidden, kernel_size, slope=0),
            nn.ReLU(),
            convolution(hidden, hidden, kernel_size, slope=0),
            nn.ReLU(),
            convolution(hidden, 5 * channels, kernel_size, scale=_LAST_SCALE),
        )
        self.step_size = nn.Parameter(torch.tensor(step_size))

    def forward(self, u: Tensor) -> Tensor:
        center, above, below, left, right = self.filters(u).chunk(5, 1)
        v = F.pad(u, (1, 1, 1, 1))
        change = above * v[..., :-2, 1:-1] + below * v[..., 2:, 1:-1] - center * u
        change = change + left * v[..., 1:-1, :-2] + right * v[..., 1:-1, 2:]
        return u + self.step_size * change
