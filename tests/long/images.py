"""Image files in fourteen formats, whole and mutated, through the reader of image files.

    python tests/long/images.py --count 5000

One file in four is as it was written, with random pixels, bits, byte orders, orientations, compressions and opacities:
it must be read as the pixels that were written, or be refused if its kind is one that is not read. The others are
mutated: bits, bytes, blocks, lengths, tags of TIFF and chunks of PNG (with their checksums made anew). What is still
read must equal what tifffile or imageio make of it, after what they leave to their users: orientation, white that is
zero, palettes. All else must be a readable error. Nothing may take 10 seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import random
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import imageio.v3 as imageio
import numpy as np
import tifffile
from PIL import Image

from invreg import DataError, read_image

LONGEST_SECONDS = 10.0
LONGEST_MESSAGE = 4000

Array = np.ndarray[Any, Any]


class Sample(NamedTuple):
    """A file, and its pixels `[C, H, W]` (uint8, or float in [0, 1]); None: it is to be refused."""

    content: bytes
    pixels: Array | None


# Files as they are written: random pixels and random choices of how to store them.


def _values(dice: random.Random, bits: int, channels: int) -> Array:
    random_numbers = np.random.default_rng(dice.getrandbits(32))
    shape = (dice.randint(1, 24), dice.randint(1, 24), channels)
    if dice.random() < 0.3:  # few different values: runs and palettes
        return random_numbers.choice(random_numbers.integers(0, 2**bits, 3), shape).astype("u2" if bits > 8 else "u1")
    return random_numbers.integers(0, 2**bits, shape, dtype="u2" if bits > 8 else "u1")


def _truth(values: Array, white: int) -> Array:
    planes = np.moveaxis(values, -1, 0)
    if 255 % white == 0:
        return (planes.astype(int) * (255 // white)).astype("u1")
    return planes / white


def _turned(planes: Array, orientation: int) -> Array:
    """Pixels `[C, H, W]` as one should see them."""
    turns = {
        1: lambda x: x,
        2: lambda x: x[:, :, ::-1],
        3: lambda x: np.rot90(x, 2, (1, 2)),
        4: lambda x: x[:, ::-1],
        5: lambda x: x.swapaxes(1, 2),
        6: lambda x: np.rot90(x, -1, (1, 2)),
        7: lambda x: np.rot90(x, 2, (1, 2)).swapaxes(1, 2),
        8: lambda x: np.rot90(x, 1, (1, 2)),
    }
    return turns[orientation](planes)


def _with_opacity(dice: random.Random, values: Array, white: int) -> tuple[Array, bool]:
    opacity = np.full_like(values[..., :1], white)
    opaque = dice.random() < 0.7
    if not opaque:
        opacity[dice.randrange(values.shape[0]), dice.randrange(values.shape[1])] = dice.randrange(white)
    return np.concatenate([values, opacity], axis=2), opaque


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _packed(values: Array, bits: int) -> list[bytes]:
    """Lines of values of fewer than 8 bits, or of 8 or 16 (big-endian)."""
    lines = values.reshape(len(values), -1)
    if bits >= 8:
        return [line.astype(">u2" if bits == 16 else "u1").tobytes() for line in lines]
    each = np.unpackbits(lines[..., None].astype("u1"), axis=2)[..., 8 - bits :]
    return [line.tobytes() for line in np.packbits(each.reshape(len(lines), -1), axis=1)]


def png(dice: random.Random) -> Sample:
    colour, alpha = dice.random() < 0.5, dice.random() < 0.3
    bits = dice.choice([8, 16] if colour or alpha else [1, 2, 4, 8, 16])
    values = _values(dice, bits, 3 if colour else 1)
    white, readable = 2**bits - 1, True
    truth = _truth(values, white)
    if alpha:
        values, readable = _with_opacity(dice, values, white)
    orientation = dice.choice([1, 1, *range(1, 9)])
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 2 * colour + 4 * alpha, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if dice.random() < 0.2:
        chunks.append(_chunk(b"gAMA", struct.pack(">I", 45_455)))
    if not alpha and dice.random() < 0.3:
        key = values[0, 0] if dice.random() < 0.5 else values[0, 0] ^ 1
        chunks.append(_chunk(b"tRNS", b"".join(int(value).to_bytes(2, "big") for value in key)))
        readable = not (values == key).all(axis=2).any()
    if orientation > 1:
        chunks.append(_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0" + bytes([orientation]) + bytes(6)))
    bytes_of_pixel = max(1, bits * values.shape[2] // 8)
    lines = b"".join(_filtered(dice, line, bytes_of_pixel) for line in _packed(values, bits))
    chunks += [_chunk(b"IDAT", zlib.compress(lines)), _chunk(b"IEND", b"")]
    return Sample(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), _turned(truth, orientation) if readable else None)


def _filtered(dice: random.Random, line: bytes, step: int) -> bytes:
    """A line of a PNG, as it is or as differences to the pixel on the left."""
    if dice.random() < 0.5:
        return b"\0" + line
    values = np.frombuffer(line, "u1")
    return b"\1" + (values - np.concatenate([np.zeros(step, "u1"), values])[: len(values)]).tobytes()


def png_palette(dice: random.Random) -> Sample:
    image = Image.fromarray(_values(dice, 8, 3)).quantize(dice.choice([2, 4, 16, 200]))
    return Sample(_saved(image, "PNG"), np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def apng(dice: random.Random) -> Sample:
    values = _values(dice, 8, 3)
    frames = [Image.fromarray(values), Image.fromarray(values ^ 255)]
    return Sample(_saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), None)


def jpeg(dice: random.Random) -> Sample:
    mode = dice.choice(["L", "RGB", "RGB", "CMYK"])
    values = _values(dice, 8, {"L": 1, "RGB": 3, "CMYK": 4}[mode])
    image = Image.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes())
    exif = Image.Exif()
    orientation = dice.choice([1, 1, *range(1, 9)])
    exif[0x0112] = orientation
    content = _saved(image, "JPEG", quality=dice.choice([30, 75, 95]), progressive=dice.random() < 0.3, exif=exif)
    if mode == "CMYK":
        return Sample(content, None)
    decoded = np.asarray(Image.open(io.BytesIO(content)))
    planes = decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)
    return Sample(content, _turned(planes, orientation))


def mpo(dice: random.Random) -> Sample:
    values = _values(dice, 8, 3)
    frames = [Image.fromarray(values), Image.fromarray(values ^ 255)]
    content = _saved(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    return Sample(content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1))


def tiff(dice: random.Random, *, big: bool = False) -> Sample:
    kind = dice.choice(["u1", "u1", "u2", "u2", "f4", "f8", "f2", "i1", "i2", "u4"])
    order = dice.choice("<>")
    channels = dice.choice([1, 3])
    white = {"u1": 255, "u2": 65_535}.get(kind, 1)
    values: Array = _values(dice, 16 if kind == "u2" else 8, channels)
    readable = kind not in ("i1", "i2", "u4")
    if kind[0] == "f":
        values = (values / 255).astype(kind)
    elif not readable:
        values = values.astype(kind)
    photometric = "rgb" if channels == 3 else "minisblack"
    truth = np.moveaxis(values, -1, 0).astype("f4") if kind[0] == "f" else _truth(values, white)
    if channels == 1 and kind in ("u1", "u2") and dice.random() < 0.3:
        photometric, truth = "miniswhite", (255 if kind == "u1" else 1) - truth
    extra: dict[str, Any] = {}
    if kind in ("u1", "u2") and photometric != "miniswhite" and dice.random() < 0.3:
        values, readable = _with_opacity(dice, values, white)
        extra["extrasamples"] = [dice.choice(["assocalpha", "unassalpha", "unspecified"])]
        readable = readable and extra["extrasamples"] != ["unspecified"]
    planar = dice.random() < 0.4 and values.shape[2] > 1
    pages = 2 if dice.random() < 0.05 else 1
    stored = np.moveaxis(values, -1, 0) if planar else values if values.shape[2] > 1 else values[..., 0]
    compression = dice.choice([None, "zlib"])
    if compression and kind in ("u1", "u2"):
        extra["predictor"] = dice.random() < 0.5 or None
    if dice.random() < 0.4:
        extra["tile"] = (16, dice.choice([16, 32]))
    else:
        extra["rowsperstrip"] = dice.randint(1, 8)
    orientation = dice.choice([1, 1, *range(1, 9)])
    tags = [(274, 3, 1, orientation, True)]
    if dice.random() < 0.05:
        tags.append((281, 3, 1, 4095, True))
        readable = readable and kind[0] == "f"
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        for _ in range(pages):
            writer.write(
                stored,
                photometric=photometric,
                planarconfig=("separate" if planar else "contig") if stored.ndim > 2 else None,
                compression=compression,
                extratags=tags,
                metadata=None,
                **extra,
            )
    return Sample(file.getvalue(), _turned(truth, orientation) if readable and pages == 1 else None)


def bigtiff(dice: random.Random) -> Sample:
    return tiff(dice, big=True)


def tiff_by_pillow(dice: random.Random) -> Sample:
    """LZW, PackBits, fax and JPEG, palettes, and what has no plain meaning."""
    kind = dice.choice(["1", "L", "RGB", "P", "I;16", "F", "CMYK", "LAB", "YCbCr"])
    compressions = ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
    compressions += {"1": ["group3", "group4"], "RGB": ["jpeg"]}.get(kind, [])
    compression = dice.choice(compressions)
    channels = {"RGB": 3, "P": 3, "CMYK": 4, "LAB": 3, "YCbCr": 3}.get(kind, 1)
    values = _values(dice, 16 if kind == "I;16" else 8, channels)
    if kind == "F":
        image = Image.fromarray((values[..., 0] / 255).astype("f4"))
    elif kind == "1":
        image = Image.fromarray(values[..., 0] > 127)
    elif kind == "P":
        image = Image.fromarray(values).quantize(16)
    else:
        image = Image.frombytes(kind, (values.shape[1], values.shape[0]), values.tobytes())
    content = _saved(image, "TIFF", compression=compression)
    if kind in ("CMYK", "LAB", "YCbCr"):
        return Sample(content, None)
    if kind == "I;16":
        return Sample(content, _truth(values, 65_535))
    if kind == "F":
        return Sample(content, np.asarray(image)[None])
    again = Image.open(io.BytesIO(content)) if compression == "jpeg" else image
    shown = np.asarray(again.convert("RGB" if kind in ("RGB", "P") else "L"))
    return Sample(content, shown[None] if shown.ndim == 2 else shown.transpose(2, 0, 1))


def bmp(dice: random.Random) -> Sample:
    kind = dice.choice(["1", "L", "RGB", "P", "RGBA"])
    values = _values(dice, 8, {"1": 1, "L": 1}.get(kind, 3))
    image = Image.fromarray(values if values.shape[2] > 1 else values[..., 0])
    if kind == "RGBA":  # such a BMP has a fourth byte, but does not say that it is the opacity
        image = Image.fromarray(_with_opacity(dice, values, 255)[0])
    elif kind in ("1", "P"):
        image = image.convert("1") if kind == "1" else image.quantize(16)
    shown = values if kind == "RGBA" else np.asarray(image.convert("L" if kind in ("1", "L") else "RGB"))
    truth = shown[None] if shown.ndim == 2 else shown.transpose(2, 0, 1)
    return Sample(_saved(image, "BMP"), truth)


def webp(dice: random.Random) -> Sample:
    values, lossless = _values(dice, 8, 3), dice.random() < 0.6
    exif = Image.Exif()
    orientation = dice.choice([1, 1, *range(1, 9)])
    exif[0x0112] = orientation
    content = _saved(Image.fromarray(values), "WEBP", lossless=lossless, exact=True, exif=exif)
    shown = values if lossless else np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return Sample(content, _turned(shown.transpose(2, 0, 1), orientation))


def animated_webp(dice: random.Random) -> Sample:
    values = _values(dice, 8, 3)
    frames = [Image.fromarray(values), Image.fromarray(values ^ 255)]
    return Sample(_saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), None)


def gif(dice: random.Random) -> Sample:
    image = Image.fromarray(_values(dice, 8, 3)).quantize(dice.choice([2, 16, 200]))
    if dice.random() < 0.2:
        other = Image.fromarray(np.asarray(image.convert("RGB")) ^ 255).quantize(16)
        return Sample(_saved(image, "GIF", save_all=True, append_images=[other]), None)
    return Sample(_saved(image, "GIF"), np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def netpbm(dice: random.Random, channels: int = 1) -> Sample:
    white = dice.choice([1, 3, 100, 255, 255, 256, 1000, 65_535, 65_535])
    values = (_values(dice, 16, channels).astype(int) % (white + 1)).astype("u2")
    text = dice.random() < 0.4
    kind = {1: 2, 3: 3}[channels] if text else {1: 5, 3: 6}[channels]
    comment = "# a comment\n" if dice.random() < 0.3 else ""
    header = f"P{kind}\n{comment}{values.shape[1]} {values.shape[0]}\n{white}\n".encode()
    raw = values.astype(">u2" if white > 255 else "u1").tobytes()
    return Sample(header + (" ".join(map(str, values.ravel())).encode() if text else raw), _truth(values, white))


def pgm(dice: random.Random) -> Sample:
    return netpbm(dice)


def ppm(dice: random.Random) -> Sample:
    return netpbm(dice, 3)


def pbm(dice: random.Random) -> Sample:
    values = _values(dice, 1, 1)
    header = f"{values.shape[1]} {values.shape[0]}\n"
    if dice.random() < 0.5:
        lines = "\n".join("".join(map(str, line)) for line in values[..., 0])
        return Sample(f"P1\n{header}{lines}\n".encode(), _truth(1 - values, 1))
    return Sample(f"P4\n{header}".encode() + b"".join(_packed(values, 1)), _truth(1 - values, 1))


def other(dice: random.Random) -> Sample:
    """Formats that are not read, whatever their files are called."""
    image = Image.fromarray(_values(dice, 8, 3))
    kinds = [kind for kind in ("TGA", "PCX", "JPEG2000", "ICO", "EPS", "PDF", "SGI") if kind in Image.SAVE]
    return Sample(_saved(image, dice.choice(kinds or ["EPS"])), None)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FORMATS: dict[str, tuple[Callable[[random.Random], Sample], str]] = {
    "PNG": (png, "png"), "PNG, palette": (png_palette, "png"), "APNG": (apng, "png"), "JPEG": (jpeg, "jpg"),
    "MPO": (mpo, "jpg"), "TIFF": (tiff, "tif"), "TIFF by Pillow": (tiff_by_pillow, "tiff"), "BigTIFF": (bigtiff, "tif"),
    "BMP": (bmp, "bmp"), "WebP": (webp, "webp"), "WebP, animated": (animated_webp, "webp"), "GIF": (gif, "png"),
    "PBM": (pbm, "pgm"), "PGM": (pgm, "pgm"), "PPM": (ppm, "ppm"), "others": (other, "png"),
}  # fmt: skip

# Mutations.


def mutated(dice: random.Random, content: bytes) -> bytes:
    """The file with one or more things changed."""
    changed = bytearray(content)
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        if not changed:
            break
        place = dice.randrange(len(changed)) if dice.random() < 0.6 else dice.randrange(min(len(changed), 64))
        length = dice.choice([1, 2, 4, 16, 200])
        match dice.choice(["bit", "byte", "byte", "extreme", "cut", "drop", "repeat", "insert", "tag", "tag", "chunk"]):
            case "bit":
                changed[place] ^= 1 << dice.randrange(8)
            case "byte":
                changed[place] = dice.randrange(256)
            case "extreme":
                changed[place : place + 4] = dice.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
            case "cut":
                del changed[place:]
            case "drop":
                del changed[place : place + length]
            case "repeat":
                changed[place:place] = changed[place : place + length]
            case "insert":
                changed[place:place] = dice.randbytes(length)
            case "tag":
                _change_tag(dice, changed)
            case "chunk":
                _change_chunk(dice, changed)
    return bytes(changed)


def _change_tag(dice: random.Random, content: bytearray) -> None:
    """One field of an entry in the first directory of a TIFF."""
    if content[:2] not in (b"II", b"MM") or len(content) < 32:
        return
    order, big = "<" if content[:2] == b"II" else ">", 43 in content[2:4]
    try:
        start = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)[0]
        count = struct.unpack_from(order + ("Q" if big else "H"), content, start)[0]
        entry = start + (8 + 20 * dice.randrange(count) if big else 2 + 12 * dice.randrange(count))
        field = dice.choice(["tag", "type", "count", "value", "value", "value"])
        value = dice.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 32, 256, 65_535, 2**31])
        if field in ("tag", "type"):
            struct.pack_into(order + "H", content, entry + (2 if field == "type" else 0), value & 0xFFFF)
        elif field == "count":
            struct.pack_into(order + ("Q" if big else "I"), content, entry + 4, value)
        else:
            short = struct.unpack_from(order + "H", content, entry + 2)[0] == 3
            place = entry + (12 if big else 8)
            struct.pack_into(order + ("H" if short else "I"), content, place, value & 0xFFFF if short else value)
    except (struct.error, ValueError, OverflowError, IndexError):  # no such place in what is left of the file
        return


def _change_chunk(dice: random.Random, content: bytearray) -> None:
    """A byte in a chunk of a PNG, its checksum made anew."""
    if content[:4] != b"\x89PNG":
        return
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = struct.unpack_from(">I", content, place)[0]
        if place + 12 + length > len(content):
            break
        chunks.append((place, length))
        place += 12 + length
    if not chunks:
        return
    place, length = dice.choice(chunks)
    if length:
        content[place + 8 + dice.randrange(length)] = dice.choice([0, 1, 2, 3, 4, 8, 16, 255, dice.randrange(256)])
        struct.pack_into(">I", content, place + 8 + length, zlib.crc32(content[place + 4 : place + 8 + length]))


# What other readers make of a file.


def references(path: Path, content: bytes) -> list[tuple[str, Array, float]]:
    """Pixels `[C, H, W]` in [0, 1] by reader, and how far they may be off (imageio cuts 16-bit colours to 8 bits)."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if content[:2] in (b"II", b"MM"):
            with contextlib.suppress(Exception):  # it does not read the file, then
                found.append(("tifffile", _by_tifffile(path), 1e-6))
        with contextlib.suppress(Exception):
            found.append(("imageio", *_by_imageio(path)))
    return found


