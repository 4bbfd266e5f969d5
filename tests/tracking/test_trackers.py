"""Trackers are asked for by name, refused before anything is computed, and never stop a run."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

import invreg
from invreg import Registry, cli, hookimpl
from invreg.plugins.describe import describe_plugin
from invreg.plugins.tracking import asked_for, note_trackers, offer_of, offers
from invreg_metrics import plugin as metrics

SPEC = {
    "title": "Tracked",
    "data": {"name": "photos", "image_size": 48, "train_size": 48},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {"data": "observation", "back": "adjoint"},
    "analyses": [{"name": "quality", "resamples": 1000}],
}


class Notes:
    """Remembers what it hears, and may fail in one place."""

    heard: ClassVar[list[str]] = []
    fails_in: ClassVar[str] = ""

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if what == self.fails_in:
            raise OSError("disk full")

    @hookimpl
    def invreg_run_started(self, folder: Path) -> None:
        self._hear("started")

    @hookimpl
    def invreg_method_trained(self, label: str) -> None:
        self._hear(label)

    @hookimpl
    def invreg_findings_made(self, name: str) -> None:
        self._hear(name)

    @hookimpl
    def invreg_run_finished(self) -> None:
        self._hear("finished")

    def close(self) -> None:
        self._hear("closed")


class Missing:
    def __init__(self) -> None:
        raise invreg.InvregError("cannot be imported", where="missing", hint="pip install missing")


def plugin(**trackers: type) -> Any:
    @hookimpl
    def invreg_trackers() -> Mapping[str, type]:
        return trackers

    return SimpleNamespace(invreg_trackers=invreg_trackers)


def built_in() -> dict[str, object]:
    from invreg_analyses import plugin as analyses
    from invreg_baselines import plugin as baselines
    from invreg_datasets import plugin as datasets
    from invreg_operators import plugin as operators

    plugins = {"metrics": metrics, "datasets": datasets, "operators": operators, "baselines": baselines}
    return {**plugins, "analyses": analyses, "notes": plugin(notes=Notes, missing=Missing, nonsense=dict)}


@pytest.fixture
def registry() -> Registry:
    Notes.heard.clear()
    Notes.fails_in = ""
    return Registry(built_in())


def run(folder: Path, registry: Registry, **options: Any) -> Any:
    return invreg.run(SPEC, folder, "cpu", progress=False, registry=registry, **options)


WHOLE = ["started", "data", "back", "quality", "finished", "closed"]


@pytest.mark.slow
def test_nothing_is_tracked_unless_asked(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVREG_TRACK", raising=False)
    assert not [plugin.problem for plugin in registry.plugins if plugin.problem]
    run(tmp_path, registry)
    assert Notes.heard == []


@pytest.mark.slow
def test_a_tracker_hears_the_whole_run(tmp_path: Path, registry: Registry) -> None:
    run(tmp_path, registry, track=["notes"])
    assert Notes.heard == WHOLE


@pytest.mark.slow
def test_the_environment_asks_as_well(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVREG_TRACK", " notes, ,notes")
    assert asked_for(None) == ["notes"]
    assert asked_for([]) == []
    assert asked_for("a,b") == ["a", "b"]
    run(tmp_path, registry, track=())
    assert Notes.heard == []
    run(tmp_path, registry)
    assert Notes.heard == WHOLE


@pytest.mark.slow
@pytest.mark.parametrize("place", ["started", "back", "finished", "closed"])
def test_one_that_fails_is_named_once_and_the_run_goes_on(
    place: str, tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    Notes.fails_in = place
    with caplog.at_level(logging.WARNING, logger="invreg"):
        result = run(tmp_path, registry, track=["notes"])
    assert result.report.is_file()
    named = [record.getMessage() for record in caplog.records if "notes" in record.getMessage()]
    assert len(named) == 1
    assert "disk full" in named[0]
    assert "trackers" not in named[0]
    assert Notes.heard == [*WHOLE[: WHOLE.index(place) + 1], *([] if place == "closed" else ["closed"])]


def test_it_is_closed_when_the_run_fails(tmp_path: Path, registry: Registry) -> None:
    class Breaks(invreg.Analyzer):
        def analyze(self, run: Any) -> Any:
            raise ValueError("no")

        def draw(self, findings: Any) -> Any:
            return {}

    @hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {"breaks": Breaks}

    broken = Registry({**built_in(), "breaks": SimpleNamespace(invreg_components=invreg_components)})
    with pytest.raises(invreg.InvregError, match="no"):
        invreg.run({**SPEC, "analyses": ["breaks"]}, tmp_path, "cpu", progress=False, registry=broken, track=["notes"])
    assert Notes.heard[-1] == "closed"
    assert "finished" not in Notes.heard


@pytest.mark.slow
def test_each_cell_of_a_study_has_its_own(tmp_path: Path, registry: Registry) -> None:
    study = {**SPEC, "matrix": {"noise.std": [0.01, 0.02]}}
    invreg.run(study, tmp_path, "cpu", progress=False, registry=registry, track=["notes"])
    assert Notes.heard == ["closed", *WHOLE, *WHOLE]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("note", "did you mean 'notes'"),
        ("missing", "pip install missing"),
        ("nonsense", "an object with close"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_computed(
    name: str, message: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(invreg.InvregError, match=message):
        run(tmp_path, registry, track=[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_plugin_that_offers_nonsense_takes_nothing_away(
    tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    @hookimpl
    def invreg_trackers() -> Any:
        return ["notes"]

    with_odd = Registry({"odd": SimpleNamespace(invreg_trackers=invreg_trackers), **built_in()})
    run(tmp_path, with_odd, track=["notes"])
    assert "finished" in Notes.heard
    assert any("odd" in record.getMessage() for record in caplog.records)


def test_the_built_in_ones_are_offered() -> None:
    found = {offer.name: offer.plugin.name for offer in offers(Registry.installed())}
    assert found["mlflow"] == found["tensorboard"] == "tracking"


def test_they_are_listed_with_their_plugins_and_the_first_keeps_its_name() -> None:
    with_two = Registry({"notes": plugin(notes=Notes), "late": plugin(notes=Missing, other=Notes)})
    note_trackers(with_two)
    note_trackers(with_two)
    first, late = with_two.plugins
    assert (first.trackers, first.conflicts) == (["notes"], [])
    assert late.trackers == ["notes", "other"]
    assert late.conflicts == ["the tracker 'notes' is taken by notes"]
    assert offer_of(with_two, "notes").cls is Notes
    assert "  tracker: notes, other" in list(describe_plugin(late))


def test_what_is_no_class_is_no_tracker(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry({"odd": plugin(odd="a text"), "notes": plugin(notes=Notes)})  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, logger="invreg"):
        assert [offer.name for offer in offers(registry)] == ["notes"]
    assert "the tracker 'odd' is a str" in caplog.text


@pytest.mark.slow
def test_the_command_line_lists_and_describes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    assert "  tracker: mlflow, tensorboard" in call("plugins")[1]
    listed = json.loads(call("plugins", "--json")[1])
    assert [p["trackers"] for p in listed if p["name"] == "tracking"] == [["mlflow", "tensorboard"]]
    assert "mlflow   " in call("describe", "tracker")[1]
    assert "--track mlflow" in call("describe", "tracker", "mlflow")[1]
    assert json.loads(call("describe", "tracker", "mlflow", "--json")[1])["plugin"] == "tracking"
    status, _, message = call("describe", "tracker", "mlfow")
    assert status == 2
    assert "did you mean 'mlflow'" in message


@pytest.mark.slow
def test_the_example_of_the_page_is_a_tracker(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    code = page.split('```python title="lines.py"\n')[1].split("```")[0]
    module = ModuleType("lines")
    exec(compile(code, "lines.py", "exec"), vars(module))
    search = {"reconstructor": {"name": "gain"}, "trainer": {"name": "rows"}}

    class Gain(invreg.Reconstructor):
        def forward(self, z: Any) -> Any:
            return z

    class Rows(invreg.Trainer):
        def fit(self, method: Any, context: Any) -> Any:
            context.events.emit("invreg_epoch_finished", label=method.label, epoch=0, values={"loss": 0.5})
            return invreg.TrainedMethod(method.build(), invreg.TrainingLog())

    @hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {"gain": Gain, "rows": Rows}

    plugins = {**built_in(), "own": SimpleNamespace(invreg_components=invreg_components), "lines": module}
    spec = {**SPEC, "methods": {"gain": search}}
    result = invreg.run(spec, tmp_path, "cpu", progress=False, registry=Registry(plugins), track=["lines"])
    assert (result.folder / "lines.txt").read_text(encoding="utf-8") == "gain 0 {'loss': 0.5}\n"
