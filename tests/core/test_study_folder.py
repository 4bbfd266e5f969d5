"""Finished studies: loading them from their folder, and drawing their figures again."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from seals import reseal

import invreg
import toy
from invreg import cli
from invreg.api import certify, load, redraw, run
from invreg.errors import InvregError, SpecError, StoreError
from invreg.plugins.registry import Registry
from invreg.reporting.study_tables import in_short, short_names
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import RunFolder
from toy import BestByNoise, run_study, study

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    toy.CALLS.clear()
    yield
    toy.CALLS.clear()


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(toy.plugins())


@pytest.fixture(scope="module")
def finished(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return run_study(study(), tmp_path_factory.mktemp("finished"), registry)


@pytest.fixture
def made(finished: StudyResult, tmp_path: Path) -> Path:
    """The folder of a finished study that a test may change; it has been moved since it was made."""
    return Path(shutil.copytree(finished.folder, tmp_path / "moved"))


def load_study(folder: Path, registry: Registry) -> StudyResult:
    result = load(folder, "cpu", registry)
    assert isinstance(result, StudyResult)
    return result


def test_a_loaded_study_is_the_one_that_was_run(finished: StudyResult, made: Path, registry: Registry) -> None:
    toy.CALLS.clear()
    loaded = load_study(made, registry)
    assert toy.CALLS == []
    assert loaded.folder == made
    pd.testing.assert_frame_equal(loaded.table, finished.table)
    assert [cell.values for cell in loaded.cells] == [cell.values for cell in finished.cells]
    assert [cell.spec for cell in loaded.cells] == [cell.spec for cell in finished.cells]
    assert all(cell.folder.is_relative_to(made) for cell in loaded.cells)
    assert loaded.failures == {}
    assert loaded.warnings == []
    found, before = loaded.findings["best_by_noise"], finished.findings["best_by_noise"]
    assert found.scalars == before.scalars
    pd.testing.assert_frame_equal(found.tables["best"], before.tables["best"])
    net = loaded.cells[2].result.methods["gain"].reconstructor
    z = torch.rand(1, 1, 14, 18)
    assert torch.equal(net(z), finished.cells[2].result.methods["gain"].reconstructor(z))


def test_an_analysis_sees_a_loaded_study_as_it_saw_the_run(made: Path, registry: Registry) -> None:
    loaded = load_study(made, registry)
    axes = {path: list(dict.fromkeys(loaded.table[path])) for path in ("noise.std", "methods.gain.trainer.samples")}
    study_seen = invreg.CompletedStudy("again", axes, loaded.table, loaded.cells)
    again = BestByNoise().analyze(study_seen)
    assert again.scalars == loaded.findings["best_by_noise"].scalars


def test_logs_of_cells_are_read_without_reconstructors(
    made: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = load_study(made, registry).cells[0]
    monkeypatch.setattr(toy.Gain, "setup", lambda *arguments: 1 / 0)
    assert cell.method("gain").log.rows == [{"epoch": 1, "loss": 0.0}]
    assert cell.method("gain").log.summary == {"steps": 1}
    assert cell.method("raw").log.rows == []
    with pytest.raises(StoreError, match=r"no method 'gian' in this run(?s:.)*did you mean 'gain'\?"):
        cell.method("gian")


def test_redrawing_computes_nothing_and_draws_all(made: Path, registry: Registry) -> None:
    before = (made / "report.html").read_text()
    drawn = [made / "analyses/best_by_noise/figures/best.svg", *made.glob("cells/*/analyses/peek/figures/gains.svg")]
    reports = [made / "report.html", *made.glob("cells/*/report.html")]
    assert len(drawn) == len(reports) == 5
    for path in (*drawn, *reports):
        path.unlink()
    toy.CALLS.clear()
    assert redraw(made, registry) == made / "report.html"
    assert toy.CALLS == ["draw"] * 4
    assert all(path.is_file() for path in (*drawn, *reports))

    def without_command(text: str) -> str:
        return re.sub(r"--output \S+<", "<", text)

    assert without_command((made / "report.html").read_text()) == without_command(before)


def test_a_cell_is_a_run_folder(made: Path, registry: Registry) -> None:
    cell = load_study(made, registry).cells[1]
    result = load(cell.folder, "cpu", registry)
    assert isinstance(result, invreg.Result)
    assert redraw(cell.folder, registry) == cell.folder / "report.html"


def test_failures_are_loaded_and_cost_nothing_else(registry: Registry, tmp_path: Path) -> None:
    matrix = {"methods.gain.trainer.fail": ["", "the loss is NaN\nat step 3"], "noise.std": [0.01, 0.1]}
    analyses = [{"name": "best_by_noise", "fail": True}, "best_by_noise"]
    ran = run_study(study(matrix=matrix, study_analyses=analyses), tmp_path, registry)
    loaded = load_study(ran.folder, registry)
    assert loaded.failures == ran.failures
    assert len(loaded.failures) == 2
    assert list(loaded.findings) == ["best_by_noise-2"]
    pd.testing.assert_frame_equal(loaded.table, ran.table)
    ran.report.unlink()
    report = redraw(ran.folder, registry).read_text()
    assert "the loss is NaN" in report
    assert "nothing varies here" in report


def test_a_study_of_failures_only_is_loaded(registry: Registry, tmp_path: Path) -> None:
    matrix = {"noise.std": [0.01, 0.1]}
    methods = {"gain": {"reconstructor": "gain", "trainer": {"name": "least_squares", "fail": "no"}}}
    ran = run_study(study(matrix=matrix, methods=methods, analyses=[]), tmp_path, registry)
    loaded = load_study(ran.folder, registry)
    assert len(loaded.failures) == 2
    assert loaded.table.empty
    redraw(ran.folder, registry)


def test_figures_that_cannot_be_drawn_are_named_and_cost_nothing_else(
    made: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made / "report.html").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(toy.Peek, "draw", lambda *arguments: 1 / 0)
        with pytest.raises(InvregError, match="not everything could be drawn again") as caught:
            redraw(made, registry)
    assert str(caught.value).count("peek: ZeroDivisionError: division by zero") == 4
    assert (made / "report.html").is_file()
    cell = load_study(made, registry).cells[0].folder
    assert "division by zero" in (cell / "report.html").read_text()
    redraw(made, registry)
    assert "division by zero" not in (cell / "report.html").read_text()


def test_findings_of_an_earlier_time_do_not_pass_for_those_of_now(
    finished: StudyResult, registry: Registry, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / finished.folder.name))
    again = run_study(study(study_analyses=[{"name": "best_by_noise", "fail": True}]), tmp_path, registry)
    assert again.folder == folder
    assert again.findings == {}
    assert load_study(folder, registry).findings == {}
    assert "nothing varies here" in redraw(folder, registry).read_text()


def test_an_unfinished_study_is_refused(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = toy.LeastSquares.fit

    def interrupted(self: toy.LeastSquares, *arguments: Any) -> Any:
        if len([call for call in toy.CALLS if call.startswith("fit")]) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments)

    monkeypatch.setattr(toy.LeastSquares, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path, registry)
    (folder,) = tmp_path.iterdir()
    for open_ in (lambda: load(folder, "cpu", registry), lambda: redraw(folder, registry)):
        with pytest.raises(StoreError, match=r"not finished \(2 cells have a report\)[\s\S]*run the same spec again"):
            open_()


def test_what_is_neither_is_refused(made: Path, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, message in [
        ("nowhere", "no such folder"),
        ("file", "is a file, no folder"),
        ("empty", "holds no run and no study"),
        ("", f"try: one of those in it: {made}"),
    ]:
        for open_ in (lambda path: load(path, "cpu", registry), lambda path: redraw(path, registry)):
            with pytest.raises(StoreError, match=re.escape(message)):
                open_(tmp_path / name)


def test_what_needs_a_single_run_says_so(made: Path, registry: Registry) -> None:
    with pytest.raises(StoreError, match=r"holds a study, no run[\s\S]*a cell below .*cells"):
        certify(made, registry)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is no record of a study"),
        ('{"title": "A"}', "axes"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_broken_record_is_one_message(made: Path, registry: Registry, content: str | bytes, message: str) -> None:
    (made / "study.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError, match=r"study\.json: was changed"):
        load(made, "cpu", registry)
    reseal(made)
    with pytest.raises(StoreError, match=message):
        load(made, "cpu", registry)


def test_missing_pieces_are_named(made: Path, registry: Registry) -> None:
    cell = load_study(made, registry).cells[0].folder
    (cell / "summary.csv").unlink()
    with pytest.raises(StoreError, match=r"summary\.csv: missing"):
        load(made, "cpu", registry)
    shutil.rmtree(cell)
    with pytest.raises(StoreError, match=r"run\.sha256: missing"):
        load(made, "cpu", registry)
    reseal(made)
    with pytest.raises(StoreError, match="no such folder"):
        load(made, "cpu", registry)


def test_a_missing_plugin_is_named(made: Path) -> None:
    components = toy.invreg_components()
    rest = {name: component for name, component in components.items() if name != "best_by_noise"}
    bare = Registry({"toy": SimpleNamespace(invreg_components=invreg.hookimpl(lambda: rest))})
    with pytest.raises(SpecError, match="no study_analyzer 'best_by_noise'"):
        redraw(made, bare)


def test_components_in_a_mapping_are_saved_as_their_specs(registry: Registry, tmp_path: Path) -> None:
    ran = run_study(study(operator=toy.Halve(0.25), data=toy.ToyImages(shift=2)), tmp_path, registry)
    again = run(ran.folder / "study.yaml", tmp_path, "cpu", progress=False, registry=registry)
    assert again.folder == ran.folder
    matrix = {"operator": [toy.Halve(0.25), toy.Halve(0.5)]}
    table = run_study(study(matrix=matrix, study_analyses=[]), tmp_path, registry).table
    assert set(table["operator"]) == {"halve(factor=0.25)", "halve(factor=0.5)"}


def test_the_command_line_draws_a_study_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {
        "title": "Small",
        "data": {"name": "photos", "image_size": 64, "train_size": 64},
        "operator": "gaussian_blur",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"observation": "observation"},
        "metrics": ["psnr"],
        "matrix": {"noise.std": [0.01, 0.1]},
    }
    (tmp_path / "small.json").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    status, out, err = call("run", "small.json", "--quiet")
    assert status == 0, err
    folder = Path(out.splitlines()[-1])
    (folder / "report.html").unlink()
    assert call("report", str(folder)) == (0, f"{folder / 'report.html'}\n", "")
    assert (folder / "report.html").is_file()
    status, _, err = call("report", str(folder.parent))
    assert status == 2
    assert f"one of those in it: {folder}" in err


def test_images_and_methods_are_checked_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    measure = invreg.Problem.measure

    def counted(self: invreg.Problem, *arguments: Any, **named: Any) -> Any:
        measured.append(1)
        return measure(self, *arguments, **named)

    monkeypatch.setattr(invreg.Problem, "measure", counted)
    matrix = {"noise.std": [0.01, 0.1, 0.2]}
    methods = {"raw": "raw"}
    run_study(study(matrix=matrix, methods=methods, analyses=[], study_analyses=[]), tmp_path / "a", registry)
    assert len(measured) == 2 * 3  # validation and test images, for each cell
    measured.clear()
    monkeypatch.setattr("invreg.studies.study._KEPT", 0)
    run_study(study(matrix=matrix, methods=methods, analyses=[], study_analyses=[]), tmp_path / "b", registry)
    assert len(measured) == 2 * 2 * 3  # there was no room for keeping them


def test_a_setting_that_is_kept_changes_no_number(
    finished: StudyResult, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invreg.studies.study._KEPT", 0)
    again = run_study(study(), tmp_path, registry)
    seconds = ["training_seconds", "reconstruction_seconds"]
    pd.testing.assert_frame_equal(again.table.drop(columns=seconds), finished.table.drop(columns=seconds))


def test_every_cell_folder_says_what_it_was_to_be(registry: Registry, tmp_path: Path) -> None:
    """Also that of a cell whose images could not even be read when its turn came."""
    reads = []
    splits = toy.ToyImages.splits

    def failing(self: toy.ToyImages) -> Any:
        reads.append(self.shift)
        if len(reads) > 3:  # the check has read them
            raise invreg.errors.DataError("the disk is gone", where="data")
        return splits(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("invreg.studies.study._KEPT", 0)
        patch.setattr(toy.ToyImages, "splits", failing)
        ran = run_study(study(matrix={"data.shift": [1, 2, 3]}, study_analyses=[]), tmp_path, registry)
    assert len(ran.failures) == 2  # the images of the third were still there
    assert {cell.spec.data.parameters["shift"] for cell in load_study(ran.folder, registry).cells} == {1, 2, 3}
    assert all(RunFolder(cell.folder).has("spec.yaml") for cell in ran.cells)


def test_a_warning_that_cells_share_is_said_once(made: Path, registry: Registry) -> None:
    cells = load_study(made, registry).cells
    texts = [["tv: <slow>", "tv: <slow>", "net: odd"], ["tv: <slow>"], [], []]
    for cell, warnings in zip(cells, texts, strict=True):
        folder = cell.method("gain")
        folder.write_evaluation(folder.reconstructions, folder.metrics, warnings)
    reseal(made)
    page = redraw(made, registry).read_text()
    assert page.count("gain: tv: &lt;slow&gt;") == 1
    assert "2 different warnings" in page
    names = short_names(list(cells[0].values))
    assert "; ".join(in_short(cell.values, names) for cell in cells[:2]) in page
