"""The analyses of studies: which cells they take, their numbers, their figures, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from study_helpers import L_PATH, SMALL_PATH, SPEC, run_study

from invreg.components.analyzer import Findings
from invreg.components.study_analyzer import CompletedStudy
from invreg.errors import DataError, InvregError, SpecError
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.storage.result import StudyResult
from invreg_analyses.comparison.lipschitz_sweep import LipschitzSweep
from invreg_analyses.comparison.method_comparison import MethodComparison, _below_the_data
from invreg_analyses.comparison.settings_table import SettingsTable
from invreg_analyses.examples.grid import ExampleGrid
from invreg_analyses.shared.pictures import detail
from invreg_analyses.shared.study_choice import choose
from invreg_analyses.shared.style import file_names
from toy import ToyImages

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow

HALF, MORE = "halve(factor=0.5)", "halve(factor=0.6)"
GRID_CELLS = [{"operator": operator, "noise.std": std} for operator in (HALF, MORE) for std in (0.01, 0.05)]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The cells; each test makes the analysis that it is about."""
    return run_study(tmp_path_factory.mktemp("study"), study_analyses=[])


@pytest.fixture(scope="module")
def grid(result: StudyResult) -> Findings:
    return ExampleGrid().analyze(completed(result))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> CompletedStudy:
    """A study that varies neither operator nor noise nor a Lipschitz parameter, with an operator onto vectors."""
    matrix = {"methods.net.trainer.steps": [1, 2]}
    changes = {"matrix": matrix, "operator": "flatten", "noise": "none", "study_analyses": []}
    return completed(run_study(tmp_path_factory.mktemp("plain"), **changes))


def completed(result: StudyResult) -> CompletedStudy:
    varied = {path: values for path, values in SPEC["matrix"].items() if path != "include"}
    if "noise.std" not in result.table:
        axes: dict[str, Any] = {"methods.net.trainer.steps": [1, 2]}
    else:
        axes = {**varied, "operator": [HALF, MORE], SMALL_PATH: varied[L_PATH]}
    return CompletedStudy("A study", axes, result.table, result.cells)


def values_of(result: StudyResult, method: str, metric: str, **where: Any) -> np.ndarray[Any, Any]:
    """The metric of a method by image, from the one cell with these values."""
    wanted = {"operator": HALF, "noise.std": 0.01, L_PATH: 0.99} | where
    (cell,) = [cell for cell in result.cells if all(cell.values[path] == value for path, value in wanted.items())]
    table = pd.read_csv(cell.folder / "metrics.csv")
    return table.loc[table["method"] == method, metric].to_numpy()


def row_of(table: pd.DataFrame, **where: Any) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def through_files(findings: Findings, folder: Path) -> Findings:
    analysis = AnalysisFolder(folder / "analysis")
    analysis.write_findings(findings)
    return analysis.findings


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_study_with_all_analyses_is_reported_with_its_figures(tmp_path: Path) -> None:
    result = run_study(tmp_path)
    assert list(result.findings) == ["method_comparison", "lipschitz_sweep", "example_grid", "settings_table"]
    found = {path.stem for path in result.folder.glob("analyses/*/figures/*.png")}
    assert found == {f"halve_factor_{factor}{end}" for factor in (0.5, 0.6) for end in ("", "_0.01", "_0.05")}
    report = result.report.read_text()
    assert report.count("<figure") == 8
    for findings in result.findings.values():
        assert findings.text
        assert findings.text.split(".")[0].replace("&", "&amp;") in report


def test_means_are_those_of_the_chosen_cells(result: StudyResult) -> None:
    findings = MethodComparison().analyze(completed(result))
    means = findings.tables["means"]
    assert len(means) == 2 * 2 * 3 * 2
    for noise in (0.01, 0.05):
        values = values_of(result, "net", "psnr", **{"noise.std": noise})
        row = row_of(means, operator=HALF, noise=str(noise), method="net", metric="psnr")
        assert row["mean"] == pytest.approx(values.mean())
        assert row["low"] < row["mean"] < row["high"]
        assert row["images"] == 4
    assert findings.tables["noises"]["noise"].tolist() == ["0.01", "0.05"]
    assert f"{L_PATH} at 0.99" in findings.text
    differences = findings.tables["differences"]
    expected = values_of(result, "net", "ssim") - values_of(result, "raw", "ssim")
    row = row_of(differences, operator=HALF, noise="0.01", method="net", metric="ssim")
    assert row["reference"] == "raw"
    assert row["difference"] == pytest.approx(expected.mean())
    assert "raw" not in set(differences["method"])


