"""Reports in a browser: what their scripts do, and that nothing breaks their pages at any width."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pages
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import EVIL, content, images, method, summary
from test_study_tables import METRICS, cell

from invreg.components.analyzer import Findings
from invreg.plugins.registry import Registry
from invreg.reporting import slices as slices_module, study_report
from invreg.reporting.content import AnalysisContent
from invreg.reporting.pictures import side_by_side
from invreg.reporting.report import render_report
from invreg.reporting.slices import AXES, with_slices
from invreg.storage.analysis_folder import AnalysisFolder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(pages.missing()), reason=pages.missing())]

LONG = "Reconstruction of photographs that were blurred by an unknown camera " * 5
FOREIGN = (
    "去模糊照片的重建 Восстановление изображений إعادة بناء الصور 🙂 Rekonstruktionsverfahrensvergleichsuntersuchung"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with pages.browser() as running:
        yield running


@functools.cache
def drawn(folder: Path, width: float) -> Any:
    figure = Figure(figsize=(width, 2), label="A line that rises, and a long caption about it, which has many words")
    figure.subplots().plot([1, 2, 3])
    made = AnalysisFolder(folder / str(width))
    made.write_figures({"line": figure})
    return made.figures[0]


def report(folder: Path, **changes: Any) -> Path:
    """A report with all of its parts, as a file."""
    shape = changes.pop("shape", (1, 24, 32))
    count = changes.pop("count", 4)
    stack = np.random.default_rng(0).random((count, *shape), dtype=np.float32)
    columns = {"truth": stack, "measurement": stack**2, "tv": stack**0.5, "net": 1 - stack, "worst": 0 * stack}
    names = [f"image {n}" for n in range(count)]
    frame = pd.DataFrame(
        np.random.default_rng(1).random((30, 12)), columns=[f"column_of_numbers_{n}" for n in range(12)]
    )
    found = Findings({"number": 1.0}, {"numbers": frame}, text="A sentence. " * 40)
    analyses = [
        AnalysisContent("wide", "What it is.", found, [drawn(folder, 9.5), drawn(folder, 3.0)]),
        AnalysisContent("broken", failure="it broke\n" + "x" * 300),
    ]
    rows = side_by_side(names, columns, {("net", "image 0"): "31.00 dB"}, "net")
    values = {
        "analyses": analyses,
        "pictures": with_slices(rows, columns),
        "images": images(count, shape),
    }
    path = folder / "report.html"
    path.write_text(render_report(content(**{**values, **changes})), encoding="utf-8")
    return path


def study(folder: Path, cells: list[Any], table: pd.DataFrame, title: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    written: list[str] = []
    values = {
        "path": folder,
        "headings": {},
        "references": None,
        "spec_yaml": "title: x\n",
        "command": "",
        "write_report": written.append,
    }
    monkeypatch.setattr(study_report, "metrics_of", lambda *_: METRICS)
    monkeypatch.setattr(study_report, "_version", lambda *_: "0.1.0")
    axes: dict[str, list[Any]] = {path: [] for path in cells[0].values}
    record: Any = SimpleNamespace(title=title, axes=axes, analysis_keys=[], analyses=[])
    study_report.write_study_report(SimpleNamespace(**values), record, cells, table, Registry({}))  # type: ignore[arg-type]
    (folder / "study.html").write_text(written[0], encoding="utf-8")
    return folder / "study.html"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"count": 1, "shape": (3, 40, 17)},
        {"count": 30, "shape": (2, 5, 5)},
        {"pictures": []},
        {"shape": (1, 9, 24, 32)},
        {"count": 1, "shape": (3, 40, 5, 3)},
    ],
    ids=["usual", "one colour image", "many tiny images", "no images", "volumes", "a narrow colour volume"],
)
def test_reports_are_whole_at_any_width(running: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = report(tmp_path, **changes)
    assert pages.faults(running, path) == []


@pytest.mark.parametrize("text", [LONG, FOREIGN, "x" * 300, EVIL], ids=["long", "foreign", "one word", "hostile"])
def test_no_title_or_label_breaks_the_page(running: Any, tmp_path: Path, text: str) -> None:
    rows = {"tv": {"psnr": 31.0, "ssim": 0.9}, text[:200]: {"psnr": 32.0, "ssim": 0.9}}
    given = content().spec.model_copy(update={"title": text})
    changes = {
        "spec": given,
        "summary": summary(**rows),
        "methods": [method("tv", "tv"), method(text[:200], "unet", 5)],
    }
    assert pages.faults(running, report(tmp_path, **changes)) == []


@pytest.mark.parametrize("title", ["A study", FOREIGN + "x" * 200])
def test_a_study_of_a_thousand_cells_with_failures(
    running: Any, tmp_path: Path, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, rows = [], []
    for number, (noise, seed) in enumerate(itertools.product(range(50), range(20))):
        values = {
            "noise.std": noise / 100,
            "seed": seed,
            "operator": "a_long_name_of_an_operator(with=parameters, and=more)",
        }
        failure = "it broke " * 30 if number % 100 == 7 else None
        made = cell(str(tmp_path / "cells" / f"cell-{number}"), failure, **values)
        made.warnings = []
        cells.append(made)
        for label in ("tv", "net") if failure is None else ():
            times = {"parameters": 3, "training_seconds": 1.0, "reconstruction_seconds": 1e-5}
            row = {"psnr": 30 - noise / 10 + (seed * noise if label == "net" else 0), "psnr_std": 1.0}
            rows.append({"cell": made.folder.name, **values, "method": label, **row, **times})
    path = study(tmp_path, cells, pd.DataFrame(rows), title, monkeypatch)
    assert path.stat().st_size < 3_000_000
    assert pages.faults(running, path) == []


def open_page(running: Any, path: Path, **settings: Any) -> Any:
    page = running.new_page(viewport={"width": 1000, "height": 900}, **settings)
    page.goto(path.as_uri())
    return page


def test_tables_are_sorted_by_their_numbers(running: Any, tmp_path: Path) -> None:
    rows = {label: {"psnr": value} for label, value in (("b", 9.5), ("a", 31.0), ("c", float("nan")), ("d", -3.0))}
    page = open_page(running, report(tmp_path, summary=summary(**rows), metrics=METRICS))

    def order() -> list[str]:
        return [text.strip() for text in page.locator("#results tbody th").all_inner_texts()]

    assert order() == ["b", "a", "c", "d"]
    heading = page.locator("#results thead button").nth(1)
    heading.click()
    assert order() == ["d", "b", "a", "c"]
    heading.press("Enter")
    assert order() == ["a", "b", "d", "c"]
    assert page.locator("#results thead th").nth(1).get_attribute("aria-sort") == "descending"
    page.locator("#results thead button").first.click()
    assert order() == ["a", "b", "c", "d"]
    page.close()


def test_an_image_is_chosen_and_two_pictures_are_compared(running: Any, tmp_path: Path) -> None:
    page = open_page(running, report(tmp_path))
    page.locator(".stage").wait_for()
    assert page.locator(".strip:visible").count() == 1
    selects = page.locator(".comparison select")
    chosen = [selects.nth(n).locator("option:checked").inner_text() for n in (0, 1)]
    assert chosen == ["measurement", "net"]
    page.get_by_label("Next image").click()
    assert page.locator(".strip:visible").get_attribute("data-name") == "image 1"
    shown = page.locator(".strip:visible img").nth(3).get_attribute("src")
    page.wait_for_function("source => document.querySelector('.stage img').src === source", arg=shown)
    slider = page.locator(".stage input")
    slider.focus()
    slider.press("Home")
    assert page.locator(".stage").evaluate("(stage) => stage.style.getPropertyValue('--at')") == "0%"
    page.close()


def pixels(page: Any, selector: str, number: int = 0) -> np.ndarray:
    """The grey values of a canvas."""
    read = """(canvas) => [canvas.height, canvas.width,
        [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]]"""
    height, width, values = page.locator(selector).nth(number).evaluate(read)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., 0]


def drawn_volume(shape: tuple[int, ...]) -> np.ndarray:
    """The truth of image 0, 1, ... of `report`, in bytes: [N, D, H, W]."""
    stack = np.random.default_rng(0).random((4, 1, *shape), dtype=np.float32)
    return np.rint(255 * stack[:, 0]).astype(np.uint8)


def along(volume: np.ndarray, axis: str, position: int) -> np.ndarray:
    """A slice as it is shown: [H, W], [D, W] or [H, D]."""
    found = np.moveaxis(volume, AXES.index(axis), 0)[position]
    return found.T if axis == "width" else found


def test_one_moves_through_the_slices_of_a_volume(running: Any, tmp_path: Path) -> None:
    shape = (9, 24, 32)
    truth = drawn_volume(shape)
    page = open_page(running, report(tmp_path, shape=(1, *shape)))
    page.locator(".stage.sliced").wait_for()
    slider, axis = page.locator(".slices input"), page.locator(".slices select")
    row = ".strip:not([hidden]) canvas"
    assert page.locator(row).count() == 5
    assert page.locator(".strip img:visible").count() == 0
    assert page.locator(".place").inner_text() == "5 of 9"
    assert np.array_equal(pixels(page, row), truth[0, 4])
    for name, length, key, position in (
        ("depth", 9, "Home", 0),
        ("height", 24, "ArrowRight", 13),
        ("width", 32, "End", 31),
    ):
        axis.select_option(name)
        slider.focus()
        slider.press(key)
        assert page.locator(".place").inner_text() == f"{position + 1} of {length}"
        assert slider.get_attribute("aria-valuetext") == f"{position + 1} of {length}"
        assert np.array_equal(pixels(page, row), along(truth[0], name, position))
        assert np.array_equal(pixels(page, row, 3), 255 - along(truth[0], name, position))
        # The comparison shows the same slice: of "net" behind, and of the measurement before it.
        assert np.array_equal(pixels(page, ".stage canvas"), pixels(page, row, 3))
        assert np.array_equal(pixels(page, ".stage canvas.front"), pixels(page, row, 1))
    page.get_by_label("Previous slice").click()
    assert page.locator(".place").inner_text() == "31 of 32"
    page.get_by_label("Next image").click()
    page.locator(".strip[data-name='image 1'] canvas").first.wait_for()
    assert page.locator(".place").inner_text() == "31 of 32"
    assert np.array_equal(pixels(page, row), along(truth[1], "width", 30))
    page.locator(".comparison select").first.select_option(label="truth")
    assert np.array_equal(pixels(page, ".stage canvas.front"), along(truth[1], "width", 30))
    page.locator(row).first.press("Enter")
    assert page.locator("dialog[open] img").get_attribute("alt") == "truth, slice 31 of 32 along the width"
    page.keyboard.press("Escape")
    page.emulate_media(media="print")
    assert page.locator("canvas:visible").count() == page.locator(".slices:visible").count() == 0
    assert page.locator(".strip img:visible").count() == 5
    page.close()


def test_a_finger_moves_through_the_slices_on_a_phone(running: Any, tmp_path: Path) -> None:
    context = running.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(report(tmp_path, shape=(1, 9, 24, 32)).as_uri())
    page.locator(".stage.sliced").wait_for()
    slider = page.locator(".slices input")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert page.locator(".place").inner_text() == "9 of 9"
    assert box["height"] >= 30
    context.close()


def test_of_large_volumes_the_page_has_some_slices_and_says_which(
    running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (9, 24, 32)
    (whole,) = [row.slices for row in with_slices(*volumes_of(shape, 1))]
    assert whole is not None
    monkeypatch.setattr(slices_module, "MOST_BYTES_EACH", whole.size // 3)
    monkeypatch.setattr(slices_module, "MOST_BYTES", whole.size // 2)
    path = report(tmp_path, shape=(1, *shape))
    page = open_page(running, path)
    page.locator(".stage.sliced").wait_for()
    page.locator(".slices select").select_option("width")
    note = page.locator(".slices .aside")
    kept = [int(text) for text in (page.locator(".strip").first.get_attribute("data-width") or "").split()]
    assert note.inner_text() == f"{len(kept)} of the 32 slices are in the page, evenly spaced."
    slider = page.locator(".slices input")
    slider.press("End")
    assert page.locator(".place").inner_text() == f"{kept[-1] + 1} of 32"
    seen = pixels(page, ".strip:not([hidden]) canvas").astype(int)
    errors = [np.abs(seen - along(drawn_volume(shape)[0], "width", n)).mean() for n in range(32)]
    assert int(np.argmin(errors)) == kept[-1]
    page.get_by_label("Previous image").click()  # the last one
    page.get_by_text("Of this volume, the page has its three middle slices.").wait_for()
    assert page.locator(".slices input").is_hidden()
    assert page.locator(".strip:not([hidden]) img:visible").count() == 5
    page.locator(".stage:not(.sliced)").wait_for()
    page.get_by_label("Next image").click()
    page.locator(".stage.sliced").wait_for()
    assert slider.is_visible()
    page.close()
    assert pages.faults(running, path) == []


def volumes_of(shape: tuple[int, ...], count: int) -> tuple[Any, Any]:
    stack = drawn_volume(shape)[:count, None]
    columns = {"truth": stack, "measurement": stack, "tv": stack, "net": stack, "worst": stack}
    return side_by_side(["a"] * count, columns, {}), columns


def test_figures_are_enlarged_and_saved(running: Any, tmp_path: Path) -> None:
    page = open_page(running, report(tmp_path))
    page.locator("figure.wide img").first.click()
    assert page.locator("dialog[open] img").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    with page.expect_download() as saved:
        page.locator("a.save[data-kind=svg]").first.click()
    assert b"<svg" in Path(saved.value.path()).read_bytes()
    with page.expect_download() as saved:
        page.locator("a.save[data-kind=png]").first.click()
    assert Path(saved.value.path()).read_bytes().startswith(b"\x89PNG")
    page.locator("summary", has_text="Numbers behind it").first.click()
    with page.expect_download() as saved:
        page.locator("details a", has_text="CSV").first.click()
    assert saved.value.suggested_filename == "numbers.csv"
    assert len(pd.read_csv(saved.value.path()).columns) == 12
    page.close()


@pytest.mark.parametrize("shape", [(1, 24, 32), (1, 9, 24, 32)])
def test_without_scripts_the_page_is_whole(running: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    context = running.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report(tmp_path, shape=shape).as_uri())
    assert page.locator(".strip").count() == 4
    assert page.locator(".slices").count() == 0
    assert page.locator(".strip:visible").count() == 1
    page.locator("summary", has_text="The other 3").click()
    assert page.locator(".strip:visible").count() == 4
    assert page.locator("a.save[data-kind=svg]").first.get_attribute("href") == "analyses/wide/figures/line.svg"
    context.close()


def test_a_faulty_page_is_found_out(running: Any, tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html lang="en"><body style="margin: 0"><main>
        <p style="width: 1500px">wide</p><p style="overflow: hidden; width: 50px; white-space: nowrap">a long text</p>
        <p style="color: #aaa">pale</p><img src="nothing.png" alt="a picture">
        <a href="nowhere.html">x</a><a href="#y">y</a>
        <script>console.log("said")</script></main></body></html>"""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    found = "\n".join([*pages.faults(running, path), *pages.broken_links(path)])
    for fault in (
        "the page is 1500 pixels wide, of 1400",
        'p "wide" reaches to 1500 of 1400 pixels',
        'p "a long text" is cut',
        'p "pale" has a contrast of 2.32',
        "a picture is broken",
        "leads to nowhere.html, which is not there",
        "leads to #y, a place that is not there",
        "console: said",
    ):
        assert fault in found, fault
