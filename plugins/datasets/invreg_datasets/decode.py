"""Image files to arrays, without silent loss: what cannot be represented faithfully is refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invreg import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from invreg_datasets.prepare import Pixels

#: File name endings of the images that are looked for (compared in lower case).
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# What Pillow's decoders raise on broken files, depending on format and version.
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error)
_ALPHA = {"LA": "L", "PA": "RGB", "RGBA": "RGB"}
_SAVE_AS = "convert it to 8-bit RGB or grey, or take it out of the folder"


def read_image(path: Path) -> Pixels:
    """The image in a file, upright, `[C, H, W]` with one (grey) or three (RGB) channels.

    8-bit images come as uint8. 16-bit grey images are divided by 65535, and floating-point images taken as they
    are if they lie in [0, 1]; both come as float32. The orientation in the EXIF data is applied. A palette is
    replaced by its colours; an alpha channel is dropped if the image is opaque.

    Raises:
        DataError: if the file is missing, broken, has transparent pixels, several pages, or pixels of a kind that
            has no plain meaning as grey or RGB (CMYK, Lab, 32-bit integers).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            _require_single(file, path)
            # An MPO is a photograph of a phone: the first frame is the picture, the others are auxiliary.
            is_16_bit = file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PNG")
            image = ImageOps.exif_transpose(file)
            image.load()
    except FileNotFoundError:
        raise DataError("no such file", where=str(path), expected="an image file") from None
    except UnidentifiedImageError as error:
        raise DataError(
            "is no image, or of a kind that cannot be read", where=str(path), expected="a PNG, JPEG, TIFF, BMP or WebP"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"is too large: {error}", where=str(path), expected="an image of moderate size") from error
    except _BROKEN as error:
        raise DataError(
            f"cannot be decoded: {error}",
            where=str(path),
            expected="an intact image file",
            hint="copy or download it again, or take it out of the folder",
        ) from error
    return _pixels(image, is_16_bit, path)


def _require_single(file: Image, path: Path) -> None:
    pages = getattr(file, "n_frames", 1)
    if pages > 1 and file.format != "MPO":
        raise DataError(
            f"has {pages} pages or frames",
            where=str(path),
            expected="a single image",
            hint="save each page as a file of its own",
        )


def _pixels(image: Image, is_16_bit: bool, path: Path) -> Pixels:
    where, mode = str(path), image.mode
    if is_16_bit:
        return np.asarray(image).astype(np.float32)[None] / np.float32(65535)
    if mode == "F":
        return _unit_float(np.array(image, dtype=np.float32)[None], where)
    if mode == "P" or (mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in _ALPHA:
        image = _without_alpha(image, where)
    if image.mode in ("1", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode == "L":
        return np.array(image)[None]
    if image.mode == "RGB":
        return np.array(image).transpose(2, 0, 1)
    raise DataError(
        f"its pixels are {mode!r}", where=where, expected="grey, RGB, palette or 16-bit grey pixels", hint=_SAVE_AS
    )


def _without_alpha(image: Image, where: str) -> Image:
    alpha = image if image.mode != "PA" else image.convert("RGBA")
    lowest = alpha.getchannel("A").getextrema()[0]
    if isinstance(lowest, tuple) or lowest < 255:
        raise DataError(
            "has transparent pixels",
            where=where,
            expected="an opaque image",
            hint="flatten it onto a background, or take it out of the folder",
        )
    return image.convert(_ALPHA[image.mode])


def _unit_float(values: NDArray[np.float32], where: str) -> Pixels:
    if not np.isfinite(values).all():
        raise DataError("has pixels that are NaN or infinite", where=where, expected="finite values in [0, 1]")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise DataError(
            f"has floating-point values from {low:.4g} to {high:.4g}",
            where=where,
            expected="values in [0, 1]",
            hint="scale it before saving: which value is white cannot be guessed",
        )
    return values
