"""Parts of images: a box, a mask from a file, or the subject, found in the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invreg import DataError, SpecError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Top, left, height and width, in pixels.
Box = tuple[int, int, int, int]
#: How a part of an image is given.
Part = str | Box

SUBJECT = "subject"

#: Standard deviation of the Gaussian before the threshold, relative to the shorter side.
_DETAIL = 0.02
#: Phases whose means differ by less are shading, not a subject.
_STANDS_OUT = 0.08
_LARGEST_GREY = 255


def part_of(given: Part | Mapping[str, Part], name: str, image: Tensor) -> NDArray[np.bool_]:
    """The mask of a part of an image.

    Args:
        given: `subject`, a box, the path of an image file, or a mapping from names of images to these.
        name: of the image.
        image: `[C, H, W]`.

    Returns:
        `[H, W]`, with one pixel inside at least.

    Raises:
        SpecError: if a box is not inside of the image, or the mapping does not have the image.
        DataError: if the file is missing, no image, of another size or black, or no subject stands out.
    """
    if isinstance(given, Mapping):
        if name not in given:
            raise SpecError(f"no mask for {name!r}", where="mask", hint=did_you_mean(name, given))
        given = given[name]
    height, width = int(image.shape[-2]), int(image.shape[-1])
    if not isinstance(given, str):
        return _box(given, height, width)
    return find_subject(image, name) if given == SUBJECT else _from_file(given, height, width)


def check_part(given: Part | Mapping[str, Part] | None) -> None:
    """Refuses what is no part of any image.

    Raises:
        SpecError: naming it.
    """
    if isinstance(given, Mapping):
        if not given:
            raise SpecError("an empty mapping", where="mask", expected="names of images with their masks, or null")
        for part in given.values():
            check_part(part)
    elif isinstance(given, str):
        if not given.strip():
            raise SpecError("an empty text", where="mask", expected=f"{SUBJECT!r}, a box or the path of an image file")
    elif given is not None:
        top, left, height, width = given
        if min(top, left) < 0 or min(height, width) < 1:
            raise SpecError(
                f"the box {list(given)}",
                where="mask",
                expected="[top, left, height, width] with top and left from 0 and a size of at least 1",
            )


def find_subject(image: Tensor, name: str = "image") -> NDArray[np.bool_]:
    """What stands out from the surroundings: of two phases, light and dark, the one that is less at the border.

    Otsu's threshold divides the smoothed image. The phase that has fewer pixels at the border is the subject; its
    largest connected part is taken, with its holes. That is a rule, not an understanding of images: where it is wrong,
    a box or a file says better what is meant.

    Args:
        image: `[C, H, W]`; the mean over the channels.
        name: for the message.

    Raises:
        DataError: if nothing stands out.

    Source: Otsu 1979; border pixels as background, Wei et al. 2012 (ECCV).
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    grey = image.double().mean(0).cpu().numpy()
    smooth = gaussian_filter(grey, max(min(grey.shape) * _DETAIL, 1.0), mode="nearest")
    light = smooth > threshold_otsu(smooth)
    if light.all() or not light.any() or smooth[light].mean() - smooth[~light].mean() < _STANDS_OUT:
        raise DataError(
            "nothing stands out from the surroundings",
            where=f"image {name!r}",
            expected="a subject",
            hint="a mask as a box [top, left, height, width] or as a file",
        )
    border = np.ones(grey.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    phase = min((light, ~light), key=lambda one: int(one[border].sum()))
    parts = label(phase)
    found: NDArray[np.bool_] = binary_fill_holes(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
    return found


def _box(box: Box, height: int, width: int) -> NDArray[np.bool_]:
    top, left, rows, columns = box
    if top + rows > height or left + columns > width:
        raise SpecError(
            f"the box {list(box)} is not inside of the image",
            where="mask",
            expected=f"[top, left, height, width] within {height} x {width} pixels",
        )
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def _from_file(given: str, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels of an image file that are lighter than middle grey."""
    from PIL import Image, UnidentifiedImageError

    path = Path(given).expanduser()
    try:
        with Image.open(path) as opened:
            values = np.asarray(opened.convert("L"))
    except FileNotFoundError:
        raise DataError(
            "no such file",
            where=f"mask {given!r}",
            expected=f"{SUBJECT!r}, a box [top, left, height, width] or the path of an image file",
        ) from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"cannot be read: {error}", where=f"mask {given!r}", expected="an image file") from None
    if values.shape != (height, width):
        raise DataError(
            f"{values.shape[0]} x {values.shape[1]} pixels",
            where=f"mask {given!r}",
            expected=f"{height} x {width}, the size of the image",
        )
    mask: NDArray[np.bool_] = values > _LARGEST_GREY // 2
    if not mask.any():
        raise DataError("no pixel is inside", where=f"mask {given!r}", expected="white where directions may be")
    return mask
