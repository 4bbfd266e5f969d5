"""Image files to arrays, without silent loss: what cannot be represented faithfully is refused by name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from invreg.errors import DataError
from invreg.files import as_path
from invreg.imaging import arrays, netpbm, raster, tiff
from invreg.imaging.samples import LARGEST, Depth, Pixels, Refused, check_white, shown

#: File name endings of images (compared in lower case); those of arrays are looked for only where they are wanted.
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
ARRAYS = (".npy", ".npz")

#: The stored value that is white, if nothing else is known.
WHITE: dict[Depth, float] = {"uint8": 255, "uint16": 65_535, "float32": 1}

# Images from this number of pixels on are decoded one after the other: many at a time would need memory for many.
_LARGE = 2**24
_one_large_image = Lock()


@dataclass(frozen=True)
class ImageFile:
    """What an image file holds, and how it holds it.

    Attributes:
        pixels: `[C, H, W]`, or `[C, D, H, W]` for a volume; upright, with one (grey) or three (RGB) channels: uint8 in
            0..255, or float32, 1 for white.
        depth: of the values in the file; 1, 2 and 4 bits count as 8, and those of other white points as 16.
        white: the stored value that is white.
        layout: order of the axes in an array, `CHW` for all other files.
    """

    pixels: Pixels
    depth: Depth
    white: float
    layout: arrays.Layout = "CHW"


def read_image(path: str | Path, white: float | None = None) -> ImageFile:
    """The image in a file, upright, `[C, H, W]` with one (grey) or three (RGB) channels.

    Grey values and colours of 1, 2, 4 and 8 bits come as uint8, 255 for white. Those with other white points (16 bits,
    a PGM whose largest value is 100) are divided by their white point and come as float32. Floating-point values
    are taken as they are if they lie in [0, 1]. The orientation is applied, a palette replaced by its colours, and
    an alpha channel dropped if the image is opaque. Colour profiles are not applied. Arrays (`.npy`, and `.npz` with
    one array) may have channels last, any number of them, and floating-point values of any range.

    Args:
        path: the file; but for arrays, its content says what it is, not its name.
        white: the stored value that is white, where it is not the largest of the depth (a camera of 12 bits in files of
            16: 4095). Values are divided by it and come as float32; floating-point values may lie outside [0, 1] then.

    Raises:
        SpecError: if `white` is not a positive number.
        DataError: if the file is missing, not a regular file, broken, too large, has transparent pixels, several pages,
            or pixels of a kind that has no plain meaning as grey or RGB (CMYK, Lab, signed or 32-bit integers).
    """
    return _read(as_path(path, "path"), white, _decoded)


def read_volume(path: str | Path, white: float | None = None) -> ImageFile:
    """The volume in a file, `[C, D, H, W]`: a TIFF whose pages are its slices, or an NPY or NPZ file.

    Pages are read as `read_image` reads images, and all have one size and one depth. Arrays are `[D, H, W]` or
    `[C, D, H, W]`.

    Args:
        path: the file; but for arrays, its content says what it is, not its name.
        white: the stored value that is white, as for `read_image`.

    Raises:
        SpecError: if `white` is not a positive number.
        DataError: as `read_image`; and if the file holds something else than the slices of one volume, such as several
            channels or times in pages.
    """
    return _read(as_path(path, "path"), white, _decoded_volume)


def _read(path: Path, white: float | None, decode: Callable[[BinaryIO, str, float | None], ImageFile]) -> ImageFile:
    where = shown(path)
    check_white(white, where)
    try:
        kind = special_kind(path.stat().st_mode)
        if kind is not None:
            raise Refused(f"is {kind}, not an image", "a regular file", "take it out of the folder")
        with path.open("rb") as file:
            return decode(file, path.suffix.lower(), white)
    except Refused as error:
        raise DataError(str(error), where=where, expected=error.expected, hint=error.hint) from error
    except FileNotFoundError:
        raise DataError("no such file", where=where, expected="an image file") from None
    except PermissionError as error:
        raise DataError(
            "cannot be opened: permission denied",
            where=where,
            expected="a file that you may read",
            hint="change its permissions, or take it out of the folder",
        ) from error
    except Exception as error:
        raise DataError(
            f"cannot be decoded: {(str(error) or type(error).__name__)[:200]}",
            where=where,
            expected="an intact image file",
            hint="copy or download it again, or take it out of the folder",
        ) from error


def special_kind(mode: int) -> str | None:
    """What a file is, from `st_mode`, if it is not a regular one: reading it might wait for ever."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return None if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "a special file")


def _decoded(file: BinaryIO, ending: str, white: float | None) -> ImageFile:
    layout: arrays.Layout
    if ending in ARRAYS:
        pixels, depth, layout = arrays.read(file, white)
    else:
        layout = "CHW"
        pixels, depth = _pixels(file, bounded=white is None)
    return _of_white(pixels, depth, layout, white)


def _decoded_volume(file: BinaryIO, ending: str, white: float | None) -> ImageFile:
    if ending in ARRAYS:
        return _of_white(*arrays.read_volume(file, white), white)
    if not tiff.is_of_this_kind(file.read(8)):
        raise Refused(
            "is a flat image",
            "a TIFF whose pages are the slices of a volume, or NPY or NPZ",
            "np.save(path, np.stack(slices)) makes a volume of images",
        )
    is_float = tiff.holds_floats(file)
    pixels = tiff.read_stack(file, bounded=white is None)
    depth: Depth = "float32" if is_float else "uint8" if pixels.dtype == np.uint8 else "uint16"
    return _of_white(pixels, depth, "DHW" if len(pixels) == 1 else "CDHW", white)


def _of_white(pixels: Pixels, depth: Depth, layout: arrays.Layout, white: float | None) -> ImageFile:
    usual = WHITE[depth]
    if white is not None and white != usual:
        factor = 1 if pixels.dtype == np.uint8 else usual
        pixels = pixels.astype(np.float32) * np.float32(factor / white)
    return ImageFile(pixels, depth, usual if white is None else white, layout)


def _pixels(file: BinaryIO, *, bounded: bool) -> tuple[Pixels, Depth]:
    start = file.read(8)
    kind = next((kind for kind in (tiff, netpbm) if kind.is_of_this_kind(start)), raster)
    width, height = kind.size(file)
    if width * height > LARGEST:
        raise Refused(
            f"is too large: {width}x{height} pixels",
            f"at most {LARGEST:,} pixels",
            "cut it into pieces or shrink it, or take it out of the folder",
        )
    if width < 1 or height < 1:
        raise Refused(f"has {width}x{height} pixels", "at least one pixel", "take it out of the folder")
    with _one_large_image if width * height >= _LARGE else nullcontext():
        file.seek(0)
        if kind is tiff and tiff.holds_floats(file):
            return tiff.read(file, bounded=bounded), "float32"
        pixels = kind.read(file)
        return pixels, "uint8" if pixels.dtype == np.uint8 else "uint16"


def file_size(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size
