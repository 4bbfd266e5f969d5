"""Parameters that data sets share: the same names, ranges and meanings wherever they appear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

#: Side of the largest square image.
LARGEST_SIDE = 16_384

ImageSize = Annotated[
    int,
    Field(
        ge=1,
        le=LARGEST_SIDE,
        description="height and width of the validation and test images",
        json_schema_extra={"unit": "pixels"},
    ),
]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
#: One number for squares, or height and width.
AnySize = Side | tuple[Side, Side]
TrainSize = Annotated[
    int | None,
    Field(
        ge=1,
        le=LARGEST_SIDE,
        description="height and width of the random training crops; none: as large as the test images",
        json_schema_extra={"unit": "pixels"},
    ),
]
Downsample = Annotated[
    int,
    Field(
        ge=1,
        le=LARGEST_SIDE,
        description="images are first reduced by this factor, by averaging square blocks of pixels, which removes "
        "artefacts of compression and sensors",
    ),
]
ColorName = Literal["grey", "rgb"]
Color = Annotated[
    ColorName,
    Field(
        description="grey: one channel, the luminance .2125 R + .7154 G + .0721 B; rgb: three channels, equal ones for "
        "grey images"
    ),
]
SplitSeed = Annotated[int, Field(ge=0, description="chooses which images go to which split")]


def _not_empty(path: Any) -> Any:
    if path == "":  # which would be the current directory
        raise ValueError("the path is empty")
    return path


#: A folder; `~` is the home directory, a relative path starts at the current directory.
Folder = Annotated[Path, BeforeValidator(_not_empty)]


def height_and_width(size: AnySize) -> tuple[int, int]:
    """Both sides of images of this size."""
    return (size, size) if isinstance(size, int) else size
