"""TIFF and BigTIFF files: every tag that says what a value means is obeyed, or the file refused.

Uncompressed and deflated pixels are read here, strip by strip: what Pillow makes of them depends on the way in which it
opens a file (orientations), and it cuts 16-bit colours to 8 bits. It decodes the other compressions, for the kinds of
pixels that it keeps as they are.

Source: Adobe, TIFF Revision 6.0, 1992, and its Technical Notes 1 to 3.
"""

from __future__ import annotations

import math
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from invreg.imaging.samples import LARGEST, SAVE_AS, Pixels, Refused, float_pixels, several, to_pixels, use_raw_mode

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_EXPECTED = "an intact TIFF file"
_AGAIN = "copy or save it again, or take it out of the folder"

# The tags that are read. Others (resolution, author, colour profile, ...) do not change what a value means.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_DESCRIPTION, _OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS = 270, 273, 274, 277, 278, 279
_LOWEST, _HIGHEST, _PLANAR, _PREDICTOR, _COLOURS = 280, 281, 284, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_DEPTH = 32_997
_NUMBERS = {
    _SUBFILE: "NewSubfileType", _WIDTH: "ImageWidth", _HEIGHT: "ImageLength", _BITS: "BitsPerSample",
    _COMPRESSION: "Compression", _PHOTOMETRIC: "PhotometricInterpretation", _FILL_ORDER: "FillOrder",
    _OFFSETS: "StripOffsets", _ORIENTATION: "Orientation", _SAMPLES: "SamplesPerPixel", _ROWS: "RowsPerStrip",
    _COUNTS: "StripByteCounts", _LOWEST: "MinSampleValue", _HIGHEST: "MaxSampleValue", _PLANAR: "PlanarConfiguration",
    _PREDICTOR: "Predictor", _COLOURS: "ColorMap", _TILE_WIDTH: "TileWidth", _TILE_HEIGHT: "TileLength",
    _TILE_OFFSETS: "TileOffsets", _TILE_COUNTS: "TileByteCounts", _EXTRA: "ExtraSamples", _FORMAT: "SampleFormat",
    _DEPTH: "ImageDepth",
}  # fmt: skip
# Tags that map values to others, or exclude some.
_REFUSED = {291: "GrayResponseCurve", 42_113: "GDAL_NODATA", 50_712: "LinearizationTable"}
_INTEGERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

_COMPRESSIONS = {
    1: "none", 2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate",
    32_773: "PackBits", 32_946: "deflate", 34_712: "JPEG 2000", 34_887: "LERC", 34_925: "LZMA", 50_000: "Zstandard",
    50_001: "WebP", 50_002: "JPEG XL",
}  # fmt: skip
_READ_HERE = (1, 8, 32_946)
_BY_PILLOW = (2, 3, 4, 5, 7, 32_773)
_COLOUR_SPACES = {
    0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "palette", 4: "transparency mask", 5: "CMYK", 6: "YCbCr",
    8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32_803: "colour filter array", 32_844: "LogL", 32_845: "LogLuv",
    34_892: "LinearRaw",
}  # fmt: skip
_FORMATS = {1: "uint", 2: "int", 3: "float", 4: "untyped", 5: "complex int", 6: "complex"}


