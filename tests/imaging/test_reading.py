"""Image files of every kind: decoded faithfully, or refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invreg import DataError, read_image

GREY = np.arange(30 * 20, dtype=np.uint8).reshape(20, 30)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "a.webp", "a.ppm", "A.PNG"])
def test_lossless_rgb(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    image = read_image(tmp_path / name).pixels
    assert image.dtype == np.uint8
    assert np.array_equal(image, RGB.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.pgm"])
def test_lossless_grey(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    image = read_image(tmp_path / name).pixels
    assert image.dtype == np.uint8
    assert np.array_equal(image, GREY[None])


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg").pixels
    assert image.shape == (1, 64, 64)
    assert np.abs(image[0].astype(int) - smooth).max() < 8


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 1, 1000], [65535, 40000, 257]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    image = read_image(tmp_path / name).pixels
    assert image.dtype == np.float32
    assert np.allclose(image[0], values / 65535, atol=1e-7)


def test_floating_point(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, values[None])
    for factor, message in ((255.0, "values from 0 to 255"), (-1.0, "values from -1 to"), (np.nan, "NaN")):
        Image.fromarray(values * np.float32(factor)).save(tmp_path / "b.tif")
        with pytest.raises(DataError, match=rf"b\.tif: .*{message}"):
            read_image(tmp_path / "b.tif")


def test_a_grey_gif_is_grey(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    few, reversed_palette = Image.fromarray(np.where(GREY > 100, 200, 10).astype(np.uint8)), Image.fromarray(255 - ramp)
    reversed_palette.putpalette([255 - index // 3 for index in range(768)])
    for name, image in (("few", few), ("ramp", Image.fromarray(ramp)), ("palette", reversed_palette)):
        image.save(tmp_path / f"{name}.gif")
        expected = np.asarray(image.convert("L"))
        assert np.array_equal(read_image(tmp_path / f"{name}.gif").pixels, expected[None])
    colours = Image.fromarray(RGB).quantize(16)
    colours.save(tmp_path / "colours.gif")
    expected = np.asarray(colours.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image(tmp_path / "colours.gif").pixels, expected)


def test_one_bit_and_palette(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png").pixels[0], np.where(GREY > 100, 255, 0))
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(
        read_image(tmp_path / "palette.png").pixels, np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)[..., None]
    for pixels, expected in (
        (np.dstack([RGB, opaque]), RGB.transpose(2, 0, 1)),
        (np.dstack([GREY, opaque]), GREY[None]),
    ):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png").pixels, expected)


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[3, 3] = 254
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    Image.fromarray(RGB).quantize(16).save(tmp_path / "palette.png", transparency=0)
    Image.fromarray(GREY).save(tmp_path / "key.png", transparency=7)
    for name in ("rgba.png", "la.png", "palette.png", "key.png"):
        with pytest.raises(DataError, match=f"{name}: has transparent pixels"):
            read_image(tmp_path / name)


def test_a_transparent_colour_that_no_pixel_has(tmp_path: Path) -> None:
    Image.fromarray(np.minimum(GREY, 200)).save(tmp_path / "a.png", transparency=255)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels[0], np.minimum(GREY, 200))


@pytest.mark.parametrize(
    ("mode", "message"),
    [("CMYK", r"CMYK(.|\n)*convert it"), ("LAB", r"CIELAB(.|\n)*convert it"), ("I", r"int32(.|\n)*scale it")],
)
def test_pixels_without_a_plain_meaning_are_refused(tmp_path: Path, mode: str, message: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: its pixels are {message}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    upright = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: np.rot90(GREY, -1),
        7: GREY[::-1, ::-1].T,
        8: np.rot90(GREY),
    }[orientation]
    assert np.array_equal(read_image(tmp_path / "a.png").pixels[0], upright)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="has 2 pages"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "a.ppm"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow remarks on broken EXIF data before it gives up
@pytest.mark.parametrize("kept", [0, 1, 10, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, name: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_image(tmp_path / name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        read_image(tmp_path / "a.png")


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.png: is not an image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"b\.png: no such file"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").mkdir()
    with pytest.raises(DataError, match=r"c\.png"):
        read_image(tmp_path / "c.png")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: is too large"):
        read_image(tmp_path / "a.png")
