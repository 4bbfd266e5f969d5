"""Parameters that data sets share: the same names, ranges and meanings wherever they appear."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from invreg import SpecError

ImageSize = Annotated[
    int,
    Field(ge=1, description="height and width of the validation and test images", json_schema_extra={"unit": "pixels"}),
]
TrainSize = Annotated[
    int | None,
    Field(
        ge=1,
        description="height and width of the random training crops; none: as large as the test images",
        json_schema_extra={"unit": "pixels"},
    ),
]
Downsample = Annotated[
    int, Field(ge=1, description="images are first reduced by this factor, by averaging square blocks of pixels")
]
ColorName = Literal["grey", "rgb"]
Color = Annotated[
    ColorName, Field(description="grey: one channel, the luminance .2125 R + .7154 G + .0721 B; rgb: three channels")
]
SplitSeed = Annotated[int, Field(ge=0, description="chooses which images go to which split")]

CHANNELS: dict[ColorName, int] = {"grey": 1, "rgb": 3}


def require_positive(**sizes: int | None) -> None:
    """Refuses sizes below one: in Python, the constructor is called without a schema before it.

    Raises:
        SpecError: naming the parameter.
    """
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise SpecError(f"{name} = {size}", where=name, expected="at least 1")


def require_color(color: str) -> None:
    """Refuses a colour mode that does not exist.

    Raises:
        SpecError: listing those that do.
    """
    if color not in CHANNELS:
        raise SpecError(f"color = {color!r}", where="color", expected=f"one of {', '.join(CHANNELS)}")
