"""The report: its sentences and tables, one file, everything escaped, figures of bearable size."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor

from invreg.components.analyzer import Findings
from invreg.components.metric import Metric
from invreg.reporting import pictures as pictures_module, report
from invreg.reporting.content import (
    AnalysisContent,
    ComponentContent,
    MethodContent,
    ReportContent,
)
from invreg.reporting.pictures import picture, plane, side_by_side
from invreg.reporting.report import headline, render_report, tables_of
from invreg.reporting.tables import ROWS, column_title, plain, results_table, to_table
from invreg.specs.reading import read_spec
from invreg.specs.spec import Spec
from invreg.storage.analysis_folder import SavedFigure
from invreg.storage.method_folder import TrainingRecord
from invreg.storage.run_folder import RunIdentity
from invreg.text import duration, metric_title, number, with_unit

EVIL = "<script>alert(\"x\")</script> & 'quotes' {{ 7 * 7 }}"


class Quality(Metric):
    """A metric by its unit and direction."""

    def __init__(self, measured_in: str = "", larger_is_better: bool = True) -> None:
        self.unit, self.higher_is_better = measured_in, larger_is_better  # type: ignore[misc]

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("a report computes nothing")


PSNR, SSIM, MSE = {"psnr": Quality("dB")}, {"ssim": Quality()}, {"mse": Quality("", False)}


def summary(**rows: dict[str, float]) -> pd.DataFrame:
    common = {"parameters": 0, "training_seconds": 0.0, "reconstruction_seconds": 0.01}
    return pd.DataFrame([{"method": label, **common, **row} for label, row in rows.items()])


def spec(**changes: Any) -> Spec:
    return read_spec(
        {
            "title": "Deblurring",
            "seed": 7,
            "data": "photos",
            "operator": "identity",
            "methods": {"raw": "observation"},
            **changes,
        }
    )


def images(test: int = 12, shape: tuple[int, ...] = (1, 96, 80)) -> RunIdentity:
    train, val, names = (list(map(str, range(count))) for count in (1200, 30, test))
    return RunIdentity(list(shape), {"images": train, "crop": [8, 8], "crops_per_epoch": 1}, val, names, "", "")


def method(label: str, name: str, parameters: int = 0, trainer: ComponentContent | None = None) -> MethodContent:
    record = TrainingRecord(0.0, parameters)
    return MethodContent(label, ComponentContent(name), trainer, record, pd.DataFrame())


def content(**changes: Any) -> ReportContent:
    tv = replace(method("tv", "tv"), reconstructor=ComponentContent("tv", "Total variation.", {"weight": 0.00123}))
    net = MethodContent(
        "net",
        ComponentContent("iresnet", "A network.", {"channels": 8}),
        ComponentContent("reconstruction", "", {"lr": 1e-4, "patience": None}),
        TrainingRecord(83.0, 4263700, {"best_step": 2, "ended": "time"}),
        pd.DataFrame({"step": [1, 2], "loss": [0.5, math.nan]}),
        ["2 of 12 inversions stopped early"],
    )
    values = {
        "spec": spec(),
        "operator": ComponentContent("gaussian_blur", "A blur.", {"std": 1.6667}),
        "noise": ComponentContent("gaussian", "", {"std": 0.01}),
        "data": ComponentContent("photos"),
        "images": images(),
        "metrics": PSNR | SSIM,
        "summary": summary(
            tv={"psnr": 31.07, "psnr_std": 3.0, "ssim": 0.9, "ssim_std": 0.0801},
            net={"psnr": 31.70, "psnr_std": 2.5, "ssim": 0.8953, "ssim_std": 0.04, "parameters": 4263700},
        ),
        "methods": [tv, net],
        "analyses": [],
        "environment": {"invreg": "0.1.0", "python": "3.12.1", "libraries": {"torch": "2.13.0"}, "set_aside": {}},
        "command": "invreg run spec.yaml --output runs",
    }
    return ReportContent(**{**values, **changes})


class Outline(HTMLParser):
    """Tags that are open, texts, and whatever is not properly nested."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_headline_names_the_best_method_and_its_lead() -> None:
    assert headline(content()) == "net reaches a mean PSNR of 31.70 dB on 12 test images, +0.63 dB over tv."


