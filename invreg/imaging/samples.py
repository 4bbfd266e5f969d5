"""What the readers of image files share: samples with a white point to pixels, and refusals."""

from __future__ import annotations

import math
import os
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from invreg.errors import SpecError

#: An image `[C, H, W]`: uint8 in 0..255 or float32, 1 for white.
Pixels: TypeAlias = NDArray[np.uint8 | np.float32]

#: How values are stored in a file.
Depth: TypeAlias = Literal["uint8", "uint16", "float32"]

#: Pixels of the largest image that is decoded: from here on, small files that unpack to gigabytes are more likely.
LARGEST = 178_956_970

SAVE_AS = "convert it to 8-bit or 16-bit grey or RGB, or take it out of the folder"


class Refused(Exception):
    """Why an image is not read, what would be, and what to try; the file is added where it is known."""

    def __init__(self, what: str, expected: str, hint: str = SAVE_AS) -> None:
        super().__init__(what)
        self.expected = expected
        self.hint = hint


def shown(path: Path) -> str:
    """The path as text that can be printed: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def to_unit(image: Pixels) -> NDArray[np.float32]:
    """uint8 in 0..255 as float32 in [0, 1]; float32 as it is."""
    values = image.astype(np.float32, copy=False)
    return values / np.float32(255) if image.dtype == np.uint8 else values


def check_white(white: float | None, where: str) -> None:
    """Refuses a white that is not a positive number.

    Raises:
        SpecError: naming what was given.
    """
    if white is not None and not (isinstance(white, Real) and 0 < white < math.inf):
        raise SpecError(f"white = {white!r}", where=where, expected="a positive number: the stored value of white")


def to_pixels(samples: NDArray[Any], white: int, *, alpha: bool = False) -> Pixels:
    """Whole numbers from 0 to `white`, `[H, W, S]`, as an image `[C, H, W]`; the last of them may be the opacity."""
    if alpha:
        if int(samples[..., -1].min()) < white:
            raise transparent()
        samples = samples[..., :-1]
    planes = np.moveaxis(samples, -1, 0)
    if 255 % white == 0:
        pixels = planes.astype(np.uint8, copy=False)
        return pixels if white == 255 else pixels * np.uint8(255 // white)
    scaled = planes.astype(np.float32)
    scaled /= np.float32(white)
    return scaled


def float_pixels(samples: NDArray[Any], *, alpha: bool = False, bounded: bool = True) -> Pixels:
    """Floating-point values `[H, W, S]` as an image `[C, H, W]`.

    Raises:
        Refused: if they are not finite, or, where they are to be `bounded`, not in [0, 1].
    """
    low, high = float(samples.min()), float(samples.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refused("has pixels that are NaN or infinite", "finite values in [0, 1]", "correct or remove it")
    if bounded and (low < 0 or high > 1):
        raise Refused(
            f"has floating-point values from {low:.4g} to {high:.4g}",
            "values in [0, 1]",
            "scale it before saving: which value is white cannot be guessed",
        )
    if alpha:
        if float(samples[..., -1].min()) < 1:
            raise transparent()
        samples = samples[..., :-1]
    return np.moveaxis(samples, -1, 0).astype(np.float32)


def transparent() -> Refused:
    """The refusal of an image that is not opaque."""
    return Refused(
        "has transparent pixels", "an opaque image", "flatten it onto a background, or take it out of the folder"
    )


def several(count: int | str) -> Refused:
    """The refusal of a file with several images."""
    return Refused(f"has {count} pages or frames", "a single image", "save each page as a file of its own")


def use_raw_mode(image: Any, raw_mode: str) -> None:
    """Has Pillow read the pixels of an opened PNG or TIFF in another way than its own: other bytes of each value."""
    tile = image.tile[0]
    arguments = raw_mode if isinstance(tile[3], str) else (raw_mode, *tile[3][1:])
    # A named tuple from Pillow 11 on.
    image.tile = [tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)]
