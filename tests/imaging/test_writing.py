"""What is written is what is read: every format, depth, white and layout, to the value of a known pixel."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from invreg import DataError, SpecError, StoreError, find_images, read_image, write_image
from invreg.imaging.writing import DEPTHS, ENDINGS

RANDOM = np.random.default_rng(0)
LOSSLESS = [
    (ending, depth, channels)
    for ending, channels in itertools.product(ENDINGS, (1, 3))
    if ENDINGS[ending] != "jpeg"
    for depth in DEPTHS[ENDINGS[ending]]
]
#: The value of row 1, column 2 (and channel 2 of 3) of every image below, and where it stands after each orientation.
KNOWN = {"uint8": 201, "uint16": 51_234, "float32": np.float32(0.73)}
PLACE = {1: (1, 2), 2: (1, 4), 3: (3, 4), 4: (3, 2), 5: (2, 1), 6: (2, 3), 7: (4, 3), 8: (4, 1)}


def stored(depth: str, channels: int, size: tuple[int, int] = (5, 7)) -> np.ndarray[Any, Any]:
    """Random values `[C, H, W]` of a depth, with its extremes and the known one."""
    if depth == "float32":
        values = RANDOM.random((channels, *size), dtype=np.float32)
    else:
        values = RANDOM.integers(0, np.iinfo(depth).max + 1, (channels, *size)).astype(depth)
    values[0, 0, :2] = (0, 1) if depth == "float32" else (0, np.iinfo(depth).max)
    values[-1, 1, 2] = KNOWN[depth]
    return values


def as_stored(path: Path) -> np.ndarray[Any, Any]:
    """What another reader finds in a file, `[C, H, W]`."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".npz":
        return np.load(path)["image"]
    if path.suffix.startswith(".tif"):
        values = tifffile.imread(path)
    else:
        import imageio.v3 as imageio

        values = imageio.imread(path)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


@pytest.mark.parametrize(("ending", "depth", "channels"), LOSSLESS)
def test_lossless(tmp_path: Path, ending: str, depth: Any, channels: int) -> None:
    values = stored(depth, channels)
    white = {"uint8": 255, "uint16": 65_535, "float32": 1}[depth]
    write_image(tmp_path / f"a{ending}", (values / white).astype(np.float32), depth)
    found = read_image(tmp_path / f"a{ending}")
    assert (found.depth, found.white) == (depth, white)
    assert found.pixels.dtype == (np.uint8 if depth == "uint8" else np.float32)
    assert np.array_equal(np.rint(found.pixels * np.float64(white)) if depth == "uint16" else found.pixels, values)
    assert found.pixels[-1, 1, 2] == np.float32(KNOWN[depth] / (white if depth == "uint16" else 1))
    # Again, from what was read, without another change.
    write_image(tmp_path / f"b{ending}", found.pixels, found.depth, found.white, found.layout)
    assert np.array_equal(read_image(tmp_path / f"b{ending}").pixels, found.pixels)
    if (ending, depth, channels) != (".png", "uint16", 3):  # which Pillow, inside imageio, cuts to 8 bits
        assert np.array_equal(as_stored(tmp_path / f"a{ending}"), values)


