"""Studies: cells, shared work, failures, resuming."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

import invreg
import toy
from invreg import metrics as metrics_plugin
from invreg.errors import DataError, SpecError
from invreg.pipeline import run
from invreg.registry import Registry
from invreg.study import StudyResult
from invreg.study_analyzer import CompletedStudy, StudyAnalyzer


class BestByNoise(StudyAnalyzer):
    def __init__(self, fail: bool = False) -> None:
        self.fail = fail

    def analyze(self, study: CompletedStudy) -> invreg.Findings:
        if self.fail:
            raise invreg.SpecError("nothing varies here")
        gains = [float(cell.result.methods["gain"].reconstructor.gain.detach()) for cell in study.cells]  # type: ignore[union-attr, operator]
        table = study.table.groupby("noise.std")["psnr"].max().reset_index()
        return invreg.Findings({"gain": gains[0]}, {"best": table}, {}, "Noise <hurts>.")

    def draw(self, findings: invreg.Findings) -> Mapping[str, Figure]:
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(findings.tables["best"]["noise.std"], findings.tables["best"]["psnr"])
        return {"best": figure}


class StudyPlugin:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return {"best_by_noise": BestByNoise}


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    toy.CALLS.clear()
    yield
    toy.CALLS.clear()


@pytest.fixture
def registry() -> Registry:
    return Registry({"invreg": metrics_plugin, "toy": toy, "study": StudyPlugin})


def study(**changes: Any) -> dict[str, Any]:
    matrix = {"noise.std": [0.01, 0.1], "methods.gain.trainer.samples": [4, 8]}
    content = {**copy.deepcopy(toy.SPEC), "matrix": matrix, "study_analyses": ["best_by_noise"]}
    return {**content, **changes}


def numbers(result: StudyResult) -> pd.DataFrame:
    return result.table.drop(columns=["training_seconds", "reconstruction_seconds"])


def go(content: dict[str, Any], output: Path, registry: Registry) -> StudyResult:
    result = run(content, output, "cpu", progress=False, registry=registry)
    assert isinstance(result, StudyResult)
    return result


def test_one_tidy_table_and_equal_work_once(registry: Registry, tmp_path: Path) -> None:
    result = go(study(), tmp_path, registry)
    assert list(result.table.columns[:4]) == ["cell", "noise.std", "methods.gain.trainer.samples", "method"]
    assert len(result.table) == 8
    raw = result.table[result.table["method"] == "raw"]
    assert raw.groupby("noise.std")["psnr"].nunique().tolist() == [1, 1]
    assert raw["psnr"].nunique() == 2
    shared = {path.name for path in (result.folder / "shared").iterdir()}
    assert len(shared) == 2 + 4
    for cell in result.cells:
        assert (cell.folder / "report.html").is_file()
    pd.testing.assert_frame_equal(pd.read_csv(result.folder / "study.csv"), result.table, check_dtype=False)
    assert result.findings["best_by_noise"].scalars["gain"] == pytest.approx(2, abs=0.1)
    report = result.report.read_text()
    assert "Noise &lt;hurts&gt;." in report
    assert all(f"cells/{cell.folder.name}/report.html" in report for cell in result.cells)


def test_what_is_finished_is_not_done_again(registry: Registry, tmp_path: Path) -> None:
    first = go(study(), tmp_path, registry)
    toy.CALLS.clear()
    second = go(study(), tmp_path, registry)
    assert toy.CALLS == []
    pd.testing.assert_frame_equal(first.table, second.table)


def test_an_interrupted_study_does_only_what_was_missing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(study(), tmp_path / "whole", registry)
    fit = toy.LeastSquares.fit
    toy.CALLS.clear()

    def interrupted(self: toy.LeastSquares, *arguments: Any) -> Any:
        if len([call for call in toy.CALLS if call.startswith("fit")]) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments)

    monkeypatch.setattr(toy.LeastSquares, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(study(), tmp_path / "cut", registry)
    monkeypatch.setattr(toy.LeastSquares, "fit", fit)
    toy.CALLS.clear()
    resumed = go(study(), tmp_path / "cut", registry)
    assert toy.CALLS.count("fit gain") == 2
    pd.testing.assert_frame_equal(numbers(resumed), numbers(whole))


def test_a_failing_cell_does_not_stop_the_others(registry: Registry, tmp_path: Path) -> None:
    matrix = {"methods.gain.trainer.fail": ["", "the loss is NaN"], "noise.std": [0.01, 0.1]}
    result = go(study(matrix=matrix), tmp_path, registry)
    assert len(result.failures) == 2
    assert all("the loss is NaN" in cause for cause in result.failures.values())
    assert set(result.table["noise.std"]) == {0.01, 0.1}
    assert len(result.table) == 4
    assert "the loss is NaN" in result.report.read_text()
    assert "best_by_noise" in result.findings


def test_a_failing_study_analysis_is_reported(registry: Registry, tmp_path: Path) -> None:
    result = go(study(study_analyses=[{"name": "best_by_noise", "fail": True}, "best_by_noise"]), tmp_path, registry)
    assert list(result.findings) == ["best_by_noise-2"]
    assert "nothing varies here" in result.report.read_text()


@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        ({"matrix": {"noise.std": [0.1, -1]}}, SpecError, ["noise.std -1", "greater than or equal"]),
        ({"matrix": {"methods.gain.trainer.sample": [1]}}, SpecError, ["samples"]),
        ({"matrix": {"nosie.std": [0.1]}}, SpecError, ["matrix.nosie.std", "'nosie'"]),
        ({"matrix": {}}, SpecError, ["matrix"]),
        ({"matrix": [1]}, SpecError, ["matrix"]),
        ({"study_analyses": ["best_by_nose"]}, SpecError, ["study_analyses.0", "did you mean 'best_by_noise'"]),
        ({"matrix": {"data.broken": [False, True]}}, DataError, ["data.broken True", "NaN"]),
        ({"matrix": {"methods": [{"raw": "raw"}]}}, SpecError, ["LearnsForwardMap"]),
    ],
)
def test_all_cells_are_checked_before_the_first_starts(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], error: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        go(study(**changes), tmp_path / "runs", registry)
    for part in parts:
        assert part in str(caught.value)
    assert toy.CALLS == []
    assert not (tmp_path / "runs").exists()