def test_the_headline_compares_with_what_there_is() -> None:
    rows = {"a": {"psnr": 30.0}, "b": {"psnr": 31.0}, "c": {"psnr": 28.0}}
    learned = [method(label, label, 5) for label in ("a", "b")]
    known = content(summary=summary(**rows), methods=learned, metrics=PSNR)
    assert headline(known).endswith("+3.00 dB over c.")
    best_is_classical = content(summary=summary(**{**rows, "c": {"psnr": 33.0}}), methods=learned, metrics=PSNR)
    assert headline(best_is_classical).endswith("33.00 dB on 12 test images, +2.00 dB over b.")
    alone = content(summary=summary(b={"psnr": 31.0}), methods=learned[1:], metrics=PSNR, images=images(1))
    assert headline(alone) == "b reaches a PSNR of 31.00 dB on 1 test image."


def test_the_headline_respects_lower_is_better_and_missing_means() -> None:
    rows = {"a": {"mse": 0.002}, "b": {"mse": 0.0015}, "c": {"mse": math.nan}}
    found = headline(content(summary=summary(**rows), metrics=MSE))
    assert found == "b reaches a mean MSE of 0.00150 on 12 test images, −5.00e−4 against a."
    nothing = content(summary=summary(a={"psnr": math.nan}), metrics=PSNR)
    assert headline(nothing) == "No method has a finite mean PSNR."


def test_the_best_values_are_marked_and_digits_are_aligned() -> None:
    table = results_table(content())
    assert [name for name, _ in table.columns] == [
        "Method",
        "PSNR (dB)",
        "SSIM",
        "Weights",
        "Training",
        "Time per image",
    ]
    (tv, net) = table.rows
    assert [(cell.text, cell.is_best, cell.note) for cell in tv[:3]] == [
        ("tv", False, ""),
        ("31.07", False, "± 3.00"),
        ("0.900", True, "± 0.080"),
    ]
    assert (net[1].is_best, net[2].is_best) == (True, False)
    assert net[3].text == "4,263,700"
    assert tv[3].text == "–"


def test_equal_values_are_all_best_and_a_single_method_is_not() -> None:
    rows = {"a": {"psnr": 30.001}, "b": {"psnr": 30.002}, "c": {"psnr": math.nan}}
    table = results_table(content(summary=summary(**rows), metrics=PSNR))
    assert [row[1].is_best for row in table.rows] == [True, True, False]
    assert table.rows[2][1].text == "–"
    alone = results_table(content(summary=summary(a={"psnr": 30.0}), metrics=PSNR))
    assert not alone.rows[0][1].is_best


def test_lower_is_better_marks_the_lowest() -> None:
    table = results_table(content(summary=summary(a={"mse": 2e-5}, b={"mse": 1e-5}), metrics=MSE))
    assert [(row[1].text, row[1].is_best) for row in table.rows] == [("2.00e−5", False), ("1.00e−5", True)]


def test_the_page_says_what_was_solved_and_how() -> None:
    page = Outline(render_report(content()))
    for text in (
        "gaussian_blur std 1.6667",
        "1,200 training images, 30 validation images, 12 test images; grey, 96 × 80 pixels",
        "net : 2 of 12 inversions stopped early",
        "weight 0.00123",
        "4,263,700 weights, 1 min 23 s",
        "invreg run spec.yaml --output runs",
        "title: Deblurring seed: 7",
        "torch 2.13.0",
        "the seed 7",
        "ended time",
        "To cite invreg 0.1.0",
        "author = {Arndt, Clemens and Nickel, Judith}",
    ):
        assert text in page.text.replace("\xa0", " "), text


def test_the_page_is_one_file_without_network() -> None:
    page = render_report(content(analyses=[AnalysisContent("quality", figures=[figure()])]))
    outline = Outline(page)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in outline.tags}
    addresses = [attrs[key] or "" for _, attrs in outline.tags for key in ("src", "href") if key in attrs]
    assert addresses
    inside = ("data:", "#", "analyses/quality/figures/values.")
    assert all(address.startswith(inside) for address in addresses)
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_of_the_page_names_its_scripts_and_nothing_else() -> None:
    outline = Outline(render_report(content()))
    (policy,) = [attrs["content"] or "" for _, attrs in outline.tags if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'; img-src data:;")
    allowed = re.search(r"script-src ([^;]+)", policy)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in outline.scripts]
    assert hashes
    assert allowed is not None
    assert allowed.group(1).split() == [f"'sha256-{digest}'" for digest in hashes]
    assert all(attrs == {} for tag, attrs in outline.tags if tag == "script")
    assert not any(key.startswith("on") for _, attrs in outline.tags for key in attrs)


