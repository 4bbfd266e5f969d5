"""The residual network of `iresnet` without constraints."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invreg import Shape, SpecError, Stage, search_choices, search_range
from invreg.text import composition, subscript
from invreg_baselines.description import Parts, layer, layers_in, parameters_of
from invreg_baselines.layers import convolution
from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, PulledBack, Start

_GAUSS_STD = 1.2
_KERNEL_NOISE = 0.3
_MIXING_SCALE, _MIXING_NOISE = 0.1, 0.0075


class ConvResNet(ImageNetwork):
    """N = U (Id + f_n) ... (Id + f_1) V, a residual network without any constraint, where

        f_i = W_i S K_i,   S(t) = sign(t) max(|t| - threshold, 0).

    K_i is a zero-padded convolution to the hidden channels, W_i a 1x1 convolution back, V and U are 1x1 convolutions
    from and to the channels of images; all of them have biases. With the defaults and one image channel that makes
    4,263,873 parameters.

    The f_i are those of the invertible network, but for two differences. Nothing bounds their norms. And the threshold
    of the soft shrinkage S is not learned: the paper's count leaves no parameter for it. As K_i can grow or shrink
    against a fixed threshold, its size only matters at the start, where it should be about the size of the fine detail
    that K_i shows: from 0.03 to 0.1 networks learn equally fast, 0.01 is slower, and 0.3 hides all detail.

    Training starts near the identity: V copies the image, U takes the mean of the copies, and the f_i are small
    high-pass filters, as Id - F is for blurs and diffusions, of alternating signs.

    See [`ImageNetwork`][invreg_baselines.network.ImageNetwork] for what surrounds N.

    Source: Arndt & Nickel 2024, section 4.2 and table 1.
    """

    def __init__(
        self,
        subnetworks: Annotated[
            int, Field(ge=1, le=1000, description="number n of residual blocks", json_schema_extra=search_range(8, 24))
        ] = 20,
        channels: Annotated[
            int,
            Field(
                ge=1,
                description="channels of the lifted images, at least those of the images",
                json_schema_extra=search_choices([16, 32, 64, 96]),
            ),
        ] = 64,
        hidden: Annotated[
            int,
            Field(
                ge=1,
                description="channels inside the blocks, between K_i and W_i",
                json_schema_extra=search_choices([32, 64, 128, 192]),
            ),
        ] = 128,
        kernel_size: KernelSize = 5,
        threshold: Annotated[
            float,
            Field(
                gt=0,
                description="threshold of the soft shrinkage, the same in all blocks",
                json_schema_extra=search_range(0.01, 0.1, log=True),
            ),
        ] = 0.05,
        center: Center = 0.45,
        padding: Padding = 6,
        start: Start = None,
        pull_back: PulledBack = None,
    ) -> None:
        super().__init__(kernel_size, center, padding, start, pull_back)
        self.subnetworks, self.channels, self.hidden = subnetworks, channels, hidden
        self.threshold = threshold

    def build(self, channels: int) -> None:
        if channels > self.channels:
            raise SpecError(
                f"channels {self.channels} for images of {channels} channels",
                where="channels",
                expected=f"at least {channels}: a lifted image holds the whole image",
            )
        copies = torch.eye(channels).repeat(-(-self.channels // channels), 1)[: self.channels]
        self.lift = _with_kernel(self._matrix(copies))
        self.blocks = nn.ModuleList(self._block(sign=(-1) ** index) for index in range(self.subnetworks))
        self.unlift = _with_kernel(self._matrix((copies / copies.sum(0)).T))

    @property
    def memory_per_pixel(self) -> float | None:
        """About two states and two layers of hidden activations in float32."""
        return 8.0 * (self.channels + self.hidden)

    @property
    def reconstruction_radius(self) -> int | None:
        """Each block sees half a kernel, and a start may see the whole image."""
        return None if self.start is not None else self.subnetworks * (self.kernel_size // 2)

    def transform(self, x: Tensor) -> Tensor:
        # Under autocast the residual functions alone are rounded, never the image itself.
        with torch.autocast(x.device.type, enabled=False):
            state = self.lift(x).contiguous(memory_format=self._layout)
        for block in self.blocks:
            state = state + block(state)
        with torch.autocast(x.device.type, enabled=False):
            return self.unlift(state)

    def parts(self, shape: Shape, entrance: str) -> Parts:
        lift = layer(self.lift, shape)
        inside, count = lift.shape_out, len(self.blocks)
        unlift = layer(self.unlift, inside)
        block = [module for module in self.blocks[0].modules() if not isinstance(module, nn.Sequential)]
        stages = [
            Stage("V", f"{lift.operation}, learned", lift.shape_in, inside, lift.parameters),
            Stage(
                "residual blocks",
                "u + fᵢ(u)",
                inside,
                inside,
                parameters_of(self.blocks[0]),
                repeats=count,
                residual="+",
                layers=layers_in(block, inside),
            ),
            Stage("U", f"{unlift.operation}, learned", inside, unlift.shape_out, unlift.parameters),
        ]
        chain = composition(f"(Id + f{subscript(count)})", "(Id + f₁)", count)
        return Parts(f"U ∘ {chain} ∘ V", stages)

    def _block(self, sign: int) -> nn.Sequential:
        isometry = self._matrix(_isometry(self.hidden, self.channels))
        noise = torch.randn(self.hidden, self.channels, *self.axes * (self.kernel_size,))
        mean = noise.mean(tuple(range(2, noise.ndim)), keepdim=True)
        noise = (noise - mean) / (self.kernel_size ** (self.axes / 2) * self.channels**0.5)
        kernel = isometry * _high_pass(self.kernel_size, self.axes) + _KERNEL_NOISE * noise
        noise = torch.randn(self.channels, self.hidden, *self.axes * (1,)) / self.hidden**0.5
        mixing = sign * (_MIXING_SCALE * isometry.transpose(0, 1) + _MIXING_NOISE * noise)
        return nn.Sequential(_with_kernel(kernel), nn.Softshrink(self.threshold), _with_kernel(mixing))

    def _matrix(self, matrix: Tensor) -> Tensor:
        """The matrix `[out, in]` as a kernel with one tap."""
        return matrix[(..., *self.axes * (None,))]


def _with_kernel(kernel: Tensor) -> nn.Conv2d | nn.Conv3d:
    """A convolution that starts with this kernel, `[out, in, k, k]`, or `[out, in, k, k, k]`."""
    conv = convolution(kernel.shape[1], kernel.shape[0], kernel.shape[-1], axes=kernel.ndim - 2)
    with torch.no_grad():
        conv.weight.copy_(kernel)
    return conv


def _high_pass(size: int, axes: int) -> Tensor:
    """delta - g for a Gaussian g; for size 1, where that would be zero, delta."""
    offsets = torch.arange(size) - size // 2
    profile = torch.exp(-0.5 * (offsets / _GAUSS_STD) ** 2)
    profile = profile / profile.sum()
    smooth = profile
    for _ in range(axes - 1):
        smooth = smooth[..., None] * profile
    high_pass = -smooth if size > 1 else torch.zeros_like(smooth)
    high_pass[axes * (size // 2,)] += 1
    return high_pass


def _isometry(rows: int, columns: int) -> Tensor:
    """A random matrix with orthonormal columns (or rows, where there are fewer of them)."""
    tall = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns))).Q
    return tall if rows >= columns else tall.T