def test_other_paths_can_be_held_at_another_value(result: StudyResult) -> None:
    study = completed(result)
    means = MethodComparison(at={L_PATH: 0.5}).analyze(study).tables["means"]
    at_half = values_of(result, "net", "psnr", **{L_PATH: 0.5})
    assert row_of(means, operator=HALF, noise="0.01", method="net", metric="psnr")["mean"] == pytest.approx(
        at_half.mean()
    )
    # Another method's parameter says nothing about this one: it stays at its own last value.
    other = row_of(means, operator=HALF, noise="0.01", method="small", metric="psnr")["mean"]
    assert other == pytest.approx(values_of(result, "small", "psnr").mean())
    only = MethodComparison(at={"noise.std": 0.05}).analyze(study)
    assert set(only.tables["means"]["noise"]) == {"0.05"}
    assert set(choose(study, {"operator": MORE}).operators) == {MORE}


def test_comparison_is_drawn_from_files(result: StudyResult, tmp_path: Path) -> None:
    findings = through_files(MethodComparison().analyze(completed(result)), tmp_path)
    figures = MethodComparison().draw(findings)
    assert list(figures) == ["halve_factor_0.5", "halve_factor_0.6"]
    figure = figures["halve_factor_0.5"]
    assert legend_of(figure) == ["raw", "net", "small"]
    assert "95% intervals" in figure.get_label()
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "PSNR, dB (higher is better)",
        "SSIM (higher is better)",
    ]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.01", "0.05"]
    marks = {line.get_label(): line for line in figure.axes[0].get_lines()}
    means = findings.tables["means"]
    expected = means[(means["operator"] == HALF) & (means["method"] == "net") & (means["metric"] == "psnr")]["mean"]
    np.testing.assert_allclose(np.sort(marks["net"].get_ydata()), np.sort(expected))


def test_sweep_has_a_point_for_each_value(result: StudyResult, tmp_path: Path) -> None:
    sweep = LipschitzSweep()
    findings = through_files(sweep.analyze(completed(result)), tmp_path)
    means, gains = findings.tables["means"], findings.tables["gains"]
    assert set(means["method"]) == {"net", "small"}
    for value in (0.5, 0.9, 0.99):
        row = row_of(means, operator=MORE, noise="0.05", method="small", metric="psnr", value=value)
        values = values_of(result, "small", "psnr", **{"operator": MORE, "noise.std": 0.05, L_PATH: value})
        assert row["mean"] == pytest.approx(values.mean())
    gain = row_of(gains, operator=HALF, noise="0.01", method="net", metric="psnr")
    expected = values_of(result, "net", "psnr") - values_of(result, "net", "psnr", **{L_PATH: 0.5})
    assert gain["gain"] == pytest.approx(expected.mean())
    assert gain["low"] > 0
    figure = sweep.draw(findings)["halve_factor_0.5"]
    assert legend_of(figure) == ["net", "small"]
    assert len(figure.axes) == 4
    ticks = figure.axes[0].get_xticks()
    np.testing.assert_allclose(ticks, -np.log10([0.5, 0.1, 0.01]))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.5", "0.9", "0.99"]
    spans = [np.ptp(axes.get_ylim()) for axes in figure.axes]
    assert spans[0] == pytest.approx(spans[1])
    assert spans[2] == pytest.approx(spans[3])
    assert "+17.01 dB" in findings.text


def test_sweep_of_one_path(result: StudyResult) -> None:
    means = LipschitzSweep(axis=SMALL_PATH).analyze(completed(result)).tables["means"]
    assert set(means["method"]) == {"small"}


def test_sweep_of_another_parameter_has_an_even_axis(plain: CompletedStudy) -> None:
    sweep = LipschitzSweep(axis="methods.net.trainer.steps")
    findings = sweep.analyze(plain)
    assert findings.tables["means"]["value"].tolist() == [1, 2, 1, 2]
    (figure,) = sweep.draw(findings).values()
    assert figure.axes[0].get_xticks().tolist() == [1, 2]
    assert figure.axes[-1].get_xlabel() == "steps"


