"""Layers and stages of the networks from images to images, read off their modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import nn

from invreg import Architecture, Layer, Shape, Skip, Stage


class Parts(NamedTuple):
    """What N is made of: its formula, its stages and the connections past them."""

    formula: str
    stages: list[Stage]
    skips: Sequence[Skip] = ()


@dataclass(frozen=True)
class Frame:
    """What stands before and after N in R(z) = center + crop(N(pad(y - center))).

    Attributes:
        range_shape: of measurements.
        image_shape: of images.
        padded_shape: of what N is given.
        start: the formula of y: "z", "A*z / ‖A‖²" or that of a method, "fbp(z)".
        center: the constant.
    """

    range_shape: Shape
    image_shape: Shape
    padded_shape: Shape
    start: str
    center: float

    @property
    def entrance(self) -> str:
        """The stage before N; empty if there is none."""
        before = self._before()
        return before[-1].name if before else ""

    def architecture(self, parts: Parts) -> Architecture:
        """The whole network, with `parts` in its middle."""
        measured = self.start.replace(" / ", "/")
        given = f"{measured} {self._shift(-self.center)}" if self.center else measured
        if self.padded_shape != self.image_shape:
            given = f"pad({given})"
        result = f"N({given})"
        if self.padded_shape != self.image_shape:
            result = f"crop({result})"
        if self.center:
            result += f" {self._shift(self.center)}"
        return Architecture(
            stages=[*self._before(), *parts.stages, *self._after()],
            skips=parts.skips,
            formula=f"R(z) = {result} with N = {parts.formula}",
        )

    def _before(self) -> list[Stage]:
        found = []
        if self.start != "z":
            found.append(Stage("pull back", self.start, self.range_shape, self.image_shape))
        entering = self._words(self._shift(-self.center), "pad")
        if entering:
            found.append(Stage("enter", entering, self.image_shape, self.padded_shape))
        return found

    def _after(self) -> list[Stage]:
        leaving = self._words(self._shift(self.center), "crop", reverse=True)
        return [Stage("leave", leaving, self.padded_shape, self.image_shape)] if leaving else []

    @staticmethod
    def _shift(value: float) -> str:
        return f"{'+' if value > 0 else '−'} {abs(value):g}"

    def _words(self, shift: str, resize: str, reverse: bool = False) -> str:
        words = [shift] if self.center else []
        words += [resize] if self.padded_shape != self.image_shape else []
        return ", ".join(reversed(words) if reverse else words)


def parameters_of(*modules: nn.Module) -> int:
    """Their number of trainable parameters."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def layer(module: nn.Module, shape: Shape) -> Layer:
    """A module as a layer, for what it is given of this shape."""
    if isinstance(module, nn.Sequential):
        return _chained(module, shape)
    if isinstance(module, nn.Softshrink):
        return Layer(f"soft shrinkage by {module.lambd:g}", shape, shape)
    if not isinstance(module, nn.Conv2d | nn.Conv3d):
        return Layer(_WORDS.get(type(module), type(module).__name__), shape, shape, parameters_of(module))
    stride = module.stride[0]
    text = f"conv {'×'.join(map(str, module.kernel_size))}" + (f", stride {stride}" if stride > 1 else "")
    size = [-(-length // stride) for length in shape[1:]]
    return Layer(text, (module.in_channels, *shape[1:]), (module.out_channels, *size), parameters_of(module))


_WORDS = {nn.BatchNorm2d: "batch norm", nn.BatchNorm3d: "batch norm", nn.LeakyReLU: "leaky ReLU", nn.ReLU: "ReLU"}


def layers_in(modules: Sequence[nn.Module], shape: Shape) -> list[Layer]:
    """Modules that follow each other, each as a layer."""
    found = []
    for module in modules:
        found.append(layer(module, shape))
        shape = found[-1].shape_out
    return found


def _chained(modules: nn.Sequential, shape: Shape) -> Layer:
    """A convolution, and what follows it, as one layer."""
    parts = layers_in(list(modules), shape)
    text = ", ".join(part.operation for part in parts)
    return replace(
        parts[0], operation=text, shape_out=parts[-1].shape_out, parameters=sum(part.parameters for part in parts)
    )
