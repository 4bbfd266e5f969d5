"""Images as files, in the formats that are read: without loss, where the format has none."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invreg.errors import DataError, did_you_mean
from invreg.files import as_path, cannot_write, write_whole
from invreg.imaging.arrays import Layout, arranged
from invreg.imaging.reading import WHITE
from invreg.imaging.samples import Depth, check_white, shown

#: The formats that can be written.
Format: TypeAlias = Literal["png", "tiff", "jpeg", "npy", "npz"]

#: Which depths each format holds, the usual one first.
DEPTHS: dict[Format, tuple[Depth, ...]] = {
    "png": ("uint8", "uint16"),
    "jpeg": ("uint8",),
    "tiff": ("float32", "uint8", "uint16"),
    "npy": ("float32", "uint8", "uint16"),
    "npz": ("float32", "uint8", "uint16"),
}
#: File name endings, and the format that each stands for.
ENDINGS: dict[str, Format] = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".npy": "npy",
    ".npz": "npz",
}
# Of JPEG. Colours are kept at full resolution.
_QUALITY = 95


def write_image(
    path: str | Path,
    pixels: NDArray[Any],
    depth: Depth | None = None,
    white: float | None = None,
    layout: Layout = "CHW",
) -> None:
    """Writes an image as the ending of its name says: PNG, TIFF, JPEG, NPY or NPZ; a volume as TIFF, NPY or NPZ.

    With whole numbers, values are rounded to the nearest, and those that the depth does not hold are cut off. What was
    read with `read_image` and is written with its depth and white is the same again, except as JPEG; likewise what was
    read with `read_volume`, whose slices become the pages of a TIFF.

    Args:
        path: where to; folders above are made, and a file that is there is replaced.
        pixels: `[C, H, W]`, `[H, W]` or, for volumes, `[C, D, H, W]`: floating point, 1 for white, or uint8, 255 for
            white.
        depth: of the stored values: `uint8`, `uint16` or `float32`; if None, 8 bits in PNG and JPEG, else float32.
        white: the stored value that is white; if None, the largest one of 8 or 16 bits, or 1.
        layout: order of the axes in NPY and NPZ.

    Raises:
        DataError: if the format does not hold such an image.
        StoreError: if the file cannot be written.
    """
    path = as_path(path, "path")
    where = shown(path)
    check_white(white, where)
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"images are not written as {path.suffix!r}" if path.suffix else "has no ending that names a format",
            where=where,
            expected=f"a name that ends in {', '.join(ENDINGS)}",
            hint=did_you_mean(path.suffix.lower(), ENDINGS),
        )
    depth = depth or DEPTHS[kind][0]
    if depth not in DEPTHS[kind]:
        raise DataError(
            f"{kind.upper()} does not hold values of {depth}",
            where=where,
            expected=f"{' or '.join(DEPTHS[kind])}, or a name that ends in .tif or .npy",
        )
    content = _encoded(kind, _stored(np.asarray(pixels), depth, white, where), layout, where)
    try:
        write_whole(path, content)
    except OSError as error:
        raise cannot_write(path, error, "a file in a folder that you may write to") from error


def _stored(pixels: NDArray[Any], depth: Depth, white: float | None, where: str) -> NDArray[Any]:
    """The values `[C, H, W]` or `[C, D, H, W]` as they stand in the file."""
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim not in (3, 4) or not pixels.size or (pixels.dtype != np.uint8 and pixels.dtype.kind != "f"):
        raise DataError(
            f"an array of {pixels.dtype}, shape {list(pixels.shape)}",
            where=where,
            expected="[C, H, W], [H, W] or [C, D, H, W], floating point in [0, 1] or uint8",
        )
    if pixels.dtype == np.uint8 and depth == "uint8" and white in (None, 255):
        return pixels
    white = white or WHITE[depth]
    values = pixels / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("values that are NaN or infinite", where=where, expected="finite numbers")
    if depth == "float32":
        return (values * white).astype(np.float32)
    return np.rint(values * white).clip(0, WHITE[depth]).astype(depth)


def _encoded(kind: Format, values: NDArray[Any], layout: Layout, where: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "npy":
        np.save(buffer, arranged(values, layout), allow_pickle=False)
        return buffer.getvalue()
    if kind == "npz":
        np.savez(buffer, image=arranged(values, layout))
        return buffer.getvalue()
    if values.ndim == 4 and kind != "tiff":
        raise DataError(
            f"{kind.upper()} does not hold volumes", where=where, expected="a name that ends in .tif or .npy"
        )
    if len(values) not in (1, 3):
        raise DataError(
            f"{kind.upper()} does not hold images of {len(values)} channels", where=where, expected="1 or 3, or NPY"
        )
    interleaved = np.ascontiguousarray(values[0] if len(values) == 1 else np.moveaxis(values, 0, -1))
    if kind == "tiff":
        import tifffile

        colours = "minisblack" if len(values) == 1 else "rgb"
        tifffile.imwrite(buffer, interleaved, photometric=colours, compression="zlib", metadata=None, software="")
        return buffer.getvalue()
    if interleaved.dtype == np.uint16:
        return _deep_png(interleaved)
    options = {"quality": _QUALITY, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(interleaved).save(buffer, format=kind, **options)
    return buffer.getvalue()


def _deep_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits, `[H, W]` or `[H, W, 3]`; Pillow writes no such colours.

    Each line is stored as its difference to the line above. Source: W3C, Portable Network Graphics, third edition.
    """
    height, width = values.shape[:2]
    lines = values.astype(">u2").reshape(height, -1).view(np.uint8)
    differences = np.diff(lines, axis=0, prepend=np.zeros_like(lines[:1]))
    filtered = np.pad(differences, ((0, 0), (1, 0)), constant_values=2)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    parts = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