def _by_tifffile(path: Path) -> Array:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        values = page.asarray(squeeze=False)[:, 0]
        planes = np.moveaxis(values, -1, 1).reshape(-1, *values.shape[1:3])
        orientation = page.tags["Orientation"].value if "Orientation" in page.tags else 1
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            planes = page.colormap[:, planes[0]] / 65_535
        elif planes.dtype.kind == "f":
            planes = planes.astype("f4")
        else:
            planes = planes / (2 ** int(page.bitspersample) - 1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            planes = 1 - planes
        wanted = 3 if page.photometric in (2, 3, 6) else 1
        return _turned(planes[:wanted], orientation if orientation in range(1, 9) else 1)


def _by_imageio(path: Path) -> tuple[Array, float]:
    values = np.asarray(imageio.imread(path, plugin="pillow", index=0, rotate=True))
    planes = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    if len(planes) in (2, 4):
        planes = planes[:-1]
    if planes.dtype == bool:
        return planes.astype(float), 1e-6
    if planes.dtype.kind == "f":
        return planes, 1e-6
    white = 255 if planes.dtype == np.uint8 else 65_535
    # Colours of 16 bits come without their lower byte, other white points rounded to 8 bits.
    return planes / white, 1 / white


class Outcome(NamedTuple):
    """What became of one file."""

    kind: str
    what: str  # equal, refused, or a failure
    note: str = ""


FAILURES = ("different", "traceback", "slow", "message", "alone", "wrongly read", "wrongly refused")


def trial(seed: int, folder: Path) -> Outcome:
    """One file, made and read."""
    dice = random.Random(seed)
    kind = dice.choice(list(FORMATS))
    make, ending = FORMATS[kind]
    sample = make(dice)
    whole = dice.random() < 0.25
    content = sample.content if whole else mutated(dice, sample.content)
    path = folder / f"image.{ending}"
    path.write_bytes(content)
    began = time.perf_counter()
    refusal, pixels = "", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = read_image(path).pixels
    except DataError as error:
        refusal = str(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the finding)
        return Outcome(kind, "traceback", repr(error)[:300])
    seconds = time.perf_counter() - began
    if seconds > LONGEST_SECONDS:
        return Outcome(kind, "slow", f"{seconds:.1f} s")
    if pixels is None:
        if len(refusal) > LONGEST_MESSAGE or path.name not in refusal or "expected:" not in refusal:
            return Outcome(kind, "message", refusal[:300])
        if whole and sample.pixels is not None:
            return Outcome(kind, "wrongly refused", refusal[:300])
        return Outcome(kind, "refused", refusal.partition(": ")[2].partition("\n")[0])
    if whole or content == sample.content:
        if sample.pixels is None:
            return Outcome(kind, "wrongly read", f"{pixels.dtype} {pixels.shape}")
        return _compared(kind, pixels, [("what was written", _unit(sample.pixels), 1e-6)])
    return _compared(kind, pixels, references(path, content))


def _unit(pixels: Array) -> Array:
    return pixels / 255 if pixels.dtype == np.uint8 else pixels


def _compared(kind: str, pixels: Array, others: list[tuple[str, Array, float]]) -> Outcome:
    values, notes = _unit(pixels), []
    for reader, reference, tolerance in others:
        if len(reference) != len(values) and np.ptp(reference, axis=0).max() == 0:  # the same grey, once or three times
            reference = np.repeat(reference[:1], len(values), axis=0)
        same = reference.shape == values.shape
        distance = float(np.abs(values - reference).max()) if same else np.inf
        if distance <= tolerance + 1e-9:
            return Outcome(kind, "equal", reader)
        notes.append(f"{reader}: {distance:.3g} off" if same else f"{reader}: {reference.shape}")
    return Outcome(kind, "different" if notes else "alone", f"{pixels.dtype} {pixels.shape}; " + ", ".join(notes))


def campaign(count: int, seed: int, keep: Path | None = None) -> tuple[dict[str, Counter[str]], list[str], float]:
    """Outcomes by format, the failures in words, and the longest time of a trial in seconds."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    failures, longest = [], 0.0
    with tempfile.TemporaryDirectory(prefix="invreg-images-") as name:
        folder = Path(name)
        for number in range(seed, seed + count):
            began = time.perf_counter()
            outcome = trial(number, folder)
            longest = max(longest, time.perf_counter() - began)
            table[outcome.kind][outcome.what] += 1
            if outcome.what in FAILURES:
                failures.append(f"{number} {outcome.kind}: {outcome.what}: {outcome.note}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    for path in folder.iterdir():
                        (keep / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    return table, failures, longest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first trial")
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    given = parser.parse_args()
    table, failures, longest = campaign(given.count, given.seed, given.keep)
    print(f"{'format':<16}{'files':>8}{'equal':>8}{'refused':>9}{'failed':>8}")
    total: Counter[str] = Counter()
    for kind, counts in sorted(table.items()):
        total += counts
        print(_row(kind, counts))
    print(_row("all", total))
    print(f"longest: {longest:.2f} s")
    print(*failures, sep="\n")
    return 1 if failures else 0


def _row(kind: str, counts: Counter[str]) -> str:
    failed = sum(counts[what] for what in FAILURES)
    return f"{kind:<16}{sum(counts.values()):>8}{counts['equal']:>8}{counts['refused']:>9}{failed:>8}"


if __name__ == "__main__":
    sys.exit(main())
