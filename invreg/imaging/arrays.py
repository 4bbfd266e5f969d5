"""NPY and NPZ files: arrays as NumPy keeps them, without pickles."""

from __future__ import annotations

from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from invreg.imaging.samples import LARGEST, Depth, Pixels, Refused, float_pixels, to_pixels

#: The order of the axes of an array: rows and columns, with channels first or last; slices before them in volumes.
Layout: TypeAlias = Literal["HW", "CHW", "HWC", "DHW", "CDHW"]

_LARGEST_BYTES = 24 * LARGEST  # three channels in float64


def read(file: BinaryIO, white: float | None) -> tuple[Pixels, Depth, Layout]:
    """The image `[C, H, W]`, how its values were stored, and how its axes were ordered.

    Channels are last where the last axis has one or three values and the first has not. Floating-point values may have
    any range, since arrays also hold what is not an image.

    Args:
        file: where it lies.
        white: the value that is white; without it, whole numbers must be of 8 or 16 bits.
    """
    values = _values(
        file,
        white,
        (2, 3),
        "values [H, W], [C, H, W] or [H, W, C]",
        (
            "np.save(path, values[None]) makes an image of one row",
            "save each image as a file of its own; a volume is for methods of volumes",
        ),
    )
    layout: Layout = "HW" if values.ndim == 2 else "CHW"
    if layout == "CHW" and values.shape[-1] in (1, 3) and values.shape[0] not in (1, 3):
        layout = "HWC"
    last = values[..., None] if layout == "HW" else np.moveaxis(values, 0, -1) if layout == "CHW" else values
    return *_pixels(last), layout


def read_volume(file: BinaryIO, white: float | None) -> tuple[Pixels, Depth, Layout]:
    """The volume `[C, D, H, W]`, how its values were stored, and how its axes were ordered; values as in `read`.

    Args:
        file: where it lies.
        white: the value that is white; without it, whole numbers must be of 8 or 16 bits.
    """
    values = _values(
        file,
        white,
        (3, 4),
        "values [D, H, W] or [C, D, H, W]",
        ("np.save(path, np.stack(slices)) makes a volume of images", "save each volume as a file of its own"),
    )
    layout: Layout = "DHW" if values.ndim == 3 else "CDHW"
    return *_pixels(values[..., None] if layout == "DHW" else np.moveaxis(values, 0, -1)), layout


def arranged(pixels: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """An image or a volume, channels first, with its axes ordered as this; with its channels, where it has several."""
    if layout == "HWC":
        return np.moveaxis(pixels, 0, -1)
    return pixels[0] if layout in ("HW", "DHW") and len(pixels) == 1 else pixels


def _values(
    file: BinaryIO, white: float | None, axes: tuple[int, int], expected: str, hints: tuple[str, str]
) -> NDArray[Any]:
    """The array, of so many axes and of numbers that have a plain meaning; hints for fewer axes, and for more."""
    values = _array(file)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.ndim not in axes or not values.size:
        hint = hints[0] if values.ndim < axes[0] else hints[1]
        raise Refused(
            f"is an array of shape {list(values.shape)}", expected, hint if values.size else "a file with values"
        )
    of_files = values.dtype in (np.uint8, np.uint16)
    if values.dtype.kind not in "uif" or (values.dtype.kind in "ui" and not of_files and white is None):
        raise Refused(
            f"is an array of {values.dtype}",
            "floating-point numbers, or whole ones of 8 or 16 bits without a sign",
            "say which value is white" if values.dtype.kind in "ui" else "parts of complex numbers as channels",
        )
    return values


def _pixels(values: NDArray[Any]) -> tuple[Pixels, Depth]:
    """Values with their channels last as pixels, and their depth."""
    if values.dtype in (np.uint8, np.uint16):
        return to_pixels(values, np.iinfo(values.dtype).max), "uint8" if values.dtype == np.uint8 else "uint16"
    return float_pixels(values, bounded=False), "float32"


def _array(file: BinaryIO) -> NDArray[Any]:
    try:
        return _loaded(file)
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise Refused(
            "holds objects of Python, not numbers",
            "an array of numbers",
            "np.save(path, np.stack(images)) for arrays of one shape, or each as a file of its own",
        ) from error


def _loaded(file: BinaryIO) -> NDArray[Any]:
    loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, NpzFile):
        return loaded
    with loaded:
        names = loaded.files
        if len(names) != 1:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise Refused(f"holds {len(names)} arrays ({shown})", "one array", "save each as a file of its own")
        (packed,) = [] if loaded.zip is None else loaded.zip.infolist()
        unpacked = packed.file_size
        if unpacked > _LARGEST_BYTES:
            raise Refused(f"is too large: {unpacked:,} bytes", f"at most {_LARGEST_BYTES:,}", "cut it into pieces")
        return loaded[names[0]]
