"""The images and masks of the analysis of local ill-posedness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from invreg import DataError, ImageStack, SpecError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Mask = NDArray[np.bool_]

_T = TypeVar("_T")

#: The mask that is found in each image.
SUBJECT = "subject"

#: Images with a subject are looked for among so many, the first ones.
_LOOKED_AT = 100
#: A subject of this share of the image is taken first: smaller ones are details, larger ones the background.
_SHARES = (0.1, 0.6)
#: Standard deviation of the Gaussian before the threshold, relative to the shorter side.
_DETAIL = 0.02
#: Phases whose means differ by less are shading, not a subject.
_STANDS_OUT = 0.08
_MIDDLE_GREY = 127


@dataclass(frozen=True)
class MaskedImage:
    """A test image with the part to which directions are restricted.

    Attributes:
        name: of the image.
        x: `[1, C, H, W]`, on the CPU.
        mask: `[H, W]`; None if there is no part.
        no_mask: why there is none, if it was asked for.
    """

    name: str
    x: Tensor
    mask: Mask | None
    no_mask: str = ""

    @property
    def share(self) -> float:
        """The share of the pixels that are in the part; 1 without one."""
        return 1.0 if self.mask is None else float(self.mask.mean())


def choose_images(images: int | Sequence[str], mask: str | None, test: ImageStack) -> list[MaskedImage]:
    """The images by name, or so many that suit: spread evenly over all, or over those with a subject.

    Args:
        images: names, or a number.
        mask: `subject`, found in each image; the path of an image file; None for no part.
        test: all test images.

    Raises:
        SpecError: if there is no such image.
        DataError: if the file cannot be used.
    """
    names = [str(name) for name in test.names]
    if not isinstance(images, int):
        return [_masked(_position(name, names), mask, names, test.images) for name in images]
    if mask != SUBJECT:
        return [_masked(index, mask, names, test.images) for index in _spread(range(len(names)), images)]
    found = [_masked(index, mask, names, test.images) for index in range(min(len(names), _LOOKED_AT))]
    with_subject = [one for one in found if one.mask is not None]
    typical = [one for one in with_subject if _SHARES[0] <= one.share <= _SHARES[1]]
    # Fewer than asked for are filled up with others, in their order.
    return _spread(next((group for group in (typical, with_subject) if len(group) >= images), found), images)


def find_subject(image: Tensor, name: str = "image") -> Mask:
    """The subject of an image: of two phases, light and dark, the one with fewer pixels at the border.

    Otsu's threshold divides the smoothed image; of the phase, the largest connected part is taken, with its holes. This
    is a rule of thumb: where it is wrong, give a file.

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
            hint="a mask from a file",
        )
    border = np.ones(grey.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    phase = min((light, ~light), key=lambda one: int(one[border].sum()))
    parts = label(phase)
    found: Mask = binary_fill_holes(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
    return found


def read_mask(given: str, shape: tuple[int, int]) -> Mask:
    """The pixels of an image file that are lighter than middle grey.

    Args:
        given: the path.
        shape: height and width of the image that it is for.

    Raises:
        DataError: if the file is missing, not an image, of another size, or black.
    """
    from PIL import Image, UnidentifiedImageError

    where = f"mask {given!r}"
    try:
        with Image.open(Path(given).expanduser()) as opened:
            values = np.asarray(opened.convert("L"))
    except FileNotFoundError:
        raise DataError("no such file", where=where, expected=f"{SUBJECT!r} or the path of an image file") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"cannot be read: {error}", where=where, expected="an image file, such as PNG") from None
    if values.shape != shape:
        found, wanted = (f"{height} x {width}" for height, width in (values.shape, shape))
        raise DataError(f"{found} pixels", where=where, expected=f"{wanted}, the size of the image")
    mask: Mask = values > _MIDDLE_GREY
    if not mask.any():
        raise DataError("no pixel is inside", where=where, expected="white where directions may be")
    return mask


def _masked(index: int, mask: str | None, names: Sequence[str], x: Tensor) -> MaskedImage:
    name, image = names[index], x[index : index + 1]
    if mask is None:
        return MaskedImage(name, image, None)
    if mask != SUBJECT:
        return MaskedImage(name, image, read_mask(mask, (int(x.shape[-2]), int(x.shape[-1]))))
    try:
        return MaskedImage(name, image, find_subject(image[0], name))
    except DataError as error:
        return MaskedImage(name, image, None, error.what)


def _position(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise SpecError(f"no test image {name!r}", where="images", hint=did_you_mean(name, names))
    return list(names).index(name)


def _spread(among: Sequence[_T], count: int) -> list[_T]:
    """The middle ones of `count` equal parts."""
    count = min(count, len(among))
    return [among[(2 * part + 1) * len(among) // (2 * count)] for part in range(count)]