class _Page:
    """A page of a file: its tags, checked as far as one can without the pixels.

    Args:
        file: the file.
        start: where its tags begin; None for the first page.
        number: how many pages come before it.
    """

    def __init__(self, file: BinaryIO, start: int | None = None, number: int = 0) -> None:
        self.file_size = os.fstat(file.fileno()).st_size
        self.order, self.big, first = _file_header(file)
        self.start, self.number = first if start is None else start, number
        self.tags, self.description, self.following = self._read(file, self.start)
        self.width, self.height = self.one(_WIDTH), self.one(_HEIGHT)

    def pages(self, file: BinaryIO) -> int:
        """How many pages the file has, for its first one."""
        return self._count(file, self.start, self.following)

    def one(self, tag: int, default: int | None = None) -> int:
        """The value of a tag with one value."""
        values = self.tags.get(tag)
        if values is None:
            if default is None:
                raise Refused(f"has no {_NUMBERS[tag]}", _EXPECTED, _AGAIN)
            return default
        if len(set(values)) != 1:
            raise Refused(f"has {len(values)} different values of {_NUMBERS[tag]}", "one value", SAVE_AS)
        return values[0]

    def _read(self, file: BinaryIO, start: int) -> tuple[dict[int, tuple[int, ...]], bytes, int]:
        wide = self.big
        count = self._unpack(file, start, "Q" if wide else "H")[0]
        entry, head = (20, 8) if wide else (12, 2)
        table = self._bytes(file, start + head, count * entry)
        tags: dict[int, tuple[int, ...]] = {}
        description = b""
        for place in range(0, len(table), entry):
            tag, kind, number = struct.unpack_from(self.order + ("HHQ" if wide else "HHI"), table, place)
            if tag in _REFUSED:
                raise Refused(f"has the tag {_REFUSED[tag]}", "values that are grey values or colours as they are")
            if tag not in _NUMBERS and tag != _DESCRIPTION:
                continue
            if tag in tags:
                raise Refused(f"has {_NUMBERS[tag]} twice", _EXPECTED, _AGAIN)
            size = number * _SIZES.get(kind, 1)
            inline = 8 if wide else 4
            start_of_value = start + head + place + entry - inline
            if size > inline:
                start_of_value = self._unpack(file, start_of_value, "Q" if wide else "I")[0]
            if tag == _DESCRIPTION:
                description = self._bytes(file, start_of_value, min(size, 65_536)) if kind == 2 else b""
                continue
            if kind not in _INTEGERS or number < 1:
                raise Refused(f"has a broken {_NUMBERS[tag]} (type {kind}, {number} values)", _EXPECTED, _AGAIN)
            content = self._bytes(file, start_of_value, size)
            tags[tag] = struct.unpack(f"{self.order}{number}{_INTEGERS[kind]}", content)
        following = self._unpack(file, start + head + len(table), "Q" if wide else "I")[0]
        return tags, description, following

    def _count(self, file: BinaryIO, first: int, following: int) -> int:
        stacked = re.findall(rb"\n(?:images|channels|slices|frames)=([0-9]{1,9})", self.description)
        if self.description.startswith(b"ImageJ=") and stacked:  # further images without pages of their own
            return max(map(int, stacked))
        seen = {first}
        while following and following not in seen and len(seen) < 1000:
            seen.add(following)
            count = self._unpack(file, following, "Q" if self.big else "H")[0]
            after = following + (8 + 20 * count if self.big else 2 + 12 * count)
            following = self._unpack(file, after, "Q" if self.big else "I")[0]
        return len(seen)

    def _bytes(self, file: BinaryIO, start: int, size: int) -> bytes:
        if start + size > self.file_size:
            raise Refused("is truncated, or points behind its own end", _EXPECTED, _AGAIN)
        file.seek(start)
        return file.read(size)

    def _unpack(self, file: BinaryIO, start: int, form: str) -> tuple[int, ...]:
        return struct.unpack(self.order + form, self._bytes(file, start, struct.calcsize("<" + form)))


def is_of_this_kind(start: bytes) -> bool:
    """Whether a file that starts so is a TIFF."""
    return start[:4] in _STARTS


def size(file: BinaryIO) -> tuple[int, int]:
    """Width and height as stored."""
    page = _Page(file)
    return page.width, page.height


def holds_floats(file: BinaryIO) -> bool:
    """Whether the values are floating-point numbers."""
    return _FORMATS.get(_Page(file).one(_FORMAT, 1)) == "float"


def read(file: BinaryIO, *, bounded: bool = True) -> Pixels:
    """The image `[C, H, W]`, upright; floating-point values outside [0, 1] are refused where it is `bounded`."""
    page = _Page(file)
    if (pages := page.pages(file)) > 1:
        raise several(pages)
    return _read_page(file, page, bounded=bounded)


def read_stack(file: BinaryIO, *, bounded: bool = True) -> Pixels:
    """The pages of a file as the slices of a volume, `[C, D, H, W]`; each page is read as `read` does."""
    page = _Page(file)
    _check_stack(page, page.pages(file))
    slices, starts = [_read_page(file, page, bounded=bounded)], {page.start}
    while page.following and page.following not in starts:
        starts.add(page.following)
        page = _Page(file, page.following, len(slices))
        if page.width * page.height * len(starts) > LARGEST:
            raise Refused("is too large", f"at most {LARGEST:,} voxels", "cut it into pieces, or shrink it")
        slices.append(_read_page(file, page, bounded=bounded))
        first, last = slices[0], slices[-1]
        if last.shape != first.shape or last.dtype != first.dtype:
            raise Refused(
                f"has pages of different kinds: {_kind(first)}, and {_kind(last)} on page {len(slices)}",
                "pages of one size and one depth, the slices of a volume",
                "take out pages that are previews, or save each image as a file of its own",
            )
    return np.stack(slices, axis=1)


