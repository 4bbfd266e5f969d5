"""Between images in X and the lifted states in X^M, on which the networks act."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import ShapeError


@dataclass(frozen=True)
class Lifting:
    """Lifts images to states, s(P(x - c)), and brings states back, C(m(x)) + c.

    P pads by reflection, s stacks M/C copies of the C image channels, m averages the copies and C crops the padding;
    c is a constant. So `unlift(lift(x)) = x`. In Euclidean norms, ||s|| = sqrt(copies), ||m|| = 1/sqrt(copies) and
    ||C|| = 1; only P adds to the Lipschitz constant of a reconstruction, see `padding_norm`. Where the sides of states
    have to be multiples of a number, P adds what is missing at the bottom and on the right.

    Attributes:
        image_channels: C.
        copies: M/C, how often the image is stacked.
        padding: pixels of reflect padding on each side; 0 is the paper's form.
        center: the constant c, near the mean of the images.
        multiple: what the sides of states are multiples of.

    Source: Arndt & Nickel 2024, section 4.1 (the copies and the mean).
    """

    image_channels: int
    copies: int
    padding: int
    center: float
    multiple: int = 1

    def lift(self, x: Tensor) -> Tensor:
        """The state `[B, M, H + 2 padding, W + 2 padding]` of images `[B, C, H, W]`, or the next larger multiples.

        Raises:
            ShapeError: for another number of channels, or images too small to be padded by reflection.
        """
        if x.ndim != 4 or x.shape[1] != self.image_channels:
            raise ShapeError(
                f"images of shape {tuple(x.shape)}", where="iresnet", expected=f"[B, {self.image_channels}, H, W]"
            )
        height, width = x.shape[-2:]
        self.check_size(height, width)
        x = x - self.center
        margins = (self.padding, self._after(width), self.padding, self._after(height))
        if any(margins):
            x = F.pad(x, margins, mode="reflect")
        # Stacked along the last axis of [B, H, W, C]: the state is made in the channels-last layout, in which CPUs and
        # GPUs convolve fastest, and this way works under torch.func.vmap too.
        return x.permute(0, 2, 3, 1).repeat(1, 1, 1, self.copies).permute(0, 3, 1, 2)

    def unlift(self, state: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The image `[B, C, H, W]` of a state.

        Args:
            state: `[B, M, H + 2 padding, W + 2 padding]`, or the next larger multiples.
            size: (H, W), the largest that fits if left out.

        Raises:
            ShapeError: if the state has another shape.
        """
        self.check_state(state)
        x = state.unflatten(1, (self.copies, self.image_channels)).mean(1) + self.center
        height, width = size or (side - 2 * self.padding for side in x.shape[-2:])
        return x[..., self.padding : self.padding + height, self.padding : self.padding + width].contiguous()

    def state_size(self, height: int, width: int) -> tuple[int, int]:
        """The sides of the state of images of `height` x `width` pixels."""
        return self.padding + height + self._after(height), self.padding + width + self._after(width)

    def check_size(self, height: int, width: int) -> None:
        """Refuses images that are too small for the padding.

        Raises:
            ShapeError: if one side is not longer than the padding.
        """
        if any(side <= self._after(side) for side in (height, width)):
            most = max(self._after(height), self._after(width))
            scales = f" to sides that are multiples of {self.multiple}" if self.multiple > 1 else ""
            raise ShapeError(
                f"images of {height}x{width} pixels",
                where="padding",
                expected=f"more than {most} pixels on each side, for the reflect padding{scales}",
                hint="larger images or crops, or a smaller padding (0 switches it off)",
            )

    def check_state(self, state: Tensor) -> None:
        """Refuses tensors that are not states.

        Raises:
            ShapeError: for another number of channels, no pixels left without the padding, or sides of other multiples.
        """
        channels = self.image_channels * self.copies
        fits = state.ndim == 4 and state.shape[1] == channels and min(state.shape[-2:]) > 2 * self.padding
        if not fits or any(side % self.multiple for side in state.shape[-2:]):
            scales = f", sides that are multiples of {self.multiple}" if self.multiple > 1 else ""
            raise ShapeError(
                f"a state of shape {tuple(state.shape)}",
                where="iresnet",
                expected=f"[B, {channels}, H + {2 * self.padding}, W + {2 * self.padding}]{scales}",
                hint="lift(x) makes the state of images x",
            )

    def padding_norm(self, height: int, width: int) -> float:
        """The operator norm ||P|| of the padding on images of `height` x `width` pixels.

        P copies pixels and P*P counts the copies, so ||P|| is the square root of the largest count: 2 if both
        sides have at least two pixels more than twice the padding, 3 at most, 1 without padding.
        """
        return math.sqrt(self._most_copies(height) * self._most_copies(width))

    def _most_copies(self, length: int) -> int:
        margins = self.padding, self._after(length)
        if not any(margins):
            return 1
        index = F.pad(torch.arange(length, dtype=torch.float64)[None], margins, mode="reflect")
        return int(torch.bincount(index[0].long()).max())

    def _after(self, length: int) -> int:
        """How many pixels are added at the bottom, or on the right."""
        return self.padding + (-(length + 2 * self.padding) % self.multiple if self.multiple > 1 else 0)
