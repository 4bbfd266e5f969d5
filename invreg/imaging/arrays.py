"""NPY and NPZ files: arrays as NumPy keeps them, without pickles."""

from __future__ import annotations

from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from invreg.imaging.samples import LARGEST, Depth, Pixels, Refused, float_pixels, to_pixels

#: The order of the axes of an array: rows and columns, with channels first or last.
Layout: TypeAlias = Literal["HW", "CHW", "HWC"]

_LARGEST_BYTES = 24 * LARGEST  # three channels in float64


def read(file: BinaryIO, white: float | None) -> tuple[Pixels, Depth, Layout]:
    """The image `[C, H, W]`, how its values were stored, and how its axes were ordered.

    Channels are last where the last axis has one or three values and the first has not. Floating-point values may have
    any range, since arrays also hold what is not an image.

    Args:
        file: where it lies.
        white: the value that is white; without it, whole numbers must be of 8 or 16 bits.
    """
    values = _array(file)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.ndim not in (2, 3) or not values.size:
        raise Refused(
            f"is an array of shape {list(values.shape)}",
            "values [H, W], [C, H, W] or [H, W, C]",
            "save each image as a file of its own",
        )
    of_files = values.dtype in (np.uint8, np.uint16)
    if values.dtype.kind not in "uif" or (values.dtype.kind in "ui" and not of_files and white is None):
        raise Refused(
            f"is an array of {values.dtype}",
            "floating-point numbers, or whole ones of 8 or 16 bits without a sign",
            "say which value is white" if values.dtype.kind in "ui" else "parts of complex numbers as channels",
        )
    layout: Layout = "HW" if values.ndim == 2 else "CHW"
    if layout == "CHW" and values.shape[-1] in (1, 3) and values.shape[0] not in (1, 3):
        layout = "HWC"
    last = values[..., None] if layout == "HW" else np.moveaxis(values, 0, -1) if layout == "CHW" else values
    if of_files:
        depth: Depth = "uint8" if values.dtype == np.uint8 else "uint16"
        return to_pixels(last, np.iinfo(values.dtype).max), depth, layout
    return float_pixels(last, bounded=False), "float32", layout


def arranged(pixels: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """An image `[C, H, W]` with its axes ordered as this; with its channels, where it has several and `HW` has not."""
    if layout == "HWC":
        return np.moveaxis(pixels, 0, -1)
    return pixels[0] if layout == "HW" and len(pixels) == 1 else pixels


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
