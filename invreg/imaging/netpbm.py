"""PBM, PGM and PPM files, in text and in bytes, with any largest value."""

from __future__ import annotations

import os
import re
from typing import BinaryIO, NamedTuple

import numpy as np

from invreg.imaging.samples import Pixels, Refused, to_pixels

_EXPECTED = "an intact PBM, PGM or PPM file with one image"
_HINT = "copy or save it again, or take it out of the folder"
# Blanks and comments, then a number.
_NUMBER = re.compile(rb"(?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])+([0-9]{1,10})(?![0-9])")
_LONGEST_HEADER = 65_536
# Bytes of text for a number and the blanks behind it, on average: more of them would only fill the memory.
_LONGEST_NUMBER = 16


class _Header(NamedTuple):
    kind: int
    width: int
    height: int
    white: int
    start: int


def is_of_this_kind(start: bytes) -> bool:
    """Whether a file that starts so is a PBM, PGM or PPM."""
    return re.match(rb"P[1-6][\s#]", start) is not None


def size(file: BinaryIO) -> tuple[int, int]:
    """Width and height."""
    header = _header(file)
    return header.width, header.height


def read(file: BinaryIO) -> Pixels:
    """The image `[C, H, W]`; black and white are 0 and 255."""
    header = _header(file)
    samples = 3 if header.kind in (3, 6) else 1
    row = -(-header.width // 8) if header.kind == 4 else header.width * samples * (2 if header.white > 255 else 1)
    needed = row * header.height if header.kind >= 4 else header.width * header.height * samples
    available = os.fstat(file.fileno()).st_size - header.start
    if available < needed:
        raise Refused(f"is truncated: {available} bytes of pixels instead of {needed}", _EXPECTED, _HINT)
    file.seek(header.start)
    if header.kind < 4:
        if available > _LONGEST_HEADER + _LONGEST_NUMBER * needed:
            raise Refused(f"has {available} bytes of text for {needed} numbers", _EXPECTED, _HINT)
        values = _from_text(file.read(), header, needed)
    else:
        if available > needed + 1:
            raise Refused(f"has {available - needed} bytes behind its pixels: more images?", _EXPECTED, _HINT)
        values = np.frombuffer(file.read(needed), ">u2" if header.white > 255 else "u1")
        if header.kind == 4:
            values = np.unpackbits(values.reshape(header.height, row), axis=1)[:, : header.width]
    values = values.reshape(header.height, header.width, samples)
    if header.kind in (1, 4):  # in bitmaps, one is black
        return to_pixels(1 - values, 1)
    highest = int(values.max())
    if highest > header.white:
        raise Refused(f"has the value {highest} above its largest value {header.white}", _EXPECTED, _HINT)
    return to_pixels(values, header.white)


def _header(file: BinaryIO) -> _Header:
    file.seek(0)
    text = file.read(_LONGEST_HEADER)
    kind = int(text[1:2])
    position, numbers = 2, []
    for _ in range(2 if kind in (1, 4) else 3):
        match = _NUMBER.match(text, position)
        if match is None:
            raise Refused("has a broken header", _EXPECTED, _HINT)
        numbers.append(int(match[1]))
        position = match.end()
    width, height, white = (*numbers, 1)[:3]
    if text[position : position + 1] not in {b" ", b"\t", b"\n", b"\v", b"\f", b"\r"}:
        raise Refused("has a broken header", _EXPECTED, _HINT)
    if not 1 <= white <= 65_535:
        raise Refused(f"has {white} as its largest value", "a largest value from 1 to 65535", _HINT)
    return _Header(kind, width, height, white, position + 1)


def _from_text(text: bytes, header: _Header, count: int) -> np.ndarray:
    if re.fullmatch(rb"[0-9 \t\n\v\f\r]*", text) is None:
        raise Refused("has something other than numbers among its pixels", _EXPECTED, _HINT)
    if header.kind == 1:  # blanks between bits are optional
        values = np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8) - np.uint8(48)
        if values.size and values.max() > 1:
            raise Refused("has a bit that is neither 0 nor 1", _EXPECTED, _HINT)
    else:
        values = np.fromstring(text, np.int64, sep=" ")
    if values.size != count:
        raise Refused(f"has {values.size} numbers instead of {count}", _EXPECTED, _HINT)
    return values
