"""Which frequencies are measured: what operators that leave frequencies out share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, Shape, ShapeError, SpecError
from invreg_operators.fourier.sampling_masks import Pattern, sampling_mask

Acceleration = Annotated[float, Field(description="one in so many frequencies is measured, rounded", ge=1)]
CenterFraction = Annotated[
    float,
    Field(
        description="share of all frequencies, the lowest ones, that is always measured; at most 1 / acceleration",
        ge=0,
        le=1,
    ),
]
SamplingPattern = Annotated[
    Pattern,
    Field(
        description="lines: whole columns of frequencies, as scanners take them; random: single ones, as if a "
        "third dimension were read out; radial: lines through frequency zero, a golden angle apart"
    ),
]
Density = Annotated[
    float,
    Field(
        description="for lines and random: frequencies at the distance r from the centre, 1 at most, are "
        "chosen with weights (1 - r)^density; 0 chooses uniformly",
        ge=0,
    ),
]
Seed = Annotated[int, Field(description="seed of the random choice; for radial, of the first angle", ge=0)]


class SampledOperator(LinearOperator):
    """A linear operator that measures some frequencies, as real and imaginary parts. Subclasses write `channels`."""

    #: The name of the component, for messages.
    where: ClassVar[str]

    def __init__(
        self, acceleration: float, center_fraction: float, pattern: Pattern, density: float, seed: int
    ) -> None:
        super().__init__()
        if center_fraction * acceleration > 1:
            raise SpecError(
                f"a centre of {center_fraction:g} of all frequencies, of which 1/{acceleration:g} is measured",
                where="center_fraction",
                expected=f"at most {1 / acceleration:.3g}, for this acceleration",
            )
        self.acceleration, self.center_fraction, self.density = acceleration, center_fraction, density
        self.pattern, self.seed = pattern, seed

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """So many channels of an image have so many of the measurement."""

    @property
    def layout(self) -> str:
        """What the channels of measurements are, for messages."""
        return "2 channels"

    def domain_shape(self, range_shape: Shape) -> Shape:
        """Shape of the image whose measurement has this shape.

        Raises:
            ShapeError: if there is none.
        """
        seen, measured = self.channels
        if len(range_shape) != 3 or range_shape[0] % measured or min(range_shape[1:]) < 1:
            raise ShapeError(
                f"measurements of shape {tuple(range_shape)}",
                where=self.where,
                expected=f"({self.layout}, height, width): real and imaginary parts",
            )
        shape = range_shape[0] // measured * seen, *range_shape[1:]
        self.range_shape(shape)
        return shape

    def mask(self, height: int, width: int) -> Tensor:
        """The measured frequencies of images of this size, `[height, width]` of bool, on the CPU."""
        return sampling_mask(
            height, width, self.pattern, self.acceleration, self.center_fraction, self.density, self.seed
        ).clone()

    def mask_like(self, x: Tensor) -> Tensor:
        """The measured frequencies of images of the size and on the device of a tensor `[..., H, W]`."""
        return self.mask(x.shape[-2], x.shape[-1]).to(x.device)
