"""Study analyses of noise at test time other than in training, of small training sets, and of bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_helpers import SPEC, registry_with

import invreg_baselines.plugin as baselines_plugin
import invreg_datasets.plugin as datasets_plugin
import toy
from invreg.components.study_analyzer import CompletedStudy
from invreg.errors import SpecError
from invreg.storage.result import StudyResult
from invreg.testing import check_study_analyzer
from invreg_analyses.comparison.training_size import TrainingSize
from invreg_analyses.mismatch.by_training import NoiseMismatchByTraining
from invreg_analyses.stability.quality_against_bound import QualityAgainstBound

#: They run something small.
pytestmark = pytest.mark.slow

NOISES = {"noise.std": [0.05, 0.01]}
SIZES = {"data.train": [1, 3], "seed": [0, 1]}
PHANTOMS = {"name": "phantoms", "image_size": 16, "train": 1, "val": 1, "test": 9}


def study_of(folder: Path, matrix: dict[str, list[Any]], **changes: Any) -> tuple[StudyResult, CompletedStudy]:
    spec = {**SPEC, "matrix": matrix, "study_analyses": [], **changes}
    result = toy.run_study(spec, folder, registry_with(datasets=datasets_plugin, baselines=baselines_plugin))
    assert not result.failures
    return result, CompletedStudy("A study", matrix, result.table, result.cells)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> CompletedStudy:
    analyses = [{"name": "noise_mismatch", "levels": [0.05]}]
    return study_of(tmp_path_factory.mktemp("noisy"), NOISES, analyses=analyses)[1]


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> CompletedStudy:
    return study_of(tmp_path_factory.mktemp("sized"), SIZES, data=PHANTOMS)[1]


def test_each_network_is_tested_at_every_level(noisy: CompletedStudy) -> None:
    found = NoiseMismatchByTraining(levels=(0.1,)).analyze(noisy)
    means = found.tables["means"].set_index(["method", "metric", "trained", "level"])["mean"]
    assert len(means) == 3 * 2 * 2 * 3
    table = noisy.table.set_index(["method", "noise.std"])["psnr"]
    for method in ("raw", "net", "small"):
        for level in (0.01, 0.05):
            assert means[method, "psnr", level, level] == pytest.approx(table[method, level], abs=1e-9)
            # These methods do not learn: what they were trained at makes no difference.
            assert means[method, "psnr", 0.01, level] == pytest.approx(means[method, "psnr", 0.05, level], abs=1e-9)
    losses = found.tables["losses"]
    assert len(losses) == 3 * 2 * 2
    assert losses["difference"].abs().max() < 1e-9
    assert set(losses["level"]) == {0.01, 0.05}
    assert "Where the noise is higher than in training" in found.text


def test_what_the_cells_have_found_is_used(noisy: CompletedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("invreg_analyses.mismatch.by_training.metrics_at", measured)
    with pytest.raises(AssertionError, match="measured again"):
        NoiseMismatchByTraining(levels=(0.1,)).analyze(noisy)
    wide = [cell for cell in noisy.cells if cell.values["noise.std"] == 0.01]
    known = wide[0].analyses("noise_mismatch")[0].findings
    assert sorted(set(known.tables["values"]["level"])) == [0.01, 0.05]


def test_one_level_is_refused(sized: CompletedStudy) -> None:
    with pytest.raises(SpecError, match="varies the level of the noise"):
        NoiseMismatchByTraining().analyze(sized)


def test_a_curve_over_training_images_has_the_mean_over_seeds(sized: CompletedStudy) -> None:
    found = TrainingSize().analyze(sized)
    means = found.tables["means"]
    means = means[means["metric"] == "psnr"]
    assert sorted(set(means["size"])) == [1, 3]
    row = means[(means["method"] == "net") & (means["size"] == 3)].iloc[0]
    seeds = sized.table[(sized.table["method"] == "net") & (sized.table["data.train"] == 3)]["psnr"]
    assert row["mean"] == pytest.approx(seeds.mean())
    assert (row["lowest"], row["highest"], row["seeds"]) == (
        pytest.approx(seeds.min()),
        pytest.approx(seeds.max()),
        2,
    )
    steps = found.tables["steps"]
    assert len(steps) == 3 * 2
    assert (steps["difference"].abs() < 1e-9).all()  # nothing is learned
    assert (steps["images"] == 9).all()
    assert "Means over 2 seeds." in found.text


def test_studies_of_other_things_are_refused(noisy: CompletedStudy, sized: CompletedStudy) -> None:
    with pytest.raises(SpecError, match="changes the number of training images"):
        TrainingSize().analyze(noisy)
    with pytest.raises(SpecError, match="changes the number of training images"):
        TrainingSize(path="data.tain").analyze(sized)
    with pytest.raises(SpecError, match="several numbers of training images"):
        TrainingSize(at={"data.train": 3}, path="seed").analyze(sized)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> CompletedStudy:
    """A method whose bound is known, ||A*|| / ||A||² = 2, and one of which nothing is proven."""
    matrix = {"seed": [0, 1], "methods.net.reconstructor.lipschitz": [0.5, 0.9]}
    stability = {"name": "stability", "images": 2, "iterations": 2, "draws": 1}
    methods = {"adjoint": "adjoint", "net": {"reconstructor": "scale", "trainer": "nothing"}}
    return study_of(tmp_path_factory.mktemp("attacked"), matrix, methods=methods, analyses=[stability])[1]


def test_quality_is_shown_over_bounds_and_attacks(attacked: CompletedStudy) -> None:
    found = QualityAgainstBound().analyze(attacked)
    settings = found.tables["settings"].set_index(["method", "setting"])
    assert set(settings.index) == {("adjoint", ""), ("net", "lipschitz 0.5"), ("net", "lipschitz 0.9")}
    assert (settings["seeds"] == 2).all()
    adjoint = settings.loc["adjoint", ""]
    assert 2 <= adjoint["proven"] < 2.05
    assert adjoint["found"] == pytest.approx(2, rel=1e-3)
    assert adjoint["ratio"] == adjoint["proven"] / adjoint["found"]
    table = attacked.table
    for (method, _), row in settings.iterrows():
        own = table[table["method"] == method]
        if method == "net":
            own = own[own["methods.net.reconstructor.lipschitz"] == float(row.name[1].split()[1])]
        assert row["psnr"] == pytest.approx(own.groupby("seed")["psnr"].first().mean())
    # The toy multiplies by one and its Lipschitz parameter, and claims nothing.
    assert settings.loc["net", "lipschitz 0.9"]["found"] == pytest.approx(1.9, rel=1e-3)
    assert settings.loc["net"]["proven"].isna().all()
    assert found.scalars["violations"] == 0
    assert "no bound, strongest attack 1.9" in found.text
    assert "times the strongest attacks." in found.text


def test_a_study_without_attacks_is_refused(noisy: CompletedStudy) -> None:
    with pytest.raises(SpecError, match="no cell has findings of the analysis `stability`"):
        QualityAgainstBound().analyze(noisy)


def test_they_are_study_analyses_as_they_should_be(
    noisy: CompletedStudy, sized: CompletedStudy, attacked: CompletedStudy
) -> None:
    check_study_analyzer(NoiseMismatchByTraining(resamples=1000), noisy)
    check_study_analyzer(TrainingSize(resamples=1000), sized)
    check_study_analyzer(QualityAgainstBound(), attacked)