def _kind(pixels: Pixels) -> str:
    channels, height, width = pixels.shape
    return f"{channels} x {height} x {width} of {pixels.dtype}"


def _check_stack(page: _Page, pages: int) -> None:
    """Refuses files whose pages are not the slices of one volume, from what ImageJ and OME say in the first of them."""
    text = page.description
    imagej = {key.decode(): int(value) for key, value in re.findall(rb"\n(\w{1,20})=([0-9]{1,9})(?![.0-9])", text)}
    if not text.startswith(b"ImageJ="):
        imagej = {}
    sizes = {key.decode(): int(value) for key, value in re.findall(rb'Size([CT])="([0-9]{1,9})"', text)}
    channels = imagej.get("channels", 1 if page.one(_SAMPLES, 1) > 1 else sizes.get("C", 1))
    frames = imagej.get("frames", sizes.get("T", 1))
    if channels > 1 or (frames > 1 and frames < pages):
        raise Refused(
            f"is a stack of {channels} channels and {frames} times",
            "the slices of one volume",
            "save each channel and each time as a file of its own",
        )
    if pages > 1 and not page.following:
        raise Refused(
            f"has {pages} images, and a page for the first one only", "a page for each slice", "save it as NPY"
        )


def _read_page(file: BinaryIO, page: _Page, *, bounded: bool) -> Pixels:
    colours, samples, alpha = _colours(page)
    form, bits = _FORMATS.get(page.one(_FORMAT, 1), "unknown"), page.one(_BITS, 1)
    if not ((form == "uint" and bits in (1, 2, 4, 8, 16)) or (form == "float" and bits in (16, 32, 64))):
        raise Refused(
            f"its pixels are {form}{bits}: which value is white is not known",
            "whole numbers of 1, 2, 4, 8 or 16 bits without a sign, or floating-point values",
            "scale it to 16 bits, or to floating-point values in [0, 1]",
        )
    if form == "float" and colours in (0, 3):
        raise Refused(f"has floating-point values of the kind {_COLOUR_SPACES[colours]}", "BlackIsZero or RGB")
    _check_range(page, form, bits)
    compression = page.one(_COMPRESSION, 1)
    if compression in _READ_HERE and colours != 6:
        values = _upright(_values(file, page, samples, form, bits, compression), page.one(_ORIENTATION, 1))
    elif compression in _BY_PILLOW:
        values, bits = _by_pillow(file, page, samples, form, bits, compression, colours)
    else:
        name = _COMPRESSIONS.get(compression, str(compression))
        raise Refused(f"is compressed by {name}", "deflate, LZW, JPEG, PackBits or no compression", SAVE_AS)
    if form == "float":
        return float_pixels(values, alpha=alpha, bounded=bounded)
    white = 2**bits - 1
    if colours == 3:
        return _through_palette(values[..., 0], page.tags.get(_COLOURS, ()), white + 1)
    if colours == 0 and compression in _READ_HERE:
        grey = values[..., :1]
        np.subtract(white, grey, out=grey)
    return to_pixels(values, white, alpha=alpha)


def _file_header(file: BinaryIO) -> tuple[Literal["<", ">"], bool, int]:
    file.seek(0)
    start = file.read(16)
    order: Literal["<", ">"] = "<" if start[:2] == b"II" else ">"
    big = b"+" in start[2:4]
    if big and start[4:8] != struct.pack(order + "HH", 8, 0):
        raise Refused("has a broken BigTIFF header", _EXPECTED, _AGAIN)
    try:
        return order, big, struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)[0]
    except struct.error:
        raise Refused("is truncated", _EXPECTED, _AGAIN) from None


def _colours(page: _Page) -> tuple[int, int, bool]:
    """Colour space, samples of each pixel, and whether the last of them is the opacity."""
    colours, samples = page.one(_PHOTOMETRIC), page.one(_SAMPLES, 1)
    name = _COLOUR_SPACES.get(colours, f"of an unknown kind ({colours})")
    if colours not in (0, 1, 2, 3, 6) or (colours == 6 and page.one(_COMPRESSION, 1) != 7):
        raise Refused(f"its pixels are {name}", "grey, RGB or palette pixels")
    if page.one(_SUBFILE, 0) & 4 or page.one(_DEPTH, 1) != 1:
        raise Refused("is a mask or a volume", "a flat image")
    extra = page.tags.get(_EXTRA, ())
    if samples != (3 if colours in (2, 6) else 1) + len(extra) or len(extra) > 1 or (extra and colours in (3, 6)):
        raise Refused(
            f"has {samples} samples for each pixel ({name}, {len(extra)} extra)", "grey or RGB, with opacity or without"
        )
    if extra and extra[0] not in (1, 2):
        raise Refused(
            "has a further sample of an unknown meaning (ExtraSamples)", "grey or RGB, with opacity or without"
        )
    return colours, samples, bool(extra)