def test_the_page_is_accessible() -> None:
    outline = Outline(render_report(content(analyses=[AnalysisContent("quality", figures=[figure(caption="")])])))
    tags = outline.tags
    assert ("html", {"lang": "en"}) in tags
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags if tag == "th")
    targets = {attrs["id"] for _, attrs in tags if "id" in attrs}
    links = [attrs["href"] or "" for tag, attrs in tags if tag == "a" and "download" not in attrs]
    assert set(links) == {f"#{target}" for target in targets}


def figure(name: str = "values", caption: str = "What is seen.", **parts: bytes) -> SavedFigure:
    return SavedFigure(name, caption, **(parts or {"svg": b"<svg/>"}))


def test_everything_is_escaped() -> None:
    component = ComponentContent(EVIL, EVIL, {EVIL: EVIL, "nested": {EVIL: [EVIL]}})
    frame = pd.DataFrame({EVIL: [EVIL], "b": [1.0]})
    record = TrainingRecord(1.0, 1, {EVIL: EVIL})
    evil = MethodContent(EVIL, component, component, record, frame, [EVIL], EVIL)
    found = Findings({EVIL: EVIL}, {EVIL: frame}, text=EVIL)
    analysis = AnalysisContent(EVIL, EVIL, found, [figure(EVIL, EVIL), figure(EVIL, "")], EVIL, {EVIL: EVIL})
    page = render_report(
        content(
            spec=spec(title=EVIL, data={"name": "photos", EVIL: EVIL}),
            operator=component,
            noise=component,
            data=component,
            methods=[evil],
            summary=summary(**{EVIL: {"psnr": 1.0, EVIL: 2.0}}),
            metrics={**PSNR, EVIL: Quality(EVIL)},
            analyses=[analysis, replace(analysis, name="again")],
            environment={EVIL: EVIL, "nested": {EVIL: EVIL}},
            command=EVIL,
        )
    )
    outline = Outline(page)
    assert outline.scripts == Outline(render_report(content())).scripts
    assert not {"49", "alert"} & {key for _, attrs in outline.tags for key in attrs}
    assert page.count("&lt;script&gt;") >= 30
    assert "{{ 7 * 7 }}" in page
    assert page.lower().count("<script") == len(outline.scripts)


def test_figures_are_embedded_as_svg() -> None:
    page = render_report(content(analyses=[AnalysisContent("a", figures=[figure(svg=b"<svg>1</svg>", png=png(10))])]))
    assert f"data:image/svg+xml;base64,{base64.b64encode(b'<svg>1</svg>').decode()}" in page


def png(size: int, width: int = 1600) -> bytes:
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", width, 400)
    return header + b"0" * size


def test_huge_figures_become_png_of_the_same_size_on_the_page() -> None:
    huge = b"<svg>" + b"x" * (report.LARGEST_SVG + 1)
    page = render_report(content(analyses=[AnalysisContent("a", figures=[figure(svg=huge, png=png(10))])]))
    assert "data:image/png;base64," in page
    assert 'width="960"' in page
    assert len(page) < 100_000
    only_svg = render_report(content(analyses=[AnalysisContent("a", figures=[figure(svg=huge)])]))
    assert "data:image/svg+xml" in only_svg
    only_png = render_report(content(analyses=[AnalysisContent("a", figures=[figure(png=png(10))])]))
    assert "data:image/png" in only_png


def test_many_large_figures_stay_below_the_limit() -> None:
    # Each is small enough alone; only as many as needed become PNGs, those that save most first.
    figures = [figure(f"f{i}", svg=bytes([65 + i]) * 900_000, png=png(1000 * i)) for i in range(6)]
    analyses = [AnalysisContent("a", figures=figures[:3]), AnalysisContent("b", figures=figures[3:])]
    page = render_report(content(analyses=analyses))
    kinds = re.findall(r"data:image/(png|svg)(?:[+]xml)?;", page)
    assert kinds == ["png", "png", "svg", "svg", "svg", "svg"]
    assert len(page) < 6_000_000


def test_a_failed_analysis_says_why() -> None:
    page = Outline(render_report(content(analyses=[AnalysisContent("forward_map", failure="it broke\n  try: more")])))
    assert "This analysis failed." in page.text
    assert "it broke try: more" in page.text


