"""Reading run and study folders through their objects: lazily, with helpful errors, and those of earlier versions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from seals import reseal

import invreg
import toy
from invreg.api import load, run
from invreg.errors import DataError, InvregError, StoreError
from invreg.plugins.registry import Registry
from invreg.reporting.report import write_report
from invreg.specs.plan import make_plan
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import RunFolder
from invreg.storage.run_images import LastImages
from invreg.storage.study_cell import StudyCell
from invreg.storage.study_folder import StudyFolder
from toy import run_study, study


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(toy.plugins())


@pytest.fixture(scope="module")
def finished(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> invreg.Result:
    result = run(toy.SPEC, tmp_path_factory.mktemp("finished"), "cpu", progress=False, registry=registry)
    assert isinstance(result, invreg.Result)
    return result


@pytest.fixture
def made(finished: invreg.Result, tmp_path: Path) -> RunFolder:
    """A finished run that a test may change."""
    return RunFolder(Path(shutil.copytree(finished.folder, tmp_path / "moved")))


@pytest.fixture(scope="module")
def cells(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> list[StudyCell]:
    ran = run_study(study(), tmp_path_factory.mktemp("study"), registry)
    loaded = load(ran.folder, "cpu", registry)
    assert isinstance(loaded, StudyResult)
    return loaded.cells


def as_reconstructed(z: torch.Tensor) -> torch.Tensor:
    """What the method `raw` makes of the measurements: it hands them on."""
    return z


def test_a_loaded_run_has_its_reconstructions_images_and_measurements(made: RunFolder, registry: Registry) -> None:
    result = load(made.path, "cpu", registry)
    assert isinstance(result, invreg.Result)
    raw, gain = (result.methods[label] for label in ("raw", "gain"))
    z = result.measurements()
    assert torch.equal(raw.reconstructions, as_reconstructed(z))
    with torch.no_grad():
        assert torch.equal(gain.reconstructions, gain.reconstructor(z))
    stack = result.images()
    assert list(stack.names) == made.identity.test
    mean_squares = (gain.reconstructions - stack.images).double().square().flatten(1).mean(1)
    assert result.metrics["psnr"][3:].to_numpy() == pytest.approx((-10 * torch.log10(mean_squares)).numpy())


def test_a_run_gives_what_loading_it_gives(finished: invreg.Result, registry: Registry) -> None:
    loaded = load(finished.folder, "cpu", registry)
    assert isinstance(loaded, invreg.Result)
    assert torch.equal(finished.measurements(), loaded.measurements())
    for label, method in finished.methods.items():
        assert torch.equal(method.reconstructions, loaded.methods[label].reconstructions)


def test_reconstructions_are_read_when_they_are_asked_for(made: RunFolder, registry: Registry) -> None:
    (file,) = made.method("raw").path.glob("reconstructions*")
    file.unlink()
    result = load(made.path, "cpu", registry)
    assert isinstance(result, invreg.Result)
    with pytest.raises(StoreError, match=r"methods/raw/reconstructions\.safetensors: missing"):
        _ = result.methods["raw"].reconstructions
    assert result.methods["gain"].reconstructions.shape == (3, 1, 14, 18)


def test_some_images_are_those_of_all(cells: list[StudyCell]) -> None:
    cell = cells[1]
    whole, z = cell.images(), cell.measurements()
    assert torch.equal(cell.reconstructions("raw"), as_reconstructed(z))
    assert list(cell.images(2).names) == list(whole.names[:2])
    assert torch.equal(cell.measurements(2), z[:2])
    assert list(cell.images([2, 0]).names) == [whole.names[2], whole.names[0]]
    assert torch.equal(cell.images([2, 0]).images, whole.images[[2, 0]])
    assert torch.equal(cell.measurements([2, 0]), z[[2, 0]])
    assert len(cell.images(99)) == len(whole) == len(cell.identity.test)


def test_cells_are_read_without_building_anything(cells: list[StudyCell], monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells[0]
    fresh = StudyCell(cell.values, cell.spec, cell.folder, None, cell.registry)
    monkeypatch.setattr(Registry, "build", lambda *arguments: 1 / 0)
    assert fresh.method("gain").training.parameters == 1
    assert fresh.method("gain").training.summary == {"steps": 1}
    assert fresh.method("gain").reconstructor["start"] == 1.0
    assert fresh.reconstructions("gain").shape == (3, 1, 14, 18)
    whole = fresh.metrics()
    own = whole[whole["method"] == "gain"].reset_index(drop=True)
    pd.testing.assert_frame_equal(fresh.metrics("gain"), own)
    assert fresh.findings("peek").scalars == {"count": 1}
    (peek,) = fresh.analyses("peek")
    assert (peek.key, peek.analyzer) == ("peek", {"name": "peek", "fail": False})
    assert [figure.name for figure in peek.figures] == ["gains"]
    assert fresh.analyses("quality") == []
    assert fresh.summary["method"].tolist() == ["raw", "gain"]
    assert fresh.method("raw").certificate is None
    with pytest.raises(ZeroDivisionError):
        _ = fresh.result


def test_cells_share_the_images_that_were_read(cells: list[StudyCell], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    splits = toy.ToyImages.splits

    def counted(self: toy.ToyImages) -> invreg.Splits:
        reads.append(self.shift)
        return splits(self)

    monkeypatch.setattr(toy.ToyImages, "splits", counted)
    last = LastImages()
    first, *others = (replace(cell, last=last).images() for cell in cells)
    assert all(other is first for other in others)
    assert len(reads) == 1


def test_other_images_than_those_of_the_run_are_refused(
    made: RunFolder, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = load(made.path, "cpu", registry)
    assert isinstance(result, invreg.Result)
    splits = toy.ToyImages.splits
    monkeypatch.setattr(toy.ToyImages, "splits", lambda self: splits(toy.ToyImages(shift=7)))
    with pytest.raises(DataError, match=r"moved: other images than those of the run(?s:.)*try: the files"):
        result.measurements(1)


def test_a_misspelt_name_suggests_the_near_one(made: RunFolder, cells: list[StudyCell]) -> None:
    message = r"no method 'gian' in this run(?s:.)*expected: one of raw, gain(?s:.)*did you mean 'gain'\?"
    for misspelt in (made.method, cells[0].method, cells[0].reconstructions):
        with pytest.raises(StoreError, match=message):
            misspelt("gian")
    with pytest.raises(StoreError, match=r"no analysis 'peak' in this run(?s:.)*did you mean 'peek'\?"):
        cells[0].findings("peak")


def test_a_misspelt_label_of_a_result_suggests_the_near_one(finished: invreg.Result) -> None:
    with pytest.raises(KeyError, match="did you mean 'gain'"):
        finished.methods["gian"]
    with pytest.raises(KeyError, match="did you mean 'peek'"):
        finished.findings["peak"]
    assert finished.methods.get("gian") is None


def test_missing_and_broken_files_are_named(made: RunFolder, registry: Registry) -> None:
    method = made.method("gain")
    method.write_json("training.json", {"minutes": 1})
    with pytest.raises(StoreError, match=r"training\.json: was changed(?s:.)*delete the folder"):
        _ = method.training
    reseal(made.path)
    method = made.method("gain")
    with pytest.raises(StoreError, match=r"methods/gain/training\.json: cannot be read(?s:.)*minutes"):
        _ = method.training
    method.remove("training.json", "log.csv")
    with pytest.raises(StoreError, match=r"methods/gain/training\.json: missing(?s:.)*run the same spec again"):
        load(made.path, "cpu", registry)
    with pytest.raises(StoreError, match=r"methods/gain/log\.csv: missing"):
        _ = method.log_table
    made.remove("run.json")
    assert not made.is_begun
    with pytest.raises(StoreError, match=r"run\.json: missing"):
        _ = made.identity
    with pytest.raises(StoreError, match=r"analyses/nothing/findings\.json: missing"):
        _ = made.analysis("nothing").findings


def test_what_a_run_left_is_listed(made: RunFolder) -> None:
    names = ["report.html", "metrics.csv", "summary.csv", "spec.yaml", "environment.json"]
    assert [path.name for path in made.files] == names
    made.remove("summary.csv", "nothing.txt")
    assert [path.name for path in made.files] == [name for name in names if name != "summary.csv"]
    assert made.environment["device"] == "cpu"


def test_a_failure_is_kept_with_its_traceback(made: RunFolder) -> None:
    analysis = made.analysis("peek")
    assert analysis.failure is None
    try:
        raise InvregError("too few images\n\nand more", where="data")
    except InvregError as error:
        message = analysis.write_failure(error)
    assert message == "data: too few images\n\nand more"
    assert analysis.failure == "data: too few images\n\nand more"
    content = json.loads(analysis.failure_file.read_text())
    assert content["message"] == analysis.failure
    assert content["traceback"][0] == "Traceback (most recent call last):"
    assert analysis.is_made
    analysis.clear_failure()
    assert analysis.failure is None
    assert not analysis.failure_file.exists()


def test_failures_of_earlier_versions_are_read_and_cleared(made: RunFolder, registry: Registry) -> None:
    analysis = made.analysis("peek")
    analysis.write_text("failure.txt", "it broke\n  try: more\n\nTraceback (most recent call last):\n  ...\n")
    assert analysis.failure == "it broke\n  try: more"
    assert analysis.failure_file.name == "failure.txt"
    plan = make_plan(made.spec, registry)
    assert "it broke\n  try: more</p>" in write_report(made, plan).read_text()
    assert "it broke" not in invreg.redraw(made.path, registry).read_text()
    assert analysis.failure is None
    assert not (analysis.path / "failure.txt").exists()


def test_an_analysis_with_other_parameters_is_made_anew(made: RunFolder, registry: Registry) -> None:
    analysis, seen = made.analysis("peek"), []

    class Other(toy.Peek):
        def analyze(self, run: invreg.CompletedRun) -> invreg.Findings:
            seen.append(self.fail)
            raise ValueError("not enough")

    subject = invreg.CompletedRun("", 0, torch.device("cpu"), *[None] * 3, {}, {}, pd.DataFrame(), {})  # type: ignore[arg-type]
    same, other = registry.build("analyzer", "peek"), registry.build("analyzer", {"name": "peek", "fail": True})
    kept = analysis.make(same, subject, registry)
    assert kept is not None
    assert kept.scalars == {"count": 1}
    other.__class__ = Other
    assert analysis.make(other, subject, registry) is None
    assert seen == [True]
    assert not analysis.is_made
    assert analysis.failure == "ValueError: not enough"
    assert analysis.redraw(same) is None
    assert analysis.failure == "ValueError: not enough"


def test_an_unfinished_study_says_how_far_it_is(cells: list[StudyCell], tmp_path: Path) -> None:
    folder = StudyFolder(Path(shutil.copytree(cells[0].folder.parents[1], tmp_path / "study")))
    assert [cell["folder"] for cell in folder.read_json("study.json")["cells"]] == [c.folder.name for c in cells]
    folder.remove("study.json")
    RunFolder(next(folder.cells_folder.iterdir())).remove("report.html")
    with pytest.raises(StoreError, match=r"not finished \(3 cells have a report\)"):
        _ = folder.record
