"""What objects show of themselves: short in a terminal, escaped tables in notebooks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

import invreg
from invreg import (
    Findings,
    ImageStack,
    InvregError,
    Problem,
    Registry,
    Result,
    RunFolder,
    Spec,
    Splits,
    StabilityCertificate,
    StudyResult,
    TrainingImages,
    TrainingLog,
    certificate_content,
)
from invreg.summaries import Summary, brief, cell

SPEC: dict[str, Any] = {
    "title": "<b>A & B</b>",
    "data": {"name": "phantoms", "image_size": 24, "train": 4, "val": 2, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.02},
    "methods": {
        "data": "observation",
        "unet": {
            "reconstructor": {"name": "unet", "channels": [4, 8], "kernel_size": 3},
            "trainer": {"name": "reconstruction", "steps": 2, "batch_size": 2},
        },
    },
    "analyses": ["quality", "examples"],
}


class Balanced(HTMLParser):
    """Collects tags, and whether each that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_short(value: Any, *, lines: int = 20) -> None:
    text = repr(value)
    assert len(text.splitlines()) <= lines, text
    assert len(text) <= 3000, text
    assert " object at 0x" not in text
    if hasattr(value, "_repr_html_"):
        html = value._repr_html_()
        parser = Balanced()
        parser.feed(html)
        parser.close()
        assert parser.open == []
        assert parser.tags <= {"div", "b", "table", "tr", "th", "td"}, parser.tags
        assert " object at 0x" not in html


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    done = invreg.run(SPEC, tmp_path_factory.mktemp("runs"), "cpu", progress=False)
    assert isinstance(done, Result)
    return done


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    spec = {**SPEC, "methods": {"data": "observation"}, "matrix": {"noise.std": [0.01, 0.05]}}
    spec["study_analyses"] = [{"name": "example_grid"}]
    done = invreg.run(spec, tmp_path_factory.mktemp("studies"), "cpu", progress=False)
    assert isinstance(done, StudyResult)
    return done


def test_a_result_shows_its_table(result: Result) -> None:
    assert_short(result)
    lines = repr(result).splitlines()
    assert lines[0].startswith("Result of '<b>A & B</b>' in ")
    assert re.match(r" +method +psnr +ssim +parameters +training_seconds", lines[1])
    assert re.match(r" +data +\d\d\.\d ", lines[2])
    assert "findings: quality, examples" in repr(result)
    html = result._repr_html_()
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in html
    assert "<b>A" not in html
    assert html.count("<tr>") == 3


def test_all_parts_of_a_result_are_short(result: Result) -> None:
    for value in (result.methods, *result.methods.values(), result.findings, *result.findings.values(), result.spec):
        assert_short(value)
    for part in (result.problem, result.images(), result.methods["unet"].log):
        assert_short(part)
    assert "\n" not in repr(result.methods["unet"])
    assert repr(result.methods["data"]) == "MethodResult(Observation(), not trained)"
    assert "table" in repr(result.findings["quality"])


@pytest.mark.slow
def test_a_study_and_its_cells_are_short(study: StudyResult) -> None:
    assert_short(study)
    assert "StudyResult: 2 cells in" in repr(study)
    assert_short(study.cells)
    assert_short(study.cells[0], lines=4)
    assert "noise.std" in repr(study.cells[0])


def test_names_that_are_not_there_are_suggested(result: Result) -> None:
    with pytest.raises(KeyError, match="did you mean 'unet'"):
        result.methods["unett"]
    with pytest.raises(KeyError, match="one of data, unet"):
        result.methods["xyz"]
    with pytest.raises(KeyError, match="did you mean 'quality'"):
        result.findings["qualty"]


