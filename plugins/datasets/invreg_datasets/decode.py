"""Image files to arrays, without silent loss: what cannot be represented faithfully is refused by name."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from invreg import DataError
from invreg_datasets import netpbm, raster, tiff
from invreg_datasets.samples import LARGEST, Refused, shown

if TYPE_CHECKING:
    from invreg_datasets.prepare import Pixels

#: File name endings of the images that are looked for (compared in lower case).
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Images from this number of pixels on are decoded one after the other: many at a time would need memory for many.
_LARGE = 2**24
_one_large_image = Lock()


def read_image(path: Path) -> Pixels:
    """The image in a file, upright, `[C, H, W]` with one (grey) or three (RGB) channels.

    Grey values and colours of 1, 2, 4 and 8 bits come as uint8, 255 for white. Those with other white points (16 bits,
    a PGM whose largest value is 100) are divided by their white point and come as float32. Floating-point values
    are taken as they are if they lie in [0, 1]. The orientation is applied, a palette replaced by its colours, and
    an alpha channel dropped if the image is opaque. Colour profiles are not applied.

    Raises:
        DataError: if the file is missing, not a regular file, broken, too large, has transparent pixels, several pages,
            or pixels of a kind that has no plain meaning as grey or RGB (CMYK, Lab, signed or 32-bit integers).
    """
    where = shown(path)
    try:
        kind = special_kind(path.stat().st_mode)
        if kind is not None:
            raise Refused(f"is {kind}, not an image", "a regular file", "take it out of the folder")
        with path.open("rb") as file:
            return _decoded(file)
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


def _decoded(file: BinaryIO) -> Pixels:
    start = file.read(8)
    file.seek(0)
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
        return kind.read(file)


def file_size(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size
