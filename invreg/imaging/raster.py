"""PNG, JPEG, BMP, WebP and GIF files, by Pillow; what it would change silently is read otherwise or refused."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from invreg.imaging.samples import Pixels, Refused, several, to_pixels, transparent, use_raw_mode

# Anything else that Pillow knows might start other programs, or mean something that was never looked into. MPO is JPEG.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP")
_KINDS = "a PNG, JPEG, TIFF, BMP, WebP, GIF, PGM or PPM"
_ALPHA = {"LA": "L", "PA": "RGB", "RGBA": "RGB"}
# PNGs of 16 bits whose channels Pillow cuts to 8: how each of the two bytes of a value is had from it.
_DEEP_PNG = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}


def size(file: BinaryIO) -> tuple[int, int]:
    """Width and height, from the header alone."""
    with _opened(file) as image:
        return image.size


def read(file: BinaryIO) -> Pixels:
    """The image `[C, H, W]`, upright."""
    with _opened(file) as image:
        # An MPO is a photograph of a phone: the first frame is the picture, the others are auxiliary.
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and image.format != "MPO":
            raise several(pages)
        raw_mode = image.tile[0][3] if isinstance(image, PngImageFile) and image.tile else None
    if raw_mode is not None:
        with _opened(file) as image:
            image.verify()  # reading the pixels alone skips the checksums
        if raw_mode in _DEEP_PNG:
            return _deep_png(file, raw_mode)
    with _opened(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _pixels(image, raw_mode)


def _opened(file: BinaryIO) -> Image.Image:
    file.seek(0)
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise Refused(
            "is not an image, or of a kind that is not read", _KINDS, "save it as PNG, or take it out of the folder"
        ) from error
    except Image.DecompressionBombError as error:
        raise Refused(
            f"is too large: {error}", "an image of moderate size", "cut it into pieces or shrink it"
        ) from error


def _pixels(image: Image.Image, raw_mode: Any) -> Pixels:
    if image.mode.startswith("I;16") or (image.mode == "I" and raw_mode is not None):
        return _grey_16(image)
    if raw_mode is not None and "transparency" in image.info and image.mode in ("1", "L"):
        # The transparent value is one of the file, where white may be 1, 3 or 15.
        key, scale = image.info.pop("transparency"), {"L;2": 85, "L;4": 17}.get(raw_mode, 1)
        if (np.asarray(image.convert("L")) == (255 * bool(key) if image.mode == "1" else key * scale)).any():
            raise transparent()
    is_gif = image.format == "GIF"
    if image.mode == "P":
        _check_palette(image)
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if "transparency" in image.info and image.mode in ("L", "RGB"):
        image = image.convert("RGBA")
    if image.mode in _ALPHA:
        image = _without_alpha(image)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB"):
        raise Refused(f"its pixels are {image.mode}", "grey, RGB or palette pixels")
    values = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    # A GIF has a palette in any case: it is grey if its colours are.
    return values[:1] if is_gif and (values == values[:1]).all() else values


def _grey_16(image: Image.Image) -> Pixels:
    values = np.asarray(image)
    if "transparency" in image.info and (values == image.info["transparency"]).any():
        raise transparent()
    return to_pixels(values[..., None], 65_535)


def _deep_png(file: BinaryIO, raw_mode: str) -> Pixels:
    """Colour, or grey with opacity, of 16 bits: Pillow gives the upper bytes; asked again, it gives the lower ones."""
    other, key = _raw(file, _DEEP_PNG[raw_mode])
    if raw_mode == "LA;16B":  # as long as a pixel of 8-bit RGBA: L, L, A, A
        high, low = other[..., ::2], other[..., 1::2]
    else:
        high, low = _raw(file, raw_mode)[0], other
    values = high.astype(np.uint16)
    del high
    values *= np.uint16(256)
    values += low
    if key is not None and (values == np.array(key)).all(axis=-1).any():
        raise transparent()
    return to_pixels(values, 65_535, alpha=raw_mode != "RGB;16B")


def _raw(file: BinaryIO, raw_mode: str) -> tuple[NDArray[np.uint8], Any]:
    with _opened(file) as image:
        use_raw_mode(image, raw_mode)
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image), image.info.get("transparency")


def _check_palette(image: Image.Image) -> None:
    colours = len(image.palette.palette) // len(image.palette.mode) if image.palette else 0
    highest = int(np.asarray(image).max())
    if highest >= colours:
        raise Refused(
            f"has the palette index {highest}, but only {colours} colours", "an index of the palette for each pixel"
        )


def _without_alpha(image: Image.Image) -> Image.Image:
    lowest = (image.convert("RGBA") if image.mode == "PA" else image).getchannel("A").getextrema()[0]
    if isinstance(lowest, tuple) or lowest < 255:
        raise transparent()
    return image.convert(_ALPHA[image.mode])
