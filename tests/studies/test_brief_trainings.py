"""A study says which of its learned methods were trained too briefly, where they are behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from study_helpers import registry_with

import invreg
from invreg.api import load, redraw, run
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from invreg_analyses.comparison.method_comparison import MethodComparison

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow


class Climb(Trainer):
    """Trains nothing; its log shows a PSNR that rises by `pace` with each of ten validations."""

    def __init__(self, pace: float = 5.0) -> None:
        self.pace = pace

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        rows = [{"step": 10 * (i + 1), "val_psnr": 10 + self.pace * i} for i in range(10)]
        return TrainedMethod(method.build(), TrainingLog(rows, {"seconds": 92.0}))


class More:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {"climb": Climb}


SPEC: dict[str, Any] = {
    "title": "Brief",
    "data": {"name": "toy_images", "count": 4},
    "operator": {"name": "halve", "factor": 1.0},  # what is measured is nearly right, and any factor spoils it
    "noise": {"name": "white", "std": 0.02},
    "methods": {
        "raw": "raw",
        "steep": {"reconstructor": {"name": "scale", "lipschitz": 0.5}, "trainer": "climb"},
        "flat": {
            "reconstructor": {"name": "scale", "lipschitz": 0.5},
            "trainer": {"name": "climb", "pace": 0.0},
        },
    },
    "matrix": {"noise.std": [0.05, 0.01]},
    "study_analyses": ["method_comparison"],
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return registry_with(more=More)


@pytest.fixture(scope="module")
def result(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    found = run(SPEC, tmp_path_factory.mktemp("brief"), "cpu", progress=False, registry=registry)
    assert isinstance(found, StudyResult)
    assert not found.failures
    return found


def test_words_and_table(result: StudyResult) -> None:
    findings = result.findings["method_comparison"]
    table = findings.tables["training"].set_index(["method", "noise"])
    assert set(table.index) == {(method, noise) for method in ("steep", "flat") for noise in ("0.01", "0.05")}
    assert set(table.loc["steep", "verdict"]) == {"trained too briefly"}
    assert set(table.loc["flat", "verdict"]) == {"got no better in the end"}
    differences = findings.tables["differences"].set_index(["method", "noise", "metric"])
    for key, row in table.iterrows():
        assert row["behind"] == pytest.approx(-differences.loc[(*key, "psnr"), "difference"])
    assert set(zip(table["length"], table["unit"], table["seconds"], strict=True)) == {(100, "step", 92.0)}
    places = " dB below raw under halve at noise std 0.01 and under halve at noise std 0.05"
    assert f"{places}: trained too briefly; flat is " in findings.text
    assert f"{places}: got no better in the end." in findings.text
    assert "trained too briefly" in result.report.read_text()


def test_figure(result: StudyResult) -> None:
    findings = result.findings["method_comparison"]
    (figure,) = MethodComparison().draw(findings).values()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["raw", "steep", "flat", "trained too briefly"]
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == 10 and len(line.get_xdata())]
    tops = findings.tables["means"].set_index(["method", "metric"]).loc[("steep", "psnr"), "high"]
    assert sorted(float(line.get_ydata()[0]) for line in marks) == pytest.approx(sorted(tops))
    assert not [line for line in figure.axes[1].get_lines() if line.get_marker() == 10]
    assert figure.get_label().endswith("triangles mark what was trained too briefly")
    figure.canvas.draw()  # type: ignore[attr-defined]


def test_findings_of_an_earlier_version_are_drawn(result: StudyResult) -> None:
    findings = result.findings["method_comparison"]
    tables = {name: table for name, table in findings.tables.items() if name != "training"}
    (figure,) = MethodComparison().draw(invreg.Findings(findings.scalars, tables)).values()
    assert len(figure.legends[0].get_texts()) == 3


def test_loading_and_drawing_again(result: StudyResult, registry: Registry) -> None:
    figure = result.folder / "analyses/method_comparison/figures/halve.svg"
    before = figure.read_bytes()
    figure.unlink()
    redraw(result.folder, registry)
    assert figure.read_bytes() == before
    loaded = load(result.folder, "cpu", registry)
    assert loaded.findings["method_comparison"].text == result.findings["method_comparison"].text


def test_without_noise_that_varies_the_place_is_the_operator(registry: Registry, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"matrix": {"operator.factor": [1.0, 0.9]}}
    text = (
        run({**SPEC, **changes}, tmp_path, "cpu", progress=False, registry=registry).findings["method_comparison"].text
    )
    assert "under halve, factor 1" in text
    assert " at noise" not in text
