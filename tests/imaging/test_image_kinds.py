"""Tags, bits and sample formats that say what a value means: each is obeyed, or the file refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from invreg import DataError, read_image

RANDOM = np.random.default_rng(0)
GREY_8 = RANDOM.integers(0, 256, (13, 17), dtype="u1")
GREY_16 = RANDOM.integers(0, 65_536, (13, 17), dtype="u2")
RGB_16 = RANDOM.integers(0, 65_536, (13, 17, 3), dtype="u2")
OPAQUE_16 = np.full((13, 17, 1), 65_535, "u2")

UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: Path, lines: list[bytes], size: tuple[int, int], bits: int, kind: int, *more: bytes) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b""))


def write_png_16(path: Path, values: np.ndarray, *more: bytes) -> None:
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    lines = [line.astype(">u2").tobytes() for line in values]
    write_png(path, lines, (values.shape[1], values.shape[0]), 16, kind, *more)


def assert_16_bits(path: Path, values: np.ndarray) -> None:
    image = read_image(path).pixels
    assert image.dtype == np.float32
    expected = np.atleast_3d(values).transpose(2, 0, 1)
    assert image.shape == expected.shape
    assert np.array_equal(np.rint(image.astype(float) * 65_535), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw", "packbits"])
@pytest.mark.parametrize("values", [GREY_8, GREY_16], ids=["8", "16"])
def test_orientation_of_tiff(tmp_path: Path, orientation: int, compression: str | None, values: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    if compression in (None, "zlib"):
        tags = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(path, values, photometric="minisblack", compression=compression, extratags=tags)
    else:
        Image.fromarray(values).save(path, compression=compression, tiffinfo={274: orientation})
    expected = UPRIGHT[orientation](values)
    if values.dtype == np.uint8:
        assert np.array_equal(read_image(path).pixels, expected[None])
    else:
        assert_16_bits(path, expected)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_exif(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(GREY_8).convert("RGB").save(path, kind, exif=exif)
    stored = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path).pixels, UPRIGHT[orientation](stored).transpose(2, 0, 1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("compression", "predictor"), [(None, None), ("zlib", None), ("zlib", True)])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 5}, {"tile": (16, 32)}])
def test_colour_tiff_of_16_bits(
    tmp_path: Path, order: Any, big: bool, planar: Any, compression: Any, predictor: Any, layout: dict[str, Any]
) -> None:
    stored = RGB_16 if planar == "contig" else RGB_16.transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, byteorder=order, bigtiff=big,
        compression=compression, predictor=predictor, **layout,
    )  # fmt: skip
    assert_16_bits(tmp_path / "a.tif", RGB_16)


def lzw(content: bytes) -> bytes:
    """LZW as in TIFF with a table that is cleared before it grows: nine bits for each byte."""
    codes = [256]
    for number, byte in enumerate(content):
        codes += [byte] if number % 200 else [256, byte]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def write_tiff(path: Path, content: bytes, entries: dict[int, tuple[int, tuple[int, ...]]], order: str = "<") -> None:
    """One strip and these tags: number, type (3 or 4) and values."""
    entries = entries | {273: (4, (8,)), 279: (4, (len(content),))}
    start = 8 + len(content) + len(content) % 2
    after = start + 2 + 12 * len(entries) + 4
    directory, more = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, more = struct.pack(order + "I", after + len(more)), more + packed
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    path.write_bytes(head + content + b"\0" * (len(content) % 2) + directory + bytes(4) + more)


def tags(width: int, height: int, bits: tuple[int, ...], photometric: int, compression: int = 1) -> dict[int, Any]:
    return {
        256: (3, (width,)), 257: (3, (height,)), 258: (3, bits), 259: (3, (compression,)), 262: (3, (photometric,)),
        277: (3, (len(bits),)), 278: (3, (height,)),
    }  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_colour_tiff_of_16_bits_by_lzw(tmp_path: Path, order: str, predictor: int) -> None:
    stored = RGB_16.copy()
    if predictor == 2:
        stored[:, 1:] -= RGB_16[:, :-1]
    content = lzw(stored.astype(order + "u2").tobytes())
    entries = tags(17, 13, (16, 16, 16), 2, 5) | {317: (3, (predictor,))}
    write_tiff(tmp_path / "a.tif", content, entries, order)
    assert_16_bits(tmp_path / "a.tif", RGB_16)


def test_deep_png(tmp_path: Path) -> None:
    for values in (GREY_16[..., None], RGB_16):
        write_png_16(tmp_path / "a.png", values)
        assert_16_bits(tmp_path / "a.png", values)
        write_png_16(tmp_path / "a.png", np.dstack([values, OPAQUE_16]))
        assert_16_bits(tmp_path / "a.png", values)
        almost = OPAQUE_16.copy()
        almost[3, 3] = 65_534  # opaque in its upper byte
        write_png_16(tmp_path / "a.png", np.dstack([values, almost]))
        with pytest.raises(DataError, match=r"a\.png: has transparent pixels"):
            read_image(tmp_path / "a.png")


@pytest.mark.parametrize("values", [GREY_16[..., None], RGB_16], ids=["grey", "rgb"])
def test_the_transparent_colour_of_a_deep_png(tmp_path: Path, values: np.ndarray) -> None:
    key = values[2, 2].copy()
    write_png_16(tmp_path / "a.png", values, chunk(b"tRNS", key.astype(">u2").tobytes()))
    with pytest.raises(DataError, match=r"a\.png: has transparent pixels"):
        read_image(tmp_path / "a.png")
    key[-1] ^= 1  # the same in its upper byte; no pixel has it
    assert not (values == key).all(axis=-1).any()
    write_png_16(tmp_path / "a.png", values, chunk(b"tRNS", key.astype(">u2").tobytes()))
    assert_16_bits(tmp_path / "a.png", values)


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    each = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
    return np.packbits(each.reshape(len(values), -1), axis=1)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_values_of_few_bits(tmp_path: Path, bits: int) -> None:
    white = 2**bits - 1
    values = RANDOM.integers(0, 2**bits, (6, 13), dtype="u1")
    values[0, 0] = 1
    lines = packed(values, bits)
    expected = values[None] * (255 // white)
    write_png(tmp_path / "a.png", [line.tobytes() for line in lines], (13, 6), bits, 0)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, expected)
    key = chunk(b"tRNS", b"\0\1")
    write_png(tmp_path / "key.png", [line.tobytes() for line in lines], (13, 6), bits, 0, key)
    with pytest.raises(DataError, match=r"key\.png: has transparent pixels"):
        read_image(tmp_path / "key.png")
    for photometric, right in ((1, expected), (0, 255 - expected)):
        for compression, content in (
            (1, lines.tobytes()),
            (8, zlib.compress(lines.tobytes())),
            (5, lzw(lines.tobytes())),
        ):
            write_tiff(tmp_path / "a.tif", content, tags(13, 6, (bits,), photometric, compression))
            assert np.array_equal(read_image(tmp_path / "a.tif").pixels, right), (photometric, compression)


@pytest.mark.parametrize("values", [GREY_8, GREY_16], ids=["8", "16"])
def test_white_is_zero(tmp_path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    if values.dtype == np.uint8:
        assert np.array_equal(read_image(tmp_path / "a.tif").pixels, 255 - values[None])
    else:
        assert_16_bits(tmp_path / "a.tif", 65_535 - values)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha", "unspecified"])
def test_further_samples_of_a_tiff(tmp_path: Path, kind: str) -> None:
    stored = np.dstack([RGB_16, OPAQUE_16])
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=[kind])
    if kind == "unspecified":
        with pytest.raises(DataError, match=r"a\.tif: has a further sample of an unknown meaning \(ExtraSamples\)"):
            read_image(tmp_path / "a.tif")
        return
    assert_16_bits(tmp_path / "a.tif", RGB_16)
    stored[1, 1, 3] -= 1
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=[kind])
    with pytest.raises(DataError, match=r"a\.tif: has transparent pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floating_point_tiff(tmp_path: Path, dtype: str, order: Any) -> None:
    values = RANDOM.random((5, 7, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", byteorder=order)
    image = read_image(tmp_path / "a.tif").pixels
    assert image.dtype == np.float32
    assert np.array_equal(image, values.astype("f4").transpose(2, 0, 1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_floating_point_predictor(tmp_path: Path, compression: str) -> None:
    values = RANDOM.random((5, 7), dtype="f4")
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo={317: 3})
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, values[None])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "u8", "c8"])
def test_samples_whose_white_is_not_known(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(12).reshape(3, 4).astype(dtype), photometric="minisblack")
    with pytest.raises(DataError, match=rf"a\.tif: its pixels are {np.dtype(dtype).name}(.|\n)*scale it"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({281: (3, (200,))}, "MaxSampleValue = 200"),
        ({280: (3, (16,))}, "MinSampleValue = 16"),
        ({291: (3, tuple(range(256)))}, "the tag GrayResponseCurve"),
        ({339: (3, (2,))}, "int8"),
        ({339: (11, (1,))}, "a broken SampleFormat"),
        ({266: (3, (2,))}, "FillOrder = 2"),
        ({317: (3, (2,))}, "Predictor = 2"),
        ({262: (3, (32_803,))}, "colour filter array"),
        ({262: (3, (6,))}, "YCbCr"),
        ({259: (3, (34_712,))}, "compressed by JPEG 2000"),
        ({258: (3, (12,))}, "uint12"),
        ({254: (4, (4,))}, "a mask"),
        ({277: (3, (2,))}, "2 samples"),
        ({278: (3, (5,))}, "1 strips or tiles"),
        ({257: (3, (14,)), 278: (3, (14,))}, "is truncated"),
    ],
)
def test_tags_that_are_refused(tmp_path: Path, entries: dict[int, Any], message: str) -> None:
    write_tiff(tmp_path / "a.tif", GREY_8.tobytes(), tags(17, 13, (8,), 1))
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, GREY_8[None])
    write_tiff(tmp_path / "a.tif", GREY_8.tobytes(), tags(17, 13, (8,), 1) | entries)
    with pytest.raises(DataError, match=rf"a\.tif: .*{message}(.|\n)*expected: (.|\n)*try: "):
        read_image(tmp_path / "a.tif")


def test_stacks_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "imagej.tif", np.zeros((3, 8, 9), "u1"), imagej=True)
    with pytest.raises(DataError, match="has 3 pages"):
        read_image(tmp_path / "imagej.tif")
    frames = [Image.fromarray(GREY_8), Image.fromarray(255 - GREY_8)]
    for name, kind in (("a.png", "PNG"), ("gif.png", "GIF"), ("a.webp", "WEBP")):
        frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=f"{name}: has 2 pages or frames"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("values_of", ["8 bits twice", "8 bits above", "16 bits", "8 bits alone"])
def test_palettes_of_tiff(tmp_path: Path, values_of: str) -> None:
    table = RANDOM.integers(0, 256, (3, 256))
    factor = {"8 bits twice": 257, "8 bits above": 256, "16 bits": 200, "8 bits alone": 1}[values_of]
    stored = table * factor
    entries = tags(17, 13, (8,), 3) | {320: (3, tuple(stored.ravel().tolist()))}
    write_tiff(tmp_path / "a.tif", GREY_8.tobytes(), entries)
    if values_of == "8 bits alone":
        with pytest.raises(DataError, match=r"a\.tif: has a ColorMap of 8 bits"):
            read_image(tmp_path / "a.tif")
    elif values_of == "16 bits":
        assert_16_bits(tmp_path / "a.tif", stored[:, GREY_8].transpose(1, 2, 0))
    else:
        assert np.array_equal(read_image(tmp_path / "a.tif").pixels, table[:, GREY_8].astype("u1"))


@pytest.mark.parametrize("white", [1, 2, 3, 15, 100, 255, 256, 1000, 65_535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("text", [False, True])
def test_white_of_netpbm(tmp_path: Path, white: int, channels: int, text: bool) -> None:
    values = RANDOM.integers(0, white + 1, (6, 7, channels))
    kind = (2 if text else 5) + channels // 3
    header = f"P{kind}\n# {white}\n7 6\n{white}\n".encode()
    raw = values.astype(">u2" if white > 255 else "u1").tobytes()
    (tmp_path / "a.ppm").write_bytes(header + (" ".join(map(str, values.ravel())).encode() if text else raw))
    image = read_image(tmp_path / "a.ppm").pixels
    assert image.dtype == (np.uint8 if 255 % white == 0 else np.float32)
    unit = image / 255 if image.dtype == np.uint8 else image
    assert np.allclose(unit, values.transpose(2, 0, 1) / white, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P5 2 2 255\n\0\0\0", "is truncated"),
        (b"P5 2 2 255\n" + bytes(12), "8 bytes behind its pixels"),
        (b"P5 2 2 100\n\0\0\0\xff", "the value 255 above its largest value 100"),
        (b"P5 2 2 70000\n" + bytes(8), "70000 as its largest value"),
        (b"P5 2 2 0\n" + bytes(4), "0 as its largest value"),
        (b"P2 2 2 255\n1 2 3 -4", "other than numbers"),
        (b"P2 2 2 255\n1 2 3", "is truncated|3 numbers instead of 4"),
        (b"P2 2 2 255\n1 2 3 99999999999999999999999", "above its largest value"),
        (b"P2 2 2 255\n1 2 3 4" + bytes(70_000), "70007 bytes of text for 4 numbers"),
        (b"P1 2 2\n1 0 1 2", "neither 0 nor 1"),
        (b"P5 0 2 255\n", "has 0x2 pixels"),
        (b"P5 x", "broken header"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0", "not an image, or of a kind"),
        (b"P5 99999 99999 255\n", r"is too large: 99999x99999 pixels(.|\n)*at most 178,956,970"),
    ],
)
def test_broken_netpbm(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.pgm: .*({message})"):
        read_image(tmp_path / "a.pgm")


def test_checksums_are_verified(tmp_path: Path) -> None:
    content = zlib.compress(b"".join(b"\0" + line.tobytes() for line in GREY_8), 0)
    write_png(tmp_path / "a.png", [line.tobytes() for line in GREY_8], (17, 13), 8, 0)
    stored = bytearray((tmp_path / "a.png").read_bytes()[:33] + chunk(b"IDAT", content) + chunk(b"IEND", b""))
    stored[stored.index(GREY_8[5].tobytes())] ^= 1  # a pixel, in a stream that is still well-formed
    (tmp_path / "a.png").write_bytes(stored)
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        read_image(tmp_path / "a.png")
    deflated = bytearray(zlib.compress(GREY_8.tobytes(), 0))
    deflated[20] ^= 1
    write_tiff(tmp_path / "a.tif", bytes(deflated), tags(17, 13, (8,), 1, 8))
    with pytest.raises(DataError, match=r"a\.tif: cannot be decoded: .*incorrect data check"):
        read_image(tmp_path / "a.tif")


def test_a_palette_index_without_a_colour(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", [b"\0\1\2\7"], (4, 1), 8, 3, chunk(b"PLTE", bytes(range(9))))
    with pytest.raises(DataError, match=r"a\.png: has the palette index 7, but only 3 colours"):
        read_image(tmp_path / "a.png")


def test_colour_management_is_not_applied(tmp_path: Path) -> None:
    lines = [line.tobytes() for line in GREY_8]
    chunks = [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", struct.pack(">8I", *range(1, 9)))]
    write_png(tmp_path / "a.png", lines, (17, 13), 8, 0, *chunks, chunk(b"sBIT", b"\5"))
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, GREY_8[None])


@pytest.mark.slow
def test_a_strip_never_unpacks_to_more_than_its_image(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(10**8), 9)
    write_tiff(tmp_path / "a.tif", bomb, tags(17, 13, (8,), 1, 8))
    with pytest.raises(DataError, match=r"a\.tif: has a deflated strip or tile that is truncated, or larger"):
        read_image(tmp_path / "a.tif")
    write_tiff(tmp_path / "a.tif", b"\0", {**tags(1, 1, (8,), 1), 256: (4, (10**6,)), 257: (4, (10**6,))})
    with pytest.raises(DataError, match=r"a\.tif: is too large: 1000000x1000000 pixels(.|\n)*at most 178,956,970"):
        read_image(tmp_path / "a.tif")
