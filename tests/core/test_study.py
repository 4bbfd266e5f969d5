"""Studies: cells, shared work, failures, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import toy
from invreg.errors import DataError, SpecError
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from toy import run_study, study


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    toy.CALLS.clear()
    yield
    toy.CALLS.clear()


@pytest.fixture
def registry() -> Registry:
    return Registry(toy.plugins())


def numbers(result: StudyResult) -> pd.DataFrame:
    return result.table.drop(columns=["training_seconds", "reconstruction_seconds"])


@pytest.mark.slow
def test_one_tidy_table_and_equal_work_once(registry: Registry, tmp_path: Path) -> None:
    source = {"source": "Doe <2024>", "url": "https://example.org/a?b&c", "note": "n<b>"}
    literature = {"best_by_noise": [{**source, "values": [{"method": "raw", "noise.std": 0.1, "psnr": 12.34}]}]}
    changes = {"headings": {"best_by_noise": "Figure 4 <of it>"}, "references": literature}
    result = run_study(study(**changes), tmp_path, registry)
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
    assert "Figure 4 &lt;of it&gt;" in report
    assert '<a href="https://example.org/a?b&amp;c">Doe &lt;2024&gt;</a>: n&lt;b&gt;' in report
    assert "12.34" in report
    assert all(f"cells/{cell.folder.name}/report.html" in report for cell in result.cells)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(registry: Registry, tmp_path: Path) -> None:
    first = run_study(study(), tmp_path, registry)
    toy.CALLS.clear()
    second = run_study(study(), tmp_path, registry)
    assert toy.CALLS == []
    pd.testing.assert_frame_equal(first.table, second.table)


@pytest.mark.slow
def test_an_interrupted_study_does_only_what_was_missing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_study(study(), tmp_path / "whole", registry)
    fit = toy.LeastSquares.fit
    toy.CALLS.clear()

    def interrupted(self: toy.LeastSquares, *arguments: Any) -> Any:
        if len([call for call in toy.CALLS if call.startswith("fit")]) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments)

    monkeypatch.setattr(toy.LeastSquares, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path / "cut", registry)
    monkeypatch.setattr(toy.LeastSquares, "fit", fit)
    toy.CALLS.clear()
    resumed = run_study(study(), tmp_path / "cut", registry)
    assert toy.CALLS.count("fit gain") == 2
    pd.testing.assert_frame_equal(numbers(resumed), numbers(whole))


@pytest.mark.slow
def test_a_failing_cell_does_not_stop_the_others(registry: Registry, tmp_path: Path) -> None:
    matrix = {"methods.gain.trainer.fail": ["", "the loss is NaN"], "noise.std": [0.01, 0.1]}
    result = run_study(study(matrix=matrix), tmp_path, registry)
    assert len(result.failures) == 2
    assert all("the loss is NaN" in cause for cause in result.failures.values())
    assert set(result.table["noise.std"]) == {0.01, 0.1}
    assert len(result.table) == 4
    assert "the loss is NaN" in result.report.read_text()
    assert "best_by_noise" in result.findings


@pytest.mark.slow
def test_a_failing_study_analysis_is_reported(registry: Registry, tmp_path: Path) -> None:
    result = run_study(
        study(study_analyses=[{"name": "best_by_noise", "fail": True}, "best_by_noise"]), tmp_path, registry
    )
    assert list(result.findings) == ["best_by_noise-2"]
    assert "nothing varies here" in result.report.read_text()
    assert list(result.failed_analyses) == ["best_by_noise"]
    assert "nothing varies here" in result.failed_analyses["best_by_noise"]
    assert "failed: best_by_noise: see .failed_analyses" in repr(result)


@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        ({"matrix": {"noise.std": [0.1, -1]}}, SpecError, ["noise.std -1", "greater than or equal"]),
        ({"matrix": {"methods.gain.trainer.sample": [1]}}, SpecError, ["samples"]),
        ({"matrix": {"nosie.std": [0.1]}}, SpecError, ["matrix.nosie.std", "'nosie'"]),
        ({"matrix": {}}, SpecError, ["matrix"]),
        ({"matrix": [1]}, SpecError, ["matrix"]),
        ({"study_analyses": ["best_by_nose"]}, SpecError, ["study_analyses.0", "did you mean 'best_by_noise'"]),
        ({"headings": {"best_by_nose": "Figure 1"}}, SpecError, ["headings.best_by_nose", "mean 'best_by_noise'"]),
        ({"headings": {"best_by_noise": 1}}, SpecError, ["headings.best_by_noise", "expected: a text"]),
        ({"headings": ["Figure 1"]}, SpecError, ["headings", "a mapping"]),
        ({"matrix": {"data.broken": [False, True]}}, DataError, ["data.broken True", "NaN"]),
        ({"matrix": {"methods": [{"raw": "raw"}]}}, SpecError, ["LearnsForwardMap"]),
    ],
)
def test_all_cells_are_checked_before_the_first_starts(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], error: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        run_study(study(**changes), tmp_path / "runs", registry)
    for part in parts:
        assert part in str(caught.value)
    assert toy.CALLS == []
    assert not (tmp_path / "runs").exists()
