"""Trials that are stopped early: which, where, and the same ones whenever a search is interrupted."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from processes import Command
from search_worker import search
from training_helpers import Gain, Listener, RestlessConvs, ThreeConvs, make_context, make_method, same_weights

from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.errors import TrainingError
from invreg_training.checkpoint import write_hashed_json
from invreg_training.gradient.trainer import ReconstructionTraining
from invreg_training.search import trials as trials_module
from invreg_training.search.pruning import MedianRule, TrialStopRule
from invreg_training.search.search import ParameterSearch, SearchSession
from invreg_training.search.trials import Trial

WORKER = Path(__file__).with_name("search_worker.py")


class Scripted(Trainer):
    """Reports, at the steps 1, 2, ..., the weight of the reconstructor times a script."""

    script = (1.0, 2.0, 3.0)
    obeys = True

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        reconstructor = method.build()
        for step, factor in enumerate(self.script, 1):
            verdict = context.stop_rule(step, factor * reconstructor.weight)
            if verdict and self.obeys:
                return TrainedMethod(reconstructor, TrainingLog())
        return TrainedMethod(reconstructor, TrainingLog())


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def whole_trial(number: int, **values: float) -> Trial:
    return Trial(number, {}, 0.0, intermediate={int(step[1:]): value for step, value in values.items()})


@pytest.mark.parametrize("higher", [True, False])
def test_the_rule_is_the_median_at_the_same_step(higher: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        table = torch.rand(7, 4, generator=generator).tolist()
        rule = MedianRule(
            [Trial(i, {}, 1.0, intermediate=dict(enumerate(row))) for i, row in enumerate(table)], 5, higher
        )
        mine = torch.rand(4, generator=generator).tolist()
        for step in range(4):
            middle, seen = median(row[step] for row in table), mine[: step + 1]
            expected = max(seen) < middle if higher else min(seen) > middle
            assert rule.stops(dict(enumerate(seen))) is expected


def test_nothing_is_stopped_without_something_to_compare_with() -> None:
    assert not MedianRule([], 1, True).stops({1: 0.0})
    four = [whole_trial(i, s1=9.0) for i in range(4)]
    assert not MedianRule(four, 5, True).stops({1: 0.0})
    assert MedianRule(four, 4, True).stops({1: 0.0})
    assert not MedianRule(four, 4, True).stops({1: 9.0})  # equal is not worse
    assert not MedianRule(four, 4, True).stops({2: 0.0})  # no other trial was there
    assert not MedianRule(four, 4, True).stops({1: 9.5, 2: 0.0})
    assert MedianRule([whole_trial(0, s0=float("inf"))], 1, True).stops({0: 1.0})


def test_a_stop_rule_gives_the_same_answers_again() -> None:
    saved: list[Trial] = []
    rule = MedianRule([whole_trial(0, s2=5.0, s4=6.0, s6=7.0)], 1, True)
    stop_rule = TrialStopRule(Trial(3, {}), rule, saved.append)
    assert [stop_rule(2, 5.5), stop_rule(4, 6.5)] == [None, None]
    assert stop_rule(6, 6.0) is not None
    assert [trial.stopped for trial in saved] == [None, None, 6]
    assert stop_rule(8, 100.0) == saved[-1].cause  # whoever goes on all the same
    assert len(saved) == 3
    again = TrialStopRule(saved[1], rule, saved.append)  # the checkpoint was older than what was heard
    assert again(2, 5.5) is None
    assert list(again.trial.intermediate) == [2]
    assert again(4, 6.5) is None
    assert again(6, 6.0) == saved[2].cause
    assert replace(again.trial, seconds=0.0) == replace(saved[2], seconds=0.0)


def test_stopped_trials_are_listed_and_never_chosen(tmp_path: Path) -> None:
    listener = Listener()
    context = make_context(tmp_path, listener=listener)
    tried = ParameterSearch(trials=30, trainer=Scripted(), startup_trials=3)
    log = tried.fit(make_method(Gain, context, "gain"), context).log
    finished: list[dict[str, Any]] = []
    for row in log.rows:
        worse = len(finished) >= 3 and row["weight"] < median(other["weight"] for other in finished)
        assert row["state"] == ("stopped at step 1" if worse else "complete")
        assert (row["val_psnr"] is None) is worse
        assert ("median" in row["cause"]) is worse
        if not worse:
            finished.append(row)
    assert log.summary["stopped"] == 30 - len(finished) > 5
    assert log.summary["failed"] == 0
    assert log.rows[log.summary["best_trial"]]["state"] == "complete"
    assert list(log.rows[0]) == ["trial", "weight", "val_psnr", "seconds", "state", "cause"]
    assert [entry["values"] for entry in listener.epochs] == log.rows
    assert {"stopped at step 1"} == {
        e["values"]["psnr"] for e in listener.progress if e["values"]["psnr"].__class__ is str
    }


def test_as_many_startup_trials_as_trials_stop_none(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    method = make_method(Gain, context)
    log = ParameterSearch(trials=12, trainer=Scripted(), startup_trials=12).fit(method, context).log
    assert {row["state"] for row in log.rows} == {"complete"}
    assert log.summary["stopped"] == 0


def test_what_has_no_values_on_the_way_is_never_stopped(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    method = make_method(Gain, context)
    log = ParameterSearch(trials=12, startup_trials=1).fit(method, context).log
    assert {row["state"] for row in log.rows} == {"complete"}


def test_a_trainer_that_does_not_stop_is_stopped_all_the_same(tmp_path: Path) -> None:
    class Deaf(Scripted):
        obeys = False

    class Breaking(Scripted):
        def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
            super().fit(method, context)
            if method.parameters.get("weight", 3.0) < 3:
                raise RuntimeError("broken on the way out")
            return super().fit(method, context)

    found: list[list[str]] = []
    for name, trainer in {"obeys": Scripted(), "deaf": Deaf(), "breaking": Breaking()}.items():
        context = make_context(tmp_path / name)
        search = ParameterSearch(trials=12, trainer=trainer, startup_trials=1)
        found.append([row["state"] for row in search.fit(make_method(Gain, context), context).log.rows])
    assert found[0] == found[1] == found[2]
    assert "stopped at step 1" in found[0]


def test_the_direction_is_that_of_the_metric(tmp_path: Path) -> None:
    context = make_context(tmp_path, metric="mse")
    log = ParameterSearch(trials=12, trainer=Scripted(), startup_trials=1).fit(make_method(Gain, context), context).log
    stopped = [row["weight"] for row in log.rows if row["state"] != "complete"]
    assert stopped
    assert min(stopped) > min(row["weight"] for row in log.rows if row["state"] == "complete")
    finished: list[float] = []
    for row in log.rows:
        assert (row["state"] != "complete") is (len(finished) >= 1 and row["weight"] > median(finished))
        finished += [row["weight"]] if row["state"] == "complete" else []


def test_a_gradient_training_ends_where_it_is_stopped(tmp_path: Path) -> None:
    trainer = ReconstructionTraining(steps=12, batch_size=2, validations=4)
    asked: list[tuple[int, float]] = []

    def stop_rule(step: int, value: float) -> str | None:
        asked.append((step, value))
        return "enough" if step == 6 else None

    plain = make_context(tmp_path / "plain")
    whole = trainer.fit(make_method(ThreeConvs, plain), plain)
    context = replace(make_context(tmp_path / "stopped"), stop_rule=stop_rule)
    trained = trainer.fit(make_method(ThreeConvs, context), context)
    assert [step for step, _ in asked] == [3, 6]
    assert [value for _, value in asked] == [row["val_psnr"] for row in whole.log.rows[:2]]
    assert trained.log.summary["ended"] == "enough"
    assert trained.log.summary["steps"] == 6
    asked.clear()
    again = trainer.fit(make_method(ThreeConvs, context), context)  # the end is in the checkpoint
    assert not asked
    assert same_weights(trained.reconstructor, again.reconstructor)
    whole_way = replace(make_context(tmp_path / "silent"), stop_rule=lambda step, value: asked.append((step, value)))
    trainer.fit(make_method(ThreeConvs, whole_way), whole_way)
    assert [step for step, _ in asked] == [3, 6, 9]  # at the last there is nothing to decide


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> TrainedMethod:
    trained = search(tmp_path_factory.mktemp("whole"))
    states = [row["state"] for row in trained.log.rows]
    assert states.count("complete") >= 3
    assert sum(state.startswith("stopped") for state in states) >= 2
    return trained


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_search_interrupted_at_every_write_ends_the_same(
    tmp_path: Path, uninterrupted: TrainedMethod, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """No session lasts longer than until its second write of the trials."""
    writes = sessions = 0

    def interrupting(path: Path, content: Mapping[str, Any]) -> None:
        nonlocal writes
        writes += 1
        if writes == 2 and moment == "before":
            raise KeyboardInterrupt
        write_hashed_json(path, content)
        if writes == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trials_module, "write_hashed_json", interrupting)
    trained = None
    while trained is None:
        writes, sessions = 0, sessions + 1
        assert sessions < 60
        try:
            trained = search(tmp_path)
        except KeyboardInterrupt:
            continue
    assert sessions > 10
    assert numbers(trained.log.rows) == numbers(uninterrupted.log.rows)
    assert same_weights(trained.reconstructor, uninterrupted.reconstructor)


@pytest.mark.slow
def test_a_search_killed_in_the_middle_of_trials_goes_on(tmp_path: Path, uninterrupted: TrainedMethod) -> None:
    folder, never = tmp_path / "search", tmp_path / "never"
    for number, heard in ((1, 1), (3, 2)):
        process = Command(WORKER, folder, never, "0.03")
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            # Whole at any time, though it is replaced after each validation.
            path = folder / "trials.json"
            running = json.loads(path.read_text())["running"] if path.exists() else None
            if running and running["number"] == number and len(running["intermediate"]) >= heard:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.finish().returncode == -signal.SIGKILL
    content = json.loads((folder / "trials.json").read_text())
    assert len(content["trials"]) == 3
    assert content["running"]["number"] == 3
    assert not never.exists()
    resumed = search(folder)
    assert numbers(resumed.log.rows) == numbers(uninterrupted.log.rows)
    assert same_weights(resumed.reconstructor, uninterrupted.reconstructor)


def test_a_verdict_on_disk_is_not_trained_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context(tmp_path)
    method, built = make_method(Gain, context), []

    def build(**changes: Any) -> Any:
        built.append(changes)
        return method.build(**changes)

    watched = Method(method.label, method.parameters, method.schema, build)
    tried = ParameterSearch(trials=12, trainer=Scripted(), startup_trials=1)

    def dying(self: SearchSession, trial: Trial) -> None:
        if trial.stopped is not None:
            raise KeyboardInterrupt

    keep = SearchSession._keep
    monkeypatch.setattr(SearchSession, "_keep", lambda self, trial: (keep(self, trial), dying(self, trial))[0])
    with pytest.raises(KeyboardInterrupt):
        tried.fit(watched, context)
    monkeypatch.undo()
    running = json.loads((tmp_path / "trials.json").read_text())["running"]
    assert running["stopped"] == 1
    before = len(built)
    log = tried.fit(watched, context).log
    assert log.rows[running["number"]]["state"] == "stopped at step 1"
    assert all(changes.get("weight") != running["parameters"]["weight"] for changes in built[before:])
    assert len(log.rows) == 12


@pytest.mark.parametrize(
    "content",
    [
        {"trials": []},
        {"trials": [], "running": 3},
        {"trials": [{"number": 0, "parameters": {}, "intermediate": {"x": 1.0}}], "running": None},
        {"trials": [{"number": 0, "parameters": {}, "intermediate": [1]}], "running": None},
        {"trials": [{"number": 0, "unheard": 1, "intermediate": {}}], "running": None},
        [],
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: Any) -> None:
    context = make_context(tmp_path)
    tried, method = ParameterSearch(trials=2), make_method(Gain, context)
    tried.fit(method, context)
    path = tmp_path / "trials.json"
    identity = json.loads(path.read_text())["identity"]
    whole = {"identity": identity, **content} if isinstance(content, dict) else content
    path.write_text(json.dumps(whole))
    with pytest.raises(TrainingError, match="cannot be read"):
        tried.fit(method, context)
    if isinstance(whole, dict):
        write_hashed_json(path, whole)
        with pytest.raises(TrainingError, match="cannot be read"):
            tried.fit(method, context)


def test_trials_that_were_changed_are_refused(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    tried, method = ParameterSearch(trials=2), make_method(Gain, context)
    tried.fit(method, context)
    path = tmp_path / "trials.json"
    content = json.loads(path.read_text())
    content["trials"][0]["value"] += 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(TrainingError, match="changed after it had been written"):
        tried.fit(method, context)


def test_the_best_of_an_earlier_session_is_trained_whole_though_its_folder_is_lost(tmp_path: Path) -> None:
    import shutil

    context = make_context(tmp_path)
    tried = ParameterSearch(
        trials=4,
        parameters={"trainer.muon_lr": {"low": 1e-3, "high": 0.1, "log": True}},
        trainer=ReconstructionTraining(steps=6, batch_size=2, validations=3),
        startup_trials=1,
    )
    method = make_method(RestlessConvs, context)
    first = tried.fit(method, context)
    for folder in tmp_path.glob("trial-*"):
        shutil.rmtree(folder)
    again = tried.fit(method, replace(context, stop_rule=lambda step, value: "never asked"))
    assert same_weights(first.reconstructor, again.reconstructor)
    assert first.log == again.log
