"""The parameters that all invertible residual networks share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from invreg import LeftOut, Odd, PullBack, search_choices
from invreg_iresnet.network.lifting import BorderName
from invreg_iresnet.norms.normalisation import NormalisationName

Channels = Annotated[int, Field(description="M, channels of the states, a multiple of those of an image", ge=1)]
Hidden = Annotated[
    int,
    Field(description="channels within each residual function", ge=1, json_schema_extra=search_choices([32, 64, 128])),
]
KernelSize = Annotated[
    int,
    Field(
        description="side of the kernels, odd",
        ge=3,
        json_schema_extra={**search_choices([3, 5, 7]), "unit": "pixels"},
    ),
    Odd(),
]


class ChainStage(BaseModel):
    """Consecutive subnetworks of equal size, at one resolution."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scale: Annotated[
        Literal[1, 2, 4, 8],
        Field(description="s: states are looked at as s x s times the channels on 1/s of the sides"),
    ]
    subnetworks: Annotated[int, Field(description="how many of them", ge=1)]
    hidden: Annotated[int, Field(description="channels within each residual function", ge=1)]
    kernel_size: Annotated[int, Field(description="side of the kernels at this resolution, odd", ge=3), Odd()]

    @property
    def reach(self) -> int:
        """How many pixels of an image away its subnetworks see at most."""
        return self.scale * self.subnetworks * (self.kernel_size // 2) + self.scale - 1


Stages = Annotated[
    tuple[ChainStage, ...],
    Field(description="subnetworks at several resolutions, in the order of the reconstruction", min_length=1),
]
#: At half resolution alone: cheap, and better at equal time than the same number at full resolution.
HALF_RESOLUTION = (ChainStage(scale=2, subnetworks=8, hidden=32, kernel_size=3),)
Padding = Annotated[
    int,
    Field(
        description="padding by reflection on each side; beyond it, convolutions see the centre",
        ge=0,
        json_schema_extra={"unit": "pixels"},
    ),
]
Border = Annotated[
    BorderName,
    Field(
        description="what the padding is: copies of pixels, up to four of one, which costs the bound a factor of 2 "
        "(2.8 for volumes); or copies and pixels with weights whose squares add up to 1, which costs nothing"
    ),
    LeftOut(),
]
Center = Annotated[
    float,
    Field(description="constant subtracted from images and measurements, near their mean", ge=0, le=1),
]
MaxIterations = Annotated[int, Field(description="largest number of iterations per subnetwork", ge=1)]
Normalisation = Annotated[
    NormalisationName,
    Field(
        description="how norms are found in training: on a grid of frequencies, or by power iteration, the paper's "
        "way, which stays below the norm and is slower"
    ),
]
PulledBack = Annotated[
    PullBack | None,
    Field(
        description="a linear map P to images, such as tikhonov: the network reads P z and learns P A; by default it "
        "reads z, or A*z/||A||² where measurements have another shape than images"
    ),
    LeftOut(),
]
TargetBound = Annotated[
    float | None,
    Field(
        description="the Lipschitz bound of the reconstruction that the certificate is to prove, above the norms of "
        "padding and pull-back: training keeps the bound of the whole chain there; by default only the product of the "
        "norms is kept, at 1 / (1 - L)",
        gt=1,
    ),
    LeftOut(),
]
