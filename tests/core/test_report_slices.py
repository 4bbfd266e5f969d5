"""The slices of volumes in reports: what is in the page, where it lies, and how large it may become."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_report import Outline, content, images

from invreg.reporting import slices as slices_module
from invreg.reporting.pictures import ShownImage, side_by_side
from invreg.reporting.report import render_report
from invreg.reporting.scripts import script
from invreg.reporting.slices import AXES, CELL, Slices, slices_of, with_slices

Volumes = dict[str, NDArray[np.uint8]]


def volumes(shape: tuple[int, ...], count: int = 2, channels: int = 1) -> Volumes:
    drawn = np.random.default_rng(0).integers(0, 256, (count, channels, *shape), dtype=np.uint8)
    return {"truth": drawn, "measurement": 255 - drawn, "net": drawn // 2}


def shown(columns: Volumes) -> list[ShownImage]:
    names = [f"volume {n}" for n in range(len(columns["truth"]))]
    return with_slices(side_by_side(names, columns, {}), columns)


def decoded(uri: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image)


def in_sheet(uri: str, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A slice, found in its sheet as the script finds it."""
    sheet = decoded(uri)
    high, wide = (-(-side // CELL) * CELL for side in size)
    down, across = divmod(number, sheet.shape[1] // wide)
    return sheet[down * high : down * high + size[0], across * wide : across * wide + size[1]]


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 3, 20), (40, 2, 2), (9, 16, 8)])
def test_every_slice_lies_in_its_cell(shape: tuple[int, int, int]) -> None:
    columns = volumes(shape)
    rows = shown(columns)
    assert len(rows) == 2
    for position, row in enumerate(rows):
        assert row.slices is not None
        assert (row.slices.shape, row.slices.kept, list(row.slices.sheets)) == (shape, {}, list(columns))
        for title, sheets in row.slices.sheets.items():
            assert list(sheets) == ["depth"]
            for number in range(shape[0]):
                found = in_sheet(sheets["depth"], number, shape[1:])
                assert np.array_equal(found, columns[title][position, 0, number])


def test_channels_are_shown_as_those_of_images_are() -> None:
    three, two = volumes((4, 5, 6), 1, 3), volumes((4, 5, 6), 1, 2)
    colours = shown(three)[0].slices
    means = shown(two)[0].slices
    assert colours is not None
    assert means is not None
    found = in_sheet(colours.sheets["truth"]["depth"], 2, (5, 6))
    assert np.array_equal(found, three["truth"][0, :, 2].transpose(1, 2, 0))
    grey = in_sheet(means.sheets["truth"]["depth"], 2, (5, 6))
    assert np.array_equal(grey, np.rint(two["truth"][0, :, 2].mean(axis=0)))