def test_methods_that_were_left_out_are_listed_with_the_reason() -> None:
    left_out = {"tv": "not a network <of any kind>", "unet": "not invertible", "adjoint": "not a network <of any kind>"}
    page = Outline(render_report(content(analyses=[AnalysisContent("forward_map", left_out=left_out)])))
    assert "Left out: unet (not invertible)." in page.text
    assert "Left out: tv, adjoint (not a network <of any kind>)." in page.text


def test_long_tables_are_cut_and_say_so() -> None:
    frame = pd.DataFrame({"image": [f"i{n}" for n in range(ROWS + 5)], "value": 1.0, "good": True})
    table = to_table(frame)
    assert (len(table.rows), table.omitted) == (ROWS, 5)
    page = Outline(render_report(content(analyses=[AnalysisContent("a", findings=Findings(tables={"t": frame}))])))
    assert "5 more rows are in the file." in page.text
    assert table.columns == [("image", False), ("value", True), ("good", False)]


def test_an_analysis_without_figures_shows_its_first_table() -> None:
    tables = {"first": pd.DataFrame({"a": [1]}), "second": pd.DataFrame({"b": [2]})}
    page = render_report(content(analyses=[AnalysisContent("x", findings=Findings(tables=tables))]))
    first, folded, second = (page.index(part) for part in (">First<", "Numbers behind it", ">Second<"))
    assert first < folded < second
    alone = AnalysisContent("x", findings=Findings(tables={"first": tables["first"]}))
    page = render_report(content(analyses=[alone]))
    assert ">First<" in page
    assert "Numbers behind it" not in page


def test_tables_without_rows_or_columns_are_left_out() -> None:
    tables = {"empty": pd.DataFrame(columns=["a", "b"]), "nothing": pd.DataFrame()}
    page = Outline(render_report(content(analyses=[AnalysisContent("a", findings=Findings(tables=tables))])))
    assert "Empty" not in page.text
    assert "Nothing" not in page.text
    assert [to_table(table).rows for table in tables.values()] == [[], []]


def test_a_run_without_noise_training_or_analyses() -> None:
    page = Outline(
        render_report(
            content(
                noise=ComponentContent("none"),
                methods=[method("raw", "observation")],
                summary=summary(raw={"psnr": math.inf}),
                metrics=PSNR,
                images=images(1, (4, 8, 8)),
                environment={},
            )
        )
    )
    assert "No method has a finite mean PSNR." in page.text
    assert "+ noise" not in page.text
    assert "4 channels" in page.text
    assert "∞" in page.text


def test_equal_tables_are_shown_once_and_saved_as_they_are() -> None:
    frame, other = pd.DataFrame({"metric": ["psnr"], "val_psnr": [0.1 + 0.2]}), pd.DataFrame({"weights": [3]})
    analyses = [
        AnalysisContent("a", findings=Findings(tables={"numbers": frame, "methods": other})),
        AnalysisContent("b", findings=Findings(tables={"methods": other})),
    ]
    first, second = tables_of(analyses, PSNR)
    assert [title for title, _ in first] == ["Numbers", "Methods"]
    assert second == []
    table = first[0][1]
    assert [name for name, _ in table.columns] == ["metric", "validation PSNR"]
    assert [cell.text for cell in table.rows[0]] == ["PSNR", "0.3"]
    assert base64.b64decode(table.source.partition(",")[2]) == b"metric,val_psnr\npsnr,0.30000000000000004\n"
    assert table.file == "numbers.csv"


def test_long_tables_are_saved_from_their_file() -> None:
    long = pd.DataFrame({"value": range(20_000)})
    (((_, table),),) = tables_of([AnalysisContent("a b", findings=Findings(tables={"t": long}))], ())
    assert table.source == "analyses/a%20b/tables/t.csv"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("psnr", "PSNR"),
        ("psnr_std", "PSNR std."),
        ("val_psnr", "validation PSNR"),
        ("training_seconds", "training (s)"),
        ("higher_is_better", "higher is better"),
        ("edge_psnr_distance", "edge PSNR distance"),
        ("psnrs", "psnrs"),
    ],
)
def test_columns_in_words(name: str, title: str) -> None:
    assert column_title(name, ["psnr"]) == title