def test_pillow_reads_the_upper_bytes_of_deep_colours(tmp_path: Path) -> None:
    values = stored("uint16", 3, (40, 30))
    write_image(tmp_path / "a.png", values / 65_535, "uint16")
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), (values >> 8).transpose(1, 2, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near(tmp_path: Path, channels: int) -> None:
    smooth = np.linspace(0, 1, 40 * 30).reshape(1, 40, 30).repeat(channels, 0)
    write_image(tmp_path / "a.jpg", smooth)
    found = read_image(tmp_path / "a.jpg")
    assert (found.depth, found.pixels.shape) == ("uint8", (channels, 40, 30))
    assert np.abs(found.pixels / 255 - smooth).max() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "depth", "channels"),
    [
        ("a.png", "uint8", 1),
        ("a.png", "uint8", 3),
        ("a.png", "uint16", 1),
        ("a.tif", "uint8", 1),
        ("a.tif", "uint8", 3),
        ("a.tif", "uint16", 1),
        ("a.tif", "uint16", 3),
        ("a.tif", "float32", 1),
        ("a.tif", "float32", 3),
        ("a.jpg", "uint8", 1),
        ("a.jpg", "uint8", 3),
    ],
)
def test_a_known_pixel_of_every_orientation(
    tmp_path: Path, name: str, depth: Any, channels: int, orientation: int
) -> None:
    values = stored(depth, channels)
    if name.endswith("jpg"):  # compression mixes neighbours: all others are alike
        values[:] = 20
        values[:, 1, 2] = KNOWN[depth]
    last = values[0] if channels == 1 else values.transpose(1, 2, 0)
    if name.endswith("tif"):
        tifffile.imwrite(
            tmp_path / name,
            last,
            photometric="rgb" if channels == 3 else "minisblack",
            extratags=[(274, 3, 1, orientation, True)],
            metadata=None,
        )
    else:
        exif = Image.Exif()
        exif[274] = orientation
        options = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
        Image.fromarray(last).save(tmp_path / name, exif=exif, **options)
    row, column = PLACE[orientation]
    white = {"uint8": 1, "uint16": 65_535, "float32": 1}[depth]
    found = read_image(tmp_path / name)
    accuracy = 12 if name.endswith("jpg") else 0
    assert float(found.pixels[-1, row, column]) == pytest.approx(np.float32(KNOWN[depth] / white), abs=accuracy, rel=0)
    assert found.pixels.shape[1:] == ((5, 7) if orientation < 5 else (7, 5))
    # Written upright, without the tag: the same image for whoever obeys it and whoever does not.
    write_image(tmp_path / f"upright_{name}", found.pixels, depth)
    again = read_image(tmp_path / f"upright_{name}")
    expected = float(found.pixels[-1, row, column])
    assert float(again.pixels[-1, row, column]) == pytest.approx(expected, abs=2 * accuracy, rel=0)


def test_white(tmp_path: Path) -> None:
    twelve_bits = np.array([[0, 4095, 1000]], dtype=np.uint16)
    Image.fromarray(twelve_bits).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", white=4095)
    assert found.white == 4095
    assert found.pixels == pytest.approx(twelve_bits[None] / 4095, rel=1e-6)
    write_image(tmp_path / "b.png", found.pixels, found.depth, found.white)
    assert np.array_equal(as_stored(tmp_path / "b.png")[0], twelve_bits)

    floats = np.array([[-12.5, 1000, 250]], dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", floats)
    with pytest.raises(DataError, match=r"values from -12\.5 to 1000"):
        read_image(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif", white=1000)
    assert found.pixels == pytest.approx(floats[None] / 1000, rel=1e-6)
    write_image(tmp_path / "b.tif", found.pixels, found.depth, found.white)
    assert as_stored(tmp_path / "b.tif")[0] == pytest.approx(floats, rel=1e-6)

    Image.fromarray(np.array([[0, 200, 50]], dtype=np.uint8)).save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png", white=200).pixels.tolist() == [[[0, 1, 0.25]]]
    assert read_image(tmp_path / "c.png", white=255).pixels.dtype == np.uint8
    for white in (0, -1, np.nan, np.inf):
        with pytest.raises(SpecError, match="white = "):
            read_image(tmp_path / "c.png", white=white)


def test_values_beyond_white_are_cut_off_in_whole_numbers_only(tmp_path: Path) -> None:
    values = np.array([[[-0.25, 0.5, 1.25]]], dtype=np.float32)
    write_image(tmp_path / "a.png", values)
    assert as_stored(tmp_path / "a.png").tolist() == [[[0, 128, 255]]]
    write_image(tmp_path / "a.npy", values)
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)


@pytest.mark.parametrize(
    ("shape", "layout", "seen"),
    [
        ((5, 7), "HW", (1, 5, 7)),
        ((1, 5, 7), "CHW", (1, 5, 7)),
        ((3, 5, 7), "CHW", (3, 5, 7)),
        ((5, 7, 3), "HWC", (3, 5, 7)),
        ((5, 7, 1), "HWC", (1, 5, 7)),
        ((2, 5, 7), "CHW", (2, 5, 7)),
        ((3, 7, 3), "CHW", (3, 7, 3)),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_layouts_of_arrays(
    tmp_path: Path, name: str, shape: tuple[int, ...], layout: str, seen: tuple[int, ...]
) -> None:
    values = RANDOM.normal(size=shape).astype(np.float32) * 1000  # also what is not an image
    np.save(tmp_path / name, values) if name.endswith("npy") else np.savez_compressed(tmp_path / name, values)
    found = read_image(tmp_path / name)
    assert (found.layout, found.pixels.shape, found.depth) == (layout, seen, "float32")
    assert found.pixels[0, 0, 0] == values.flat[0]
    write_image(tmp_path / f"b_{name}", found.pixels, found.depth, found.white, found.layout)
    again = np.load(tmp_path / f"b_{name}")
    assert np.array_equal(again if name.endswith("npy") else again["image"], values)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.uint8, np.uint16, ">u2"])
def test_numbers_of_arrays(tmp_path: Path, dtype: Any) -> None:
    whole = np.dtype(dtype).kind == "u"
    values = np.asarray([[0, 40, 255]] if whole else [[0, 0.25, 0.5]]).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(values))
    white = np.iinfo(dtype).max if whole else 1
    found = read_image(tmp_path / "a.npy")
    assert (found.pixels / (255 if found.pixels.dtype == np.uint8 else 1))[0] == pytest.approx(values / white)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 5, 7)), r"is an array of shape \[2, 3, 5, 7\]"),
        (np.zeros((0, 7)), r"shape \[0, 7\]"),
        (np.zeros(5), r"shape \[5\]"),
        (np.zeros((5, 7), complex), "is an array of complex128"),
        (np.zeros((5, 7), bool), "is an array of bool"),
        (np.zeros((5, 7), np.int32), r"is an array of int32(.|\n)*which value is white"),
        (np.full((5, 7), np.nan), "NaN or infinite"),
        (np.array([[{}]], dtype=object), "holds objects of Python, not numbers"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=rf"a\.npy: .*{message}"):
        read_image(tmp_path / "a.npy")


