"""Between images in X and the lifted states in X^M, on which the networks act."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import ShapeError
from invreg_iresnet.axes import channels_first, pixels_last

#: What continues an image beyond its border: copies of its pixels as they are, or weighted as these pixels are.
BorderName = Literal["reflect", "tapered"]

# What rounding the weights of a tapered border to float32 changes in the norms of P and C is below this.
_WEIGHTS_ROUNDED = 1e-6


@dataclass(frozen=True)
class Lifting:
    """Lifts images to states, s(P(x - c)), and brings states back, C(m(x)) + c.

    P pads by reflection, s stacks M/C copies of the C image channels, m averages the copies and C crops the padding;
    c is a constant. So `unlift(lift(x)) = x`. In Euclidean norms, ||s|| = sqrt(copies), ||m|| = 1/sqrt(copies) and
    ||C|| = 1; only P adds to the Lipschitz constant of a reconstruction, see `padding_norm`. Where the sides of states
    have to be multiples of a number, P adds what is missing at the bottom and on the right.

    With a tapered border, P copies the pixels to the other side of the border, and weights copies and pixels such that
    their squares add up to 1, along a sine from 0 outside to 1 inside; C is its adjoint. So P is an isometry.

    Attributes:
        image_channels: C.
        copies: M/C, how often the image is stacked.
        padding: pixels that are added on each side; 0 is the paper's form.
        center: the constant c, near the mean of the images.
        multiple: what the sides of states are multiples of.
        border: what the padding is made of.
        axes: spatial axes of an image, 2 for [C, H, W] and 3 for [C, D, H, W].

    Source: Arndt & Nickel 2024, section 4.1 (the copies and the mean).
    """

    image_channels: int
    copies: int
    padding: int
    center: float
    multiple: int = 1
    border: BorderName = "reflect"
    axes: int = 2

    def lift(self, x: Tensor) -> Tensor:
        """The state `[B, M, H + 2 padding, W + 2 padding]` of images `[B, C, H, W]`, or the next larger multiples.

        For volumes, `[B, M, D + 2 padding, H + 2 padding, W + 2 padding]` of `[B, C, D, H, W]`.

        Raises:
            ShapeError: for another number of channels, or images too small to be padded by reflection.
        """
        if x.ndim != self.axes + 2 or x.shape[1] != self.image_channels:
            raise ShapeError(
                f"images of shape {tuple(x.shape)}",
                where="invertible network",
                expected=f"[B, {self.image_channels}, {self._spatial()}]",
            )
        sides = x.shape[2:]
        self.check_size(*sides)
        x = x - self.center
        # From the last axis on, as torch wants them.
        margins = [margin for side in reversed(sides) for margin in (self.padding, self._after(side))]
        if self.border == "tapered":
            for axis in range(x.ndim - 1, 1, -1):
                x = self._tapered(x.transpose(axis, -1)).transpose(axis, -1)
        elif any(margins):
            x = F.pad(x, margins, mode="reflect")
        # Stacked along the last axis of [B, H, W, C]: the state is made in the channels-last layout, in which CPUs and
        # GPUs convolve fastest, and this way works under torch.func.vmap too.
        return channels_first(pixels_last(x).repeat(*(self.axes + 1) * (1,), self.copies))

    def unlift(self, state: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """The image `[B, C, H, W]`, or the volume `[B, C, D, H, W]`, of a state.

        Args:
            state: what `lift` gives.
            size: (H, W) or (D, H, W), the largest that fits if left out.

        Raises:
            ShapeError: if the state has another shape.
        """
        self.check_state(state)
        x = state.unflatten(1, (self.copies, self.image_channels)).mean(1)
        sides = tuple(size or (side - 2 * self.padding for side in x.shape[2:]))
        if self.border == "tapered":
            for axis in range(x.ndim - 1, 1, -1):
                x = self._folded(x.transpose(axis, -1), sides[axis - 2]).transpose(axis, -1)
            return (x + self.center).contiguous()
        x = x + self.center
        return x[(..., *(slice(self.padding, self.padding + side) for side in sides))].contiguous()

    def state_size(self, *sides: int) -> tuple[int, ...]:
        """The sides of the state of images with these sides: (H, W), or (D, H, W)."""
        return tuple(self.padding + side + self._after(side) for side in sides)

    def check_size(self, *sides: int) -> None:
        """Refuses images that are too small for the padding.

        Raises:
            ShapeError: if one side is not longer than the padding; tapered, if it is shorter than that of both sides.
        """
        tapered = self.border == "tapered"
        least = [self._after(side) + (self.padding if tapered else 1) for side in sides]
        if any(side < enough for side, enough in zip(sides, least, strict=True)):
            scales = f" to sides that are multiples of {self.multiple}" if self.multiple > 1 else ""
            raise ShapeError(
                f"images of {'x'.join(map(str, sides))} pixels",
                where="padding",
                expected=f"more than {max(least) - 1} pixels on each side, for the {self.border} padding{scales}",
                hint="larger images or crops, or a smaller padding (0 switches it off)",
            )

    def check_state(self, state: Tensor) -> None:
        """Refuses tensors that are not states.

        Raises:
            ShapeError: for another number of channels, no pixels left without the padding, or sides of other multiples.
        """
        channels = self.image_channels * self.copies
        fits = state.ndim == self.axes + 2 and state.shape[1] == channels and min(state.shape[2:]) > 2 * self.padding
        if not fits or any(side % self.multiple for side in state.shape[2:]):
            scales = f", sides that are multiples of {self.multiple}" if self.multiple > 1 else ""
            raise ShapeError(
                f"a state of shape {tuple(state.shape)}",
                where="invertible network",
                expected=f"[B, {channels}, {self._spatial(f' + {2 * self.padding}')}]{scales}",
                hint="lift(x) makes the state of images x",
            )

    def padding_norm(self, *sides: int) -> float:
        """The operator norm ||P|| of the padding on images with these sides, times ||C||.

        P*P adds up the squares of the weights that each pixel has, for its copies and itself, so ||P|| is the square
        root of the largest sum. By reflection, these are numbers of copies: ||P|| = 2 if both sides have at least two
        pixels more than twice the padding, 3 at most, 1 without padding; for volumes 2^(3/2) = 2.83, and 3^(3/2) at
        most. Tapered, it is 1 up to rounding.
        """
        norm = math.sqrt(math.prod(self._most_copies(side) for side in sides))
        return norm * (1 + _WEIGHTS_ROUNDED) if self.border == "tapered" else norm

    @property
    def roundings(self) -> int:
        """How many roundings there are at most in the lifting of a number, and in the padding's share of unlifting."""
        return 8 * self.axes if self.border == "tapered" else 1

    def _most_copies(self, length: int) -> float:
        before, after = self.padding, self._after(length)
        if not before and not after:
            return 1
        if self.border == "tapered":
            weights = self._weights(length)
            return float(self._folded(weights**2, length, weighted=False).max())
        index = F.pad(torch.arange(length, dtype=torch.float64)[None], (before, after), mode="reflect")
        return int(torch.bincount(index[0].long()).max())

    def _weights(self, length: int) -> Tensor:
        """Of all places along an axis, in float64: sines from 0 at the outer end to 1 as far inside the image."""
        before, after = self.padding, self._after(length)
        ramps = [
            torch.sin((torch.arange(2 * width) + 0.5).double() * (math.pi / 4 / max(width, 1)))
            for width in (before, after)
        ]
        return torch.cat([ramps[0], torch.ones(length - before - after, dtype=torch.float64), ramps[1].flip(0)])

    def _tapered(self, x: Tensor) -> Tensor:
        """P along the last axis."""
        length = x.shape[-1]
        before, after = self.padding, self._after(length)
        x = torch.cat([x[..., :before].flip(-1), x, x[..., length - after :].flip(-1)], -1)
        return x * self._weights(length).to(x)

    def _folded(self, x: Tensor, length: int, *, weighted: bool = True) -> Tensor:
        """P* along the last axis: places and copies, added up."""
        before, after = self.padding, self._after(length)
        x = x * self._weights(length).to(x) if weighted else x
        left, own, right = x.split([before, length, after], -1)
        return own + F.pad(left.flip(-1), (0, length - before)) + F.pad(right.flip(-1), (length - after, 0))

    def _spatial(self, more: str = "") -> str:
        """The spatial axes in messages."""
        return ", ".join(f"{axis}{more}" for axis in "DHW"[-self.axes :])

    def _after(self, length: int) -> int:
        """How many pixels are added at the bottom, or on the right."""
        return self.padding + (-(length + 2 * self.padding) % self.multiple if self.multiple > 1 else 0)
