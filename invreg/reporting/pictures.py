"""Images on the pages of reports: the one place where pixels become a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invreg.slices import as_pictures

if TYPE_CHECKING:
    from invreg.reporting.slices import Slices

#: The longer side of an image on a page, in pixels; larger ones are shown smaller.
LONGEST_SIDE = 880
# From this size on, images on a page are JPEG.
_PHOTOGRAPH = 128 * 128
# Smaller images are shown with larger pixels, until they have this width.
_NARROWEST = 240
# The height of a signal, in pixels.
_STRIP = 24
#: The quality of a JPEG.
QUALITY = 90

#: With more pixels than these, all test images together are JPEG.
MOST_EXACT = 3_000_000
# No more test images are shown than have this many bytes.
_MOST_BYTES = 6_000_000


@dataclass(frozen=True)
class Picture:
    """An image on a page.

    Attributes:
        title: what it shows.
        uri: the image itself.
        width: in pixels of the page.
        magnified: whether its pixels are shown larger than they are.
        note: how good it is.
        is_best: whether it is the one to look at first.
    """

    title: str
    uri: str
    width: int
    magnified: bool
    note: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class ShownImage:
    """A test image with what was measured and what was reconstructed, side by side; of volumes also their slices."""

    name: str
    pictures: Sequence[Picture]
    slices: Slices | None = None


def picture(title: str, image: NDArray[Any], note: str = "", *, exact: bool | None = None) -> Picture:
    """An image as a page shows it.

    Args:
        title: what it shows.
        image: `[C, H, W]`, floating point in [0, 1] or bytes; of other than one or three channels, the mean is shown.
            With another number of axes, see `plane`.
        note: how good it is.
        exact: whether each pixel is kept as it is (PNG) or not (JPEG); chosen by size if None.
    """
    shown = raster(as_channels(plane(image)))
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if exact is None:
        exact = shown.width * shown.height < _PHOTOGRAPH
    uri = data_uri(shown, None if exact else QUALITY)
    factor = max(1, -(-_NARROWEST // shown.width)) if max(shown.size) < _NARROWEST else 1
    return Picture(title, uri, factor * shown.width, factor > 1, note)


def plane(image: NDArray[Any]) -> NDArray[Any]:
    """What a page shows of `[C, ...]`: an image as it is, and `[C, H, W]` made of what is none.

    A volume `[C, D, H, W]` is shown by three slices through its middle, see `as_pictures`. A signal `[C, N]` is a
    strip. Of further axes, the middle is taken.
    """
    while image.ndim > 4:
        image = image[:, image.shape[1] // 2]
    if image.ndim < 3:
        return np.repeat(image.reshape(len(image), 1, -1), _STRIP, axis=1)
    if image.ndim == 3:
        return image
    return as_pictures(image[None])[0]


def as_channels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes with one or three channels: of `[C, ...]` with another number of them, the mean."""
    return as_bytes(image if len(image) in (1, 3) else image.mean(axis=0, keepdims=True) / _white(image))


def raster(image: NDArray[np.uint8]) -> Image.Image:
    """`[C, H, W]` with one or three channels as an image of Pillow."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def data_uri(shown: Image.Image, quality: int | None) -> str:
    """An image as a data URI: a JPEG of this quality, or a PNG if None."""
    kind, options = ("PNG", {}) if quality is None else ("JPEG", {"quality": quality, "subsampling": 0})
    buffer = io.BytesIO()
    shown.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _white(image: NDArray[Any]) -> int:
    return 255 if image.dtype == np.uint8 else 1


def as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Values in [0, 1] as whole numbers up to 255; bytes are kept."""
    if image.dtype == np.uint8:
        return image
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def stretched(values: NDArray[Any]) -> NDArray[Any]:
    """Measurements that are no images, from their smallest to their largest value as [0, 1]."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-12)


def side_by_side(
    names: Sequence[str], columns: Mapping[str, NDArray[Any]], notes: Mapping[tuple[str, str], str], best: str = ""
) -> list[ShownImage]:
    """As many images as a page can hold, each as a row of pictures.

    Args:
        names: of the images.
        columns: title to `[N, C, H, W]`, or `[N, C, D, H, W]`; a column may hold fewer images than there are names,
            and those are shown.
        notes: (title, name) to what stands below a picture.
        best: the title of the pictures that are compared with the measurement first; the last ones if empty.
    """
    columns = {title: as_pictures(column) for title, column in columns.items()}
    amount = min([len(names), *map(len, columns.values())])
    pixels = sum(int(np.prod(column.shape[1:])) for column in columns.values()) * amount
    rows: list[ShownImage] = []
    used = 0
    for position, name in enumerate(names[:amount]):
        row = [
            replace(
                picture(title, column[position], notes.get((title, name), ""), exact=pixels <= MOST_EXACT),
                is_best=title == best,
            )
            for title, column in columns.items()
        ]
        used += sum(len(one.uri) for one in row)
        if rows and used > _MOST_BYTES:
            break
        rows.append(ShownImage(name, row))
    return rows