def test_slices_of_large_volumes_are_evenly_spaced_along_each_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (12, 30, 25)
    x, y, z = np.meshgrid(*(np.linspace(0, 9, n) for n in shape), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 8, shape)
    volume = np.rint(127 + 90 * np.sin(x) * np.sin(y) * np.sin(z) + noise).astype(np.uint8)
    columns = {"truth": volume[None, None], "net": (volume // 2)[None, None]}
    as_png = slices_of({title: column[0] for title, column in columns.items()}, exact=True)
    assert as_png is not None
    monkeypatch.setattr(slices_module, "MOST_BYTES_EACH", int(0.8 * as_png.size))
    found = slices_of({title: column[0] for title, column in columns.items()}, exact=True)
    assert found is not None
    assert found.kept == {}  # as JPEG, all fit
    most = int(0.95 * found.size) // 2
    monkeypatch.setattr(slices_module, "MOST_BYTES_EACH", most)
    found = slices_of({title: column[0] for title, column in columns.items()}, exact=True)
    assert found is not None
    assert found.size <= most
    assert list(found.kept) == list(AXES)
    strides = set()
    for axis, n in zip(AXES, shape, strict=True):
        kept = list(found.kept[axis])
        assert n // 2 in kept
        strides |= set(np.diff(kept).tolist())
        for title, column in columns.items():
            slices = np.moveaxis(column[0, 0], AXES.index(axis), 0)
            for number, position in enumerate(kept):
                expected = slices[position] if axis != "width" else slices[position].T
                seen = in_sheet(found.sheets[title][axis], number, expected.shape)
                assert np.abs(seen.astype(int) - expected).mean() < 8  # a JPEG, and no other slice
    assert len(strides) == 1


def test_slices_have_no_more_bytes_than_a_page_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = volumes((6, 20, 20), count=4)
    one = shown(columns)[0].slices
    assert one is not None
    monkeypatch.setattr(slices_module, "MOST_BYTES", int(2.5 * one.size))
    rows = shown(columns)
    assert [row.slices is None for row in rows] == [False, False, True, True]
    assert all(row.pictures for row in rows)
    monkeypatch.setattr(slices_module, "MOST_BYTES_EACH", 100)  # not even the three middle ones
    assert [row.slices for row in shown(columns)] == [None] * 4
    monkeypatch.setattr(slices_module, "_MOST_PIXELS", 1)
    assert slices_of({"truth": columns["truth"][0]}, exact=True) is None


def test_measurements_of_another_shape_keep_their_middle_slices() -> None:
    columns = volumes((5, 6, 7), 1)
    columns["measurement"] = np.zeros((1, 1, 5, 3, 7), dtype=np.uint8)
    slices = shown(columns)[0].slices
    assert slices is not None
    assert list(slices.sheets) == ["truth", "net"]
    page = Outline(render_report(content(pictures=shown(columns), images=images(1, (1, 5, 6, 7)))))
    sheets = {attrs["data-title"]: "data-depth" in attrs for tag, attrs in page.tags if tag == "img"}
    assert sheets == {"truth": True, "measurement": False, "net": True}


def test_the_page_holds_the_slices_and_is_whole_without_them() -> None:
    columns = volumes((5, 6, 7))
    text = render_report(content(pictures=shown(columns), images=images(2, (1, 5, 6, 7))))
    page = Outline(text)
    strips = [attrs for _, attrs in page.tags if attrs.get("class") == "strip"]
    assert [attrs["data-shape"] for attrs in strips] == ["5 6 7"] * 2
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert all(decoded(attrs["src"] or "").shape == (6 + 1 + 5, 7 + 1 + 5) for attrs in pictures)
    assert all((attrs["data-depth"] or "").startswith("data:image/png;base64,") for attrs in pictures)
    assert script("slices") in page.scripts
    assert ".slices" in text.partition("</style>")[0]


def test_sheets_of_thinned_volumes_are_named_in_the_page() -> None:
    sheets = {"truth": dict.fromkeys(AXES, "data:image/png;base64,AA==")}
    slices = Slices((9, 9, 9), {axis: range(1, 9, 3) for axis in AXES}, sheets)
    (row,) = side_by_side(["a"], {"truth": np.zeros((1, 1, 9, 9, 9), np.uint8)}, {})
    given: Any = ShownImage(row.name, row.pictures, slices)
    page = Outline(render_report(content(pictures=[given])))
    (strip,) = [attrs for _, attrs in page.tags if attrs.get("class") == "strip"]
    (picture,) = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [strip[f"data-{axis}"] for axis in AXES] == ["1 4 7"] * 3
    assert [picture[f"data-{axis}"] for axis in AXES] == ["data:image/png;base64,AA=="] * 3


def test_pages_of_images_have_no_slices() -> None:
    stack = np.zeros((2, 1, 4, 5), np.uint8)
    columns = {"truth": stack, "net": stack}
    rows = side_by_side(["a", "b"], columns, {})
    assert with_slices(rows, columns) == rows
    assert with_slices([], {}) == []
    text = render_report(content(pictures=rows))
    assert script("slices") not in text
    assert ".slices" not in text
    assert "data-shape" not in text