def _check_range(page: _Page, form: str, bits: int) -> None:
    if form != "uint":
        return
    for tag, value in ((_LOWEST, 0), (_HIGHEST, 2**bits - 1)):
        if any(given != value for given in page.tags.get(tag, ())):
            given = page.tags[tag][0]
            raise Refused(
                f"has {_NUMBERS[tag]} = {given}",
                f"{value}, the range of its {bits} bits",
                "scale it, and remove the tag",
            )


def _values(file: BinaryIO, page: _Page, samples: int, form: str, bits: int, compression: int) -> NDArray[Any]:
    """The stored values `[H, W, S]`, of the machine's byte order."""
    planar = page.one(_PLANAR, 1)
    if planar not in (1, 2):
        raise Refused(f"has PlanarConfiguration = {planar}", "1 or 2", SAVE_AS)
    together = samples if planar == 1 else 1
    dtype = np.dtype(f"f{bits // 8}" if form == "float" else "u2" if bits == 16 else "u1")
    values = np.empty((page.height, page.width, samples), dtype)
    for plane, top, left, segment in _segments(file, page, samples // together, together, dtype, bits, compression):
        target = values[top : top + segment.shape[0], left : left + segment.shape[1]]
        part = segment[: target.shape[0], : target.shape[1]]
        target[..., plane : plane + together] = part
    return values


def _segments(
    file: BinaryIO, page: _Page, planes: int, together: int, dtype: np.dtype[Any], bits: int, compression: int
) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """Plane, row, column and values `[h, w, S]` of each strip or tile."""
    tiled = _TILE_WIDTH in page.tags
    width = page.one(_TILE_WIDTH) if tiled else page.width
    height = page.one(_TILE_HEIGHT) if tiled else min(page.one(_ROWS, page.height), page.height)
    offsets, counts = (
        page.tags.get(tag, ()) for tag in ((_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_OFFSETS, _COUNTS))
    )
    if not (1 <= width <= page.width + 65_535 and 1 <= height <= page.height + 65_535):
        raise Refused(f"has tiles of {width}x{height} pixels", _EXPECTED, _AGAIN)
    down, across = math.ceil(page.height / height), math.ceil(page.width / width)
    if not len(offsets) == len(counts) == planes * down * across:
        raise Refused(
            f"has {len(offsets)} strips or tiles and {len(counts)} sizes of them", f"{planes * down * across}", _AGAIN
        )
    row = math.ceil(width * together * bits / 8)
    predictor, reverse = page.one(_PREDICTOR, 1), page.one(_FILL_ORDER, 1) == 2
    if predictor != 1 and (compression == 1 or bits < 8 or predictor != (3 if dtype.kind == "f" else 2)):
        raise Refused(f"has Predictor = {predictor} with values of {bits} bits", "a predictor that fits", SAVE_AS)
    if reverse and bits != 1:
        raise Refused(f"has FillOrder = 2 with values of {bits} bits", "FillOrder = 1", SAVE_AS)
    for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, place = divmod(index, down * across)
        top, left = place // across * height, place % across * width
        rows = height if tiled else min(height, page.height - top)
        content = page._bytes(file, offset, count)
        if reverse:
            content = np.packbits(np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")).tobytes()
        if compression != 1:
            content = _inflated(content, row * height)
        if len(content) < row * rows:
            raise Refused(
                f"is truncated: strip or tile {index} has {len(content)} bytes, not {row * rows}", _EXPECTED, _AGAIN
            )
        lines = np.frombuffer(content, np.uint8, row * rows).reshape(rows, row)
        yield plane, top, left, _unpacked(lines, width, together, dtype, bits, predictor, page.order)


def _inflated(content: bytes, most: int) -> bytes:
    """The content of a deflated strip, never more than `most` bytes, with its checksum verified."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise Refused(f"cannot be decoded: {error}", _EXPECTED, _AGAIN) from error
    if not stream.eof:
        raise Refused("has a deflated strip or tile that is truncated, or larger than it may be", _EXPECTED, _AGAIN)
    return inflated


def _unpacked(
    lines: NDArray[np.uint8],
    width: int,
    samples: int,
    dtype: np.dtype[Any],
    bits: int,
    predictor: int,
    order: Literal["<", ">"],
) -> NDArray[Any]:
    """Lines of bytes `[h, b]` as values `[h, w, S]`."""
    rows = len(lines)
    if bits < 8:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        values = (lines[..., None] >> shifts) & np.uint8(2**bits - 1)
        return values.reshape(rows, -1)[:, : width * samples].reshape(rows, width, samples)
    if predictor == 3:  # differences of bytes, sorted by significance: Technical Note 3
        deltas = lines.reshape(rows, -1, samples)
        planes = np.cumsum(deltas, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, width * samples)
        lines, order = np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(rows, -1), ">"
    values = lines.view(dtype.newbyteorder(order)).reshape(rows, width, samples)
    return np.cumsum(values, axis=1, dtype=dtype) if predictor == 2 else values


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The image turned and flipped as tag 274 says; values that the standard does not have mean 1."""
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    down = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    across = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[down, across]


def _through_palette(indices: NDArray[Any], stored: tuple[int, ...], colours: int) -> Pixels:
    if len(stored) != 3 * colours or max(stored) > 65_535:
        raise Refused(f"has a ColorMap of {len(stored)} values", f"3 times {colours} of 16 bits", SAVE_AS)
    table = np.array(stored).reshape(3, colours)
    if 0 < table.max() < 256:
        raise Refused("has a ColorMap of 8 bits where the standard has 16", "colours of 16 bits", SAVE_AS)
    # Writers that have colours of 8 bits put them into the upper byte, with the same or nothing in the lower one.
    high, low = table // 256, table % 256
    if ((low == high) | (low == 0)).all():
        return high.astype(np.uint8)[:, indices]
    return (table / 65_535).astype(np.float32)[:, indices]


def _by_pillow(
    file: BinaryIO, page: _Page, samples: int, form: str, bits: int, compression: int, colours: int
) -> tuple[NDArray[Any], int]:
    """Values `[H, W, S]`, upright, and their bits, for what Pillow keeps as it is."""
    planar = page.one(_PLANAR, 1)
    wanted = {
        (0, "uint", 1): "1", (1, "uint", 1): "1", (0, "uint", 2): "L", (1, "uint", 2): "L", (0, "uint", 4): "L",
        (1, "uint", 4): "L", (0, "uint", 8): "L", (1, "uint", 8): "L", (1, "uint", 16): "I;16", (1, "float", 32): "F",
        (2, "uint", 8): "RGB", (2, "uint", 16): "RGB", (3, "uint", 1): "P", (3, "uint", 2): "P", (3, "uint", 4): "P",
        (3, "uint", 8): "P", (6, "uint", 8): "RGB",
    }.get((colours, form, bits))  # fmt: skip
    if samples == 4 and wanted == "RGB" and bits == 8:
        wanted = "RGBA"
    elif samples not in (1, 3) or (planar == 2 and bits > 8 and samples > 1):
        wanted = None
    if wanted is None:
        raise Refused(
            f"has {samples} samples of {form}{bits}, {_COLOUR_SPACES[colours]}, by {_COMPRESSIONS[compression]}",
            "8-bit grey or RGB, 16-bit grey, or another compression",
            "save it uncompressed or with deflate",
        )
    if bits == 16 and wanted == "RGB":
        # Pillow keeps one of the two bytes of each value; asked twice, it gives both.
        first, second = (_decoded(file, page.number, wanted, raw) for raw in ("RGB;16B", "RGB;16L"))
        low, high = (first, second) if sys.byteorder == "little" else (second, first)
        return high.astype(np.uint16) * np.uint16(256) + low, 16
    values = _decoded(file, page.number, wanted, None)
    if colours in (0, 1) and bits < 8:
        return np.where(values, 255, 0).astype(np.uint8) if bits == 1 else values, 8
    return values, bits


def _decoded(file: BinaryIO, number: int, mode: str, raw_mode: str | None) -> NDArray[Any]:
    file.seek(0)
    with Image.open(file, formats=("TIFF",)) as image:
        image.seek(number)
        if not image.mode.startswith(mode):
            raise Refused(f"its pixels are {image.mode}", mode)
        if raw_mode is not None:
            use_raw_mode(image, raw_mode)
        ImageOps.exif_transpose(image, in_place=True)  # nothing, where Pillow has turned it already
        values = np.asarray(image)
        return values[..., None] if values.ndim == 2 else values