def test_example_grid_measures_the_data_as_the_run_did(result: StudyResult, grid: Findings, tmp_path: Path) -> None:
    # The method `raw` hands the data on: measured again they are the same, bit for bit, so they are not shown twice.
    assert not grid.tables["grids"]["has_data"].any()
    assert not any(name.endswith("_data") for name in grid.arrays)
    changes = {"methods": {"net": SPEC["methods"]["net"]}, "matrix": {"noise.std": [0.01, 0.05, 0.02]}}
    other = run_study(tmp_path, **changes, study_analyses=["example_grid"]).findings["example_grid"]
    assert other.tables["grids"]["noise"].tolist() == ["0.01", "0.05"]
    for number, noise in ((0, 0.01), (1, 0.05)):
        own = row_of(other.tables["scores"].fillna(""), grid=number, method="")
        index = int(other.scalars["image"].split("/")[1])  # type: ignore[union-attr]
        assert own["psnr"] == pytest.approx(values_of(result, "raw", "psnr", **{"noise.std": noise})[index])
        error = other.arrays[f"grid_{number}_data"] - other.arrays[f"grid_{number}_truth"]
        assert own["psnr"] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-4)


def test_example_grid_shows_a_typical_image_with_its_scores(result: StudyResult, grid: Findings) -> None:
    index = int(str(grid.scalars["image"]).split("/")[1])
    scores = [values_of(result, m, "psnr", **w) for m in ("raw", "net", "small") for w in GRID_CELLS]
    order = np.argsort(np.mean(scores, axis=0))
    truth = ToyImages(4).splits().test.images
    assert index == max(order[1:3], key=lambda i: detail(truth.numpy())[i])
    row = row_of(grid.tables["scores"], grid=0, method="net")
    assert row["psnr"] == pytest.approx(values_of(result, "net", "psnr")[index])
    error = grid.arrays["grid_0_reconstructions"][1] - grid.arrays["grid_0_truth"]
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-4)
    figures = ExampleGrid().draw(grid)
    assert list(figures) == [f"halve_factor_{factor}_{noise}" for factor in (0.5, 0.6) for noise in (0.01, 0.05)]
    figure = figures["halve_factor_0.5_0.01"]
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["truth", "raw", "net", "small"]
    assert f"PSNR {row['psnr']:.2f} dB" in figure.axes[2].get_xlabel()
    assert "noise std 0.01" in figure.get_label()


def test_example_grid_of_a_given_image_and_without_data_that_are_images(plain: CompletedStudy) -> None:
    findings = ExampleGrid(image="image/3").analyze(plain)
    assert findings.scalars["image"] == "image/3"
    assert findings.tables["grids"]["noise"].tolist() == ["none"]
    assert "grid_0_data" not in findings.arrays
    assert len(ExampleGrid().draw(findings)) == 1
    with pytest.raises(SpecError, match=r"no test image 'image/33'[\s\S]*did you mean"):
        ExampleGrid(image="image/33").analyze(plain)