def test_components_show_their_parameters(registry: Registry) -> None:
    shown = 0
    for kind in ("operator", "noise", "dataset", "reconstructor", "metric", "trainer", "analyzer", "study_analyzer"):
        for name in registry.names(kind):
            model = registry.parameters(kind, name)
            if any(field.is_required() for field in model.model_fields.values()):
                continue
            component = registry.build(kind, name)
            assert_short(component)
            html = component._repr_html_()
            for parameter in list(model.model_fields)[:12]:
                assert f">{parameter}</th>" in html
            shown += 1
    assert shown > 30
    tv = registry.build("reconstructor", {"name": "tv", "weight": 0.03})
    assert repr(tv).startswith("TotalVariation(weight=0.03, ")
    assert repr(registry.build("metric", "psnr")) == "PSNR()"
    assert repr(registry.build("trainer", "reconstruction")).startswith(
        "ReconstructionTraining(epochs=None, steps=None"
    )


def test_a_network_of_many_layers_shows_its_parameters_only(registry: Registry) -> None:
    net = registry.build("reconstructor", {"name": "unet", "channels": [4, 8]})
    net.setup(Problem(registry.build("operator", "identity")), (1, 16, 16))
    assert repr(net).startswith("UNet(channels=(4, 8), kernel_size=5")
    assert_short(net)


def test_the_registry_lists_names(registry: Registry) -> None:
    assert_short(registry)
    assert re.search(r"^ +reconstructor +\d+ +adjoint, ", repr(registry), re.MULTILINE)


def test_problems_images_and_splits_are_short(registry: Registry) -> None:
    problem = Problem(
        registry.build("operator", "gaussian_blur"), registry.build("noise", {"name": "gaussian", "std": 0.1})
    )
    assert_short(problem, lines=1)
    stack = ImageStack(torch.zeros(3, 1, 8, 9), ["a", "<i>", "c"])
    train = TrainingImages([torch.zeros(1, 8, 8)] * 500, [f"name {i}" for i in range(500)], (4, 4))
    splits = Splits(train, stack, stack)
    for value in (stack, train, splits):
        assert_short(value, lines=5)
    assert repr(stack).startswith("ImageStack: 3 images 1x8x9")
    assert "&lt;i&gt;" in stack._repr_html_()
    assert repr(train).startswith("TrainingImages: 500 images, crops 1x4x4, 2,000 in an epoch")
    assert re.search(r"train +500 +crops 1x4x4", repr(splits))


def test_a_certificate_rounds_its_bounds_up() -> None:
    content = certificate_content(
        {"certified": 3.14159, "sum_of_norms": 7.00001}, {"certified": None}, 3.14151, "ab", "z", {}
    )
    certificate = StabilityCertificate(content)
    assert_short(certificate)
    text = repr(certificate)
    assert "3.142" in text
    assert "7.001" in text
    assert "not proven" in text
    assert "It claims: two measurements that differ by d" in text
    assert "Proven:" not in text


def test_large_findings_and_logs_are_cut() -> None:
    findings = Findings(
        scalars={f"number {i}": i / 7 for i in range(100)},
        tables={"rows": pd.DataFrame({"a": range(5000)})},
        arrays={f"array {i}": np.zeros((50, 60)) for i in range(30)},
        text="seen " * 1000,
    )
    assert_short(findings)
    assert "... and 90 more rows" in repr(findings)
    assert "5000x1" in repr(findings)
    log = TrainingLog([{"step": i, "loss": 1 / (i + 1)} for i in range(500)], {"ended": "x" * 5000})
    assert_short(log)
    assert "the last of 500 rows" in repr(log)
    assert repr(TrainingLog()) == "TrainingLog: nothing was trained"


def test_a_spec_shows_its_parts() -> None:
    many = {f"method {i}": "observation" for i in range(100)}
    spec = Spec.model_validate({**SPEC, "methods": many})
    assert_short(spec)
    assert "gaussian_blur(kernel_size=5, std=1.0)" in repr(spec)
    assert str(spec) == repr(spec)