def test_whole_numbers_of_other_sizes_with_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 500, 1000]]))
    assert read_image(tmp_path / "a.npy", white=1000).pixels.tolist() == [[[0, 0.5, 1]]]


def test_archives_and_names_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", x=np.zeros((2, 2)), z=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"holds 2 arrays \(x, z\)(.|\n)*one array"):
        read_image(tmp_path / "two.npz")
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    (tmp_path / "a.npy").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="is not an image"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01")
    with pytest.raises(DataError, match=r"b\.npy: cannot be decoded"):
        read_image(tmp_path / "b.npy")


def test_arrays_are_looked_for_only_where_they_are_wanted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    write_image(tmp_path / "b.png", np.zeros((4, 4)))
    assert find_images(tmp_path) == ["b.png"]
    assert find_images(tmp_path, arrays=True) == ["a.npy", "b.png"]


@pytest.mark.parametrize(
    ("name", "values", "depth", "message"),
    [
        ("a.bmp", np.zeros((4, 4)), None, r"not written as '\.bmp'(.|\n)*\.png, \.tif"),
        ("a.tfi", np.zeros((4, 4)), None, r"not written as '\.tfi'(.|\n)*did you mean '\.tif"),
        ("a", np.zeros((4, 4)), None, "no ending"),
        ("a.png", np.zeros((4, 4)), "float32", "PNG does not hold values of float32"),
        ("a.jpg", np.zeros((4, 4)), "uint16", "JPEG does not hold values of uint16"),
        ("a.png", np.zeros((2, 4, 4)), None, "PNG does not hold images of 2 channels"),
        ("a.tif", np.zeros((4, 4, 4)), None, "TIFF does not hold images of 4 channels"),
        ("a.npy", np.zeros((1, 1, 1, 4, 4)), None, r"shape \[1, 1, 1, 4, 4\]"),
        ("a.npy", np.zeros((4, 4), np.int64), None, "an array of int64"),
        ("a.npy", np.full((4, 4), np.inf), None, "NaN or infinite"),
        ("a.png", np.full((4, 4), np.nan), None, "NaN or infinite"),
    ],
)
def test_what_is_not_written(tmp_path: Path, name: str, values: Any, depth: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_image(tmp_path / name, values, depth)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/a\.png: cannot be written"):
        write_image(tmp_path / "file" / "a.png", np.zeros((4, 4)))
