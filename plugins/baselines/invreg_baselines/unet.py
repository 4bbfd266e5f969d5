"""A U-Net."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from invreg import Layer, Shape, ShapeError, Skip, Stage, search_choices
from invreg_baselines.description import Parts, layer, layers_in, parameters_of
from invreg_baselines.layers import convolution
from invreg_baselines.network import Center, ImageNetwork, KernelSize, Padding, PulledBack, Start

_SLOPE = 0.2
_SEARCHED = ((16, 32, 64, 128), (32, 64, 128, 256), (16, 32, 64, 128, 256), (32, 64, 128, 256, 512))
# Batch normalisation gives features the size 1, and details of images are of this size: the network starts near the
# identity.
_LAST_SCALE = 0.01

_BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class UNet(ImageNetwork):
    """N = Id + (a U-Net): features at several scales, from fine to coarse and back, with skips at each scale.

    One unit is a zero-padded convolution with bias, batch normalisation and a leaky ReLU of slope 0.2. For the channels
    c_1, ..., c_s:

    - first: a unit k x k to c_1;
    - down, from scale i to i + 1: a unit k x k of stride 2 from c_i to c_{i+1}, and a unit k x k;
    - up, from scale i + 1 to i: bilinear doubling (trilinear for volumes), concatenated with a 1x1 unit of what the
      way down had at scale i, batch normalisation, a unit k x k to c_i, and another one;
    - last: a 1x1 convolution.

    With the defaults and one image channel that makes 5,468,705 parameters, as in table 1 of the paper; the count fixes
    everything but the activations and the ends. Here N adds what the U-Net finds to the image, and the last convolution
    starts small, so that training starts near the identity. There is no sigmoid at the end: with one, the identity
    would have to be learned first, and gradients would vanish where images are black or white.

    Images whose sides are not multiples of 2^(s-1) are padded by reflection at the bottom and on the right.

    See [`ImageNetwork`][invreg_baselines.network.ImageNetwork] for what surrounds N.

    Source: Ronneberger et al. 2015; Arndt & Nickel 2024, section 4.2 and table 1 (the sizes).
    """

    def __init__(
        self,
        channels: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...],
            Field(
                min_length=1,
                description="channels c_1, ..., c_s of the scales, from fine to coarse",
                json_schema_extra=search_choices(_SEARCHED),
            ),
        ] = (16, 32, 64, 128, 256),
        kernel_size: KernelSize = 5,
        center: Center = 0.45,
        padding: Padding = 6,
        start: Start = None,
        pull_back: PulledBack = None,
    ) -> None:
        super().__init__(kernel_size, center, padding, start, pull_back)
        self.channels = channels
        self.multiple = 2 ** (len(self.channels) - 1)

    def build(self, channels: int) -> None:
        k, (first, *_) = self.kernel_size, self.channels
        steps = list(pairwise(self.channels))
        unit, norm = partial(_unit, axes=self.axes), _BATCH_NORMS[self.axes]
        self.first = unit(channels, first, k)
        self.down = nn.ModuleList(
            nn.Sequential(unit(fine, coarse, k, stride=2), unit(coarse, coarse, k)) for fine, coarse in steps
        )
        self.skip = nn.ModuleList(unit(fine, fine, 1) for fine, _ in steps)
        self.up = nn.ModuleList(
            nn.Sequential(norm(fine + coarse), unit(fine + coarse, fine, k), unit(fine, fine, k))
            for fine, coarse in steps
        )
        self.last = convolution(first, channels, 1, scale=_LAST_SCALE, axes=self.axes)

    @property
    def memory_per_pixel(self) -> float | None:
        """About six times the features of the two finest scales in float32."""
        return 24.0 * sum(self.channels[:2])

    @property
    def reconstruction_radius(self) -> int | None:
        """The sum over all layers, in pixels of their scale; the padding at the edges is within it.

        A start may see the whole image.
        """
        if self.start is not None:
            return None
        half, scales = self.kernel_size // 2, range(1, len(self.channels))
        # Down: a convolution at the finer scale and one at the coarser; up: the doubling, and two convolutions.
        return half + sum(half * 2 ** (i - 1) + half * 2**i + 2**i + 2 * half * 2 ** (i - 1) for i in scales)

    def transform(self, x: Tensor) -> Tensor:
        if self.training and len(x) * math.prod(x.shape[2:]) == self.multiple**self.axes:
            raise ShapeError(
                f"one image of {'x'.join(map(str, x.shape[2:]))} pixels, padding included, in training",
                where=type(self).__name__,
                expected="more than one pixel at the coarsest scale: batch normalisation needs a variance",
                hint="larger crops, a larger batch_size, or fewer scales in channels",
            )
        features = [self.first(x)]
        for down in self.down:
            features.append(down(features[-1]))
        found = features.pop()
        for skip, up in zip(reversed(self.skip), reversed(self.up), strict=True):
            found = up(torch.cat([_doubled(found), skip(features.pop())], 1))
        return x + self.last(found)

    def parts(self, shape: Shape, entrance: str) -> Parts:
        first = layer(self.first, shape)
        stages = [Stage("first", first.operation, shape, first.shape_out, first.parameters, layers=[first])]
        skips = []
        for scale, down in enumerate(self.down, 2):
            layers = layers_in([*cast(nn.Sequential, down)], stages[-1].shape_out)
            stages.append(_stage(f"down to scale {scale}", "halve, convolve", layers))
        for scale in reversed(range(1, len(self.channels))):
            source = stages[scale - 1]
            skip = layer(self.skip[scale - 1], source.shape_out)
            name = f"up to scale {scale}"
            layers = _way_up(stages[-1].shape_out, skip.shape_out, [*cast(nn.Sequential, self.up[scale - 1])])
            stages.append(_stage(name, "double, join, convolve", layers))
            skips.append(
                Skip(
                    source.name,
                    name,
                    skip.shape_out,
                    skip.operation,
                    "concatenated",
                    parameters_of(self.skip[scale - 1]),
                )
            )
        last = layer(self.last, stages[-1].shape_out)
        stages.append(Stage("last", f"{last.operation}, + input", last.shape_in, shape, last.parameters))
        skips.append(Skip(entrance, "last", shape))
        return Parts("Id + U-Net", stages, skips)


def _stage(name: str, operation: str, layers: list[Layer]) -> Stage:
    parameters = sum(one.parameters for one in layers)
    return Stage(name, operation, layers[0].shape_in, layers[-1].shape_out, parameters, layers=layers)


def _way_up(coarse: Shape, skip: Shape, modules: list[nn.Module]) -> list[Layer]:
    """What is done at one scale on the way up, the doubling and the joining included."""
    doubled = coarse[0], *skip[1:]
    joined = coarse[0] + skip[0], *skip[1:]
    joining = Layer("concatenation with the skip", doubled, joined)
    doubling = "bilinear doubling" if len(coarse) == 3 else "trilinear doubling"
    return [Layer(doubling, coarse, doubled), joining, *layers_in(modules, joined)]


def _unit(channels_in: int, channels_out: int, kernel_size: int, stride: int = 1, *, axes: int) -> nn.Sequential:
    conv = convolution(channels_in, channels_out, kernel_size, stride=stride, slope=_SLOPE, axes=axes)
    return nn.Sequential(conv, _BATCH_NORMS[axes](channels_out), nn.LeakyReLU(_SLOPE))


def _doubled(x: Tensor) -> Tensor:
    """Bilinear (of volumes trilinear) interpolation to twice the sides, as `F.interpolate` does it.

    Written out because gradients of `F.interpolate` are not reproducible on GPUs. New pixels lie a quarter of a pixel
    beside the old ones: between two old ones there are two new ones, and beyond the outermost ones one.
    """
    x = x.movedim(1, -1)  # channels last: nothing below has to be moved in memory
    for axis in range(1, x.ndim - 1):
        last = x.shape[axis] - 1
        before, after = x.narrow(axis, 0, last), x.narrow(axis, 1, last)
        pairs = torch.stack([torch.lerp(before, after, weight) for weight in (0.25, 0.75)], axis + 1)
        x = torch.cat([x.narrow(axis, 0, 1), pairs.flatten(axis, axis + 1), x.narrow(axis, last, 1)], axis)
    return x.movedim(-1, 1)