def test_parameters_that_are_not_set_are_not_listed() -> None:
    page = Outline(render_report(content()))
    assert "patience" not in page.text.partition("The spec")[0]


def test_test_images_are_all_in_the_page_and_the_first_is_open() -> None:
    stack = np.linspace(0, 1, 3 * 4 * 6, dtype=np.float32).reshape(3, 1, 4, 6)
    rows = side_by_side(["a", EVIL, "c"], {"truth": stack, "net": stack}, {("net", "a"): "31.00 dB"})
    outline = Outline(render_report(content(pictures=rows, images=images(3))))
    pictures = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert [attrs["data-title"] for attrs in pictures] == ["truth", "net"] * 3
    assert "net 31.00 dB" in outline.text
    assert "The other 2" in outline.text
    with Image.open(io.BytesIO(base64.b64decode((pictures[0]["src"] or "").partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), np.rint(stack[0, 0] * 255))


def test_volumes_are_shown_by_three_slices_and_signals_as_strips() -> None:
    volume = np.zeros((1, 4, 6, 10), dtype=np.float32)
    volume[0, 2], volume[0, :, 3], volume[0, :, :, 5] = 0.25, 0.5, 0.75
    page = plane(volume)
    assert page.shape == (1, 6 + 1 + 4, 10 + 1 + 4)
    assert page[0, 0, 0] == 0.25
    assert page[0, 7, 0] == 0.5
    assert page[0, 0, 11] == 0.75
    assert page[0, 10, 14] == 1  # white in the empty corner
    assert plane(np.ones((1, 7))).shape == (1, 24, 7)
    assert plane(np.ones((2, 3, 4, 6, 10))).shape == (2, 11, 15)
    two = np.full((2, 3, 3), 255, dtype=np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(picture("x", two).uri.partition(",")[2]))) as image:
        assert np.asarray(image).tolist() == [[255] * 3] * 3


def test_no_more_test_images_than_a_page_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.random.default_rng(0).random((5, 3, 40, 40), dtype=np.float32)
    size = len(picture("x", stack[0]).uri)
    monkeypatch.setattr(pictures_module, "_MOST_BYTES", 3 * size)
    rows = side_by_side([f"i{n}" for n in range(5)], {"truth": stack}, {})
    assert 2 <= len(rows) < 5
    page = Outline(render_report(content(pictures=rows)))
    assert f"The first {len(rows)} of 12" in page.text
    monkeypatch.setattr(pictures_module, "_MOST_BYTES", 1)
    assert len(side_by_side(["a"], {"truth": stack}, {})) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        (math.nan, "–"),
        (-math.inf, "−∞"),
        (True, "yes"),
        (-3, "−3"),
        (1234567, "1234567"),
        (0.00012345678, "0.0001235"),
        ("0.0034280245174269797", "0.003428"),
        ("1.2.3", "1.2.3"),
        ([1, 0.5, None], "[1, 0.5, –]"),
        ({"low": 1e-4, "log": False}, "{low: 0.0001, log: no}"),
    ],
)
def test_values_in_words(value: Any, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (31.7, "dB", False, "31.70"),
        (-0.004, "dB", True, "0.00"),
        (0.63, "dB", True, "+0.63"),
        (math.inf, "dB", False, "∞"),
        (math.nan, "dB", False, "–"),
        (0.9, "", False, "0.900"),
        (0.8954, "", False, "0.895"),
        (-0.0412, "", True, "−0.0412"),
        (0.00012345, "", False, "1.23e−4"),
        (123.4, "", False, "123"),
        (1234.5, "", False, "1234"),
        (1e7, "", False, "1.00e7"),
        (0.0, "", True, "0.00"),
    ],
)
def test_numbers_in_words(value: float, unit: str, signed: bool, text: str) -> None:
    assert number(value, unit, signed=signed) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "–"),
        (math.nan, "–"),
        (2e-6, "2 µs"),
        (0.0123, "12.3 ms"),
        (0.9999, "1 s"),
        (59.96, "1 min"),
        (83, "1 min 23 s"),
        (3599.9, "1 h"),
        (7260, "2 h 1 min"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_metrics_in_words() -> None:
    assert [metric_title(name) for name in ("psnr", "edge_distance", "lpips")] == ["PSNR", "edge distance", "lpips"]
    assert with_unit("31.70", "dB") == "31.70 dB"
    assert with_unit("–", "dB") == "–"
