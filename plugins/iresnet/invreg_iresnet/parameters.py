"""The parameters that all invertible residual networks share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import LeftOut, Odd, PullBack, search_choices
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
Padding = Annotated[
    int,
    Field(
        description="reflect padding on each side, without which zero padding spoils the borders",
        ge=0,
        json_schema_extra={"unit": "pixels"},
    ),
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