def test_example_grid_refuses_other_images(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    study = completed(result)
    spec = study.cells[0].spec
    monkeypatch.setattr(spec, "data", spec.data.model_copy(update={"count": 3}))
    with pytest.raises(DataError, match="other images than those of the run"):
        ExampleGrid().analyze(CompletedStudy("A study", study.axes, study.table, study.cells[:1]))


def test_settings_table(result: StudyResult, tmp_path: Path) -> None:
    table = SettingsTable(main=1)
    findings = through_files(table.analyze(completed(result)), tmp_path)
    methods = findings.tables["methods"].set_index("method")
    assert methods.index.tolist() == ["raw", "net", "small"]
    assert methods["weights"].tolist() == [0, 3, 2]
    assert methods.loc["net", "training"] == "1 min 1 s"
    assert methods.loc["net", "trainings"] == 12
    assert methods.loc["small", "reconstructor settings"] == "lipschitz 0.5 | 0.9 | 0.99"
    assert methods.loc["net", "trainer settings"] == "steps 3"
    assert "net 3, small 2" in findings.text
    settings = findings.tables["settings"]
    assert row_of(settings, method="small", component="reconstructor", setting="width")["value"] == "2"
    assert table.draw(findings) == {}


def test_many_values_of_a_setting_become_a_span(result: StudyResult) -> None:
    methods = SettingsTable(values=2).analyze(completed(result)).tables["methods"].set_index("method")
    assert methods.loc["net", "reconstructor settings"] == "lipschitz 0.5 to 0.99, width 3"


def test_a_study_of_neither_operator_nor_noise_has_one_group(plain: CompletedStudy) -> None:
    findings = MethodComparison().analyze(plain)
    assert findings.tables["operators"]["operator"].tolist() == ["flatten"]
    assert findings.tables["noises"]["noise"].tolist() == ["none"]
    assert "Held fixed: methods.net.trainer.steps at 2." in findings.text
    # Raw gives the exact images: an infinite PSNR has no mean, and must not stop the figure.
    assert row_of(findings.tables["means"], method="raw", metric="psnr")["missing"] == 4
    (figure,) = MethodComparison().draw(findings).values()
    figure.canvas.draw()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("analyzer", "parts"),
    [
        (LipschitzSweep(), ["the study varies methods.net.trainer.steps", "lipschitz: [0.95"]),
        (LipschitzSweep(axis="methods.net.trainer.step"), ["not varied", "did you mean 'methods.net.trainer.steps'"]),
        (MethodComparison(at={"noise.sdt": 1}), ["at: noise.sdt is not varied"]),
        (ExampleGrid(at={"methods.net.trainer.steps": 5}), ["5 is not a value", "one of 1, 2"]),
    ],
)
def test_what_a_study_does_not_have_is_refused(plain: CompletedStudy, analyzer: Any, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        analyzer.analyze(plain)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("analyzer", [MethodComparison(), LipschitzSweep(L_PATH), ExampleGrid(), SettingsTable()])
def test_a_study_without_a_finished_cell_is_refused(result: StudyResult, analyzer: Any) -> None:
    study = completed(result)
    with pytest.raises(InvregError, match="no cell is finished"):
        analyzer.analyze(CompletedStudy("A study", study.axes, study.table[:0], []))


def test_a_study_with_missing_cells_is_shown_as_far_as_it_goes(result: StudyResult, tmp_path: Path) -> None:
    study = completed(result)
    some = CompletedStudy(
        "A study", study.axes, study.table, study.cells[:2]
    )  # of one operator and noise, L 0.5 and 0.9
    comparison = MethodComparison().analyze(some)
    assert f"{L_PATH} at 0.9" in comparison.text
    sweep = LipschitzSweep()
    findings = through_files(
        sweep.analyze(CompletedStudy("A study", study.axes, study.table, study.cells[:1])), tmp_path
    )
    assert findings.tables["gains"].empty
    assert "Only one value" in findings.text
    assert list(sweep.draw(findings)) == ["halve_factor_0.5"]


def test_names_of_figures() -> None:
    assert file_names(["a(b=1.5)", "a[b 1.5]", "../x y", "é"]) == ["a_b_1.5", "a_b_1.5-2", ".._x_y", "figure"]


def test_methods_below_the_data_are_named() -> None:
    reconstructors = {"z": "observation", "good": "tv", "bad": "tv"}
    methods = {
        label: SimpleNamespace(reconstructor=SimpleNamespace(name=name)) for label, name in reconstructors.items()
    }
    choices: Any = SimpleNamespace(
        entries=[SimpleNamespace(cell=SimpleNamespace(spec=SimpleNamespace(methods=methods)))]
    )
    values = {"z": 25.5, "good": 26.0, "bad": 21.6}
    ranked = pd.DataFrame([{"operator": "F", "noise": "0.05", "method": k, "mean": v} for k, v in values.items()])

    def said(table: pd.DataFrame, higher_is_better: bool = True) -> str:
        metric = pd.Series({"metric": "psnr", "unit": "dB", "higher_is_better": higher_is_better})
        return _below_the_data(table, metric, choices, lambda row: f"under {row.operator}")

    assert said(ranked) == "Worse than the measurement itself: bad under F (21.60 against 25.50 dB)."
    assert said(ranked, False) == "Worse than the measurement itself: good under F (26.00 against 25.50 dB)."
    assert said(ranked[ranked["method"] != "bad"]) == ""
    assert said(ranked[ranked["method"] != "z"]) == ""