def test_everything_in_a_summary_is_escaped_and_bounded() -> None:
    bad = "<script>alert(1)</script>"
    summary = Summary(bad, (bad, "b"), [(bad, bad * 100)] * 40, [bad] * 10)
    html = summary.html()
    assert "<script" not in html
    assert len(str(summary).splitlines()) <= 20
    assert "... and 28 more rows" in str(summary)
    assert max(map(len, str(summary).splitlines())) < 400
    assert str(Summary("alone")) == "alone"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12,345"),
        (np.int64(3), "3"),
        (np.float32(0.12345), "0.123"),
        (float("nan"), "–"),
        (True, "True"),
        (None, "None"),
        ("a\nb", "a b"),
        (torch.zeros(2, 3), "Tensor[2, 3]"),
        ([np.zeros(4), "x"], "[ndarray[4], 'x']"),
        ((1,), "(1,)"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert cell(value) == text


def test_long_values_become_their_class() -> None:
    assert brief(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())) == "Sequential(...)"
    assert brief(list(range(20))) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"


def test_completion_offers_public_names_alone() -> None:
    public = {*ast.parse(Path(invreg.__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body}
    names = {alias.name for node in public if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(dir(invreg)) - {"__version__"} == names
    assert not {"Any", "annotations", "importlib", "lazy_loader", "schema", "components"} & set(dir(invreg))


# -- figures


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def assert_draws(figure: Any) -> None:
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_result_draws_its_images(result: Result) -> None:
    figure = result.plot(count=1)
    assert_draws(figure)
    assert len(figure.axes) == 4
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["truth", "measurement", "data", "unet"]
    truth, measured = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:2])
    assert np.array_equal(truth, result.images(1).images[0, 0].numpy())
    assert np.allclose(measured, result.measurements(1)[0, 0].clamp(0, 1).numpy())
    psnr = result.metrics.query("method == 'unet'")["psnr"].iloc[0]
    assert f"PSNR {psnr:.1f}" in texts(figure)
    assert len(result.plot().axes) == 8  # there are two images


@pytest.mark.slow
def test_a_result_draws_its_analyses(result: Result) -> None:
    assert_draws(result.plot("quality"))
    with pytest.raises(KeyError, match="did you mean 'quality'"):
        result.plot("qualty")
    with pytest.raises(KeyError, match="one of"):
        result.plot("quality", "no such figure")
    loaded = invreg.load(result.folder, "cpu")
    assert isinstance(loaded, Result)
    assert texts(loaded.plot("quality")) == texts(result.plot("quality"))


@pytest.mark.slow
def test_a_study_draws_its_analyses(study: StudyResult) -> None:
    assert_draws(study.plot("example_grid"))
    with pytest.raises(KeyError):
        study.plot("quality")


@pytest.mark.slow
def test_a_log_draws_its_curves(result: Result) -> None:
    figure = result.methods["unet"].log.plot()
    assert_draws(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "val_psnr"]
    with pytest.raises(InvregError, match="nothing was trained"):
        result.methods["data"].log.plot()


@pytest.mark.slow
def test_a_certificate_draws_its_bounds_rounded_up() -> None:
    inverse = {"certified": 3.14151, "product": 300.0, "chain_of_parts": 3.14151}
    certificate = StabilityCertificate(certificate_content(inverse, {"certified": None}, 3.14151, "ab", "z", {}))
    figure = certificate.plot()
    assert_draws(figure)
    assert len(figure.axes) == 1
    assert {"chain of parts", "3.142", "300"} <= set(texts(figure))
    unproven = certificate_content({"certified": None}, {"certified": None}, None, "ab", "z", {})
    assert_draws(StabilityCertificate(unproven).plot())


@pytest.mark.slow
def test_pyplot_is_left_alone(result: Result) -> None:
    plotted = f"import sys, invreg; invreg.load({str(result.folder)!r}, 'cpu').plot()"
    code = f"{plotted}; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_method_reads_what_was_sealed_after_it_was_asked_first(result: Result) -> None:
    folder = result.methods["unet"].folder
    assert folder.certificate is None
    content = certificate_content({"certified": 2.0}, {"certified": 2.0}, 2.0, "ab", "z", {})
    RunFolder.existing(result.folder).method("unet").write_certificate(StabilityCertificate(content))
    assert folder.certificate is not None
