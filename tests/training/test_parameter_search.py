from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_helpers import BoxBlur, Gain, Listener, ThreeConvs, make_context, make_method, same_weights

from invreg.components.trainer import Method, TrainingContext
from invreg.errors import InvregWarning, SpecError, TrainingError
from invreg.plugins.registry import Registry, spec_of
from invreg.schema.parameters import parameters_model
from invreg.testing.toys import ToyNoise
from invreg_training import plugin
from invreg_training.gradient.trainer import ReconstructionTraining
from invreg_training.search.ends import End, ends_of
from invreg_training.search.search import ParameterSearch
from invreg_training.search.space import Dimension, search_space
from invreg_training.search.trials import Trial
from invreg_training.search.values import Choices, Range


class Halving(BoxBlur):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x


def halved(folder: Path, **kwargs) -> TrainingContext:
    """A problem that Gain solves with weight 2."""
    return make_context(folder, operator=Halving(), noise=ToyNoise(0.001), **kwargs)


def test_the_declared_range_is_searched_and_the_spec_comes_first(tmp_path: Path) -> None:
    listener = Listener()
    context = halved(tmp_path, listener=listener)
    trained = ParameterSearch(trials=20).fit(make_method(Gain, context, "gain"), context)
    rows = trained.log.rows
    assert [row["trial"] for row in rows] == list(range(20))
    assert rows[0]["weight"] == 3.0
    assert all(0.1 <= row["weight"] <= 10 for row in rows)
    assert min(row["weight"] for row in rows) < 0.5  # log: small orders of magnitude get their share
    best = max(rows, key=lambda row: row["val_psnr"])
    assert abs(best["weight"] - 2) == min(abs(row["weight"] - 2) for row in rows)
    assert trained.reconstructor.weight == best["weight"] == trained.log.summary["best weight"]
    assert trained.log.summary["best_trial"] == best["trial"]
    assert list(rows[0]) == ["trial", "weight", "val_psnr", "seconds", "state", "cause"]
    assert [entry["values"] for entry in listener.epochs] == rows
    assert (listener.progress[-1]["done"], listener.progress[-1]["total"]) == (20, 20)
    assert listener.progress[-1]["label"] == "gain"


def test_the_spec_wins_where_it_is_best(tmp_path: Path) -> None:
    context = halved(tmp_path)
    trained = ParameterSearch(trials=4, parameters={"weight": {"low": 5.0, "high": 6.0}}).fit(
        make_method(Gain, context, weight=2.0), context
    )
    assert trained.log.summary["best_trial"] == 0
    assert trained.reconstructor.weight == 2.0


def test_a_best_value_at_an_end_of_its_range_is_warned_of(tmp_path: Path) -> None:
    context = halved(tmp_path)
    search = ParameterSearch(trials=2, parameters={"weight": {"low": 5.0, "high": 50.0}})
    said = r"5, is at the lower end of its range from 5 to 50\n.*\n.*a wider range, {low: \S+, high: 50}, or a"
    with pytest.warns(InvregWarning, match=said):
        trained = search.fit(make_method(Gain, context, weight=5.0), context)
    assert trained.log.summary["note"].startswith(
        "the best weight, 5, is at the lower end of its range from 5 to 50: a"
    )
    with pytest.warns(InvregWarning, match="the best weight, 2, is below its range from 5 to 50"):
        search.fit(make_method(Gain, halved(tmp_path / "own"), weight=2.0), halved(tmp_path / "own"))


def searched(values: Range | Choices, tried: list[object], best: int = 0, **changes: object) -> list[End]:
    """The ends of a search that has tried these values, of which one is best."""
    dimension = Dimension("weight", "reconstructor", "weight", values, False, tried[0], (1e-5, 9.0))
    trials = [Trial(number, {"weight": value}, -float(number != best)) for number, value in enumerate(tried)]
    trials += [Trial(len(trials), {"weight": value}, None, cause="it broke") for value in (1e-4, 0.1)]
    return ends_of(trials, trials[best], [replace(dimension, **changes)])


LOG = Range(low=1e-4, high=0.1, log=True)


@pytest.mark.parametrize(
    ("values", "tried", "said"),
    [
        (LOG, [1.1e-4, 1e-3, 0.01],
         "lower end of its range from 0.0001 to 0.1: a wider range, {low: 1e-05, high: 0.1, log: true}"),
        (LOG, [0.09, 1e-3, 0.01],
         "upper end of its range from 0.0001 to 0.1: a wider range, {low: 0.0001, high: 9, log: true}"),
        (LOG, [2.0, 1e-3, 0.01], "the best weight, 2, is above its range from 0.0001 to 0.1: a range around it"),
        (LOG, [0.0, 1e-3, 0.01], "the best weight, 0, is below its range"),
        (LOG, [1e-3, 0.01], "the smallest one that was tried of its range from 0.0001 to 0.1: more trials"),
        (LOG, [1e-3, 1e-4], "the largest one that was tried"),
        (Choices(choices=[3, 1, 2]), [3, 1, 2], "weight, 3, is the largest of the choices: larger ones as well"),
        (LOG, [1.1e-4, 1e-3, 1e-4], ""),  # a worse one lies closer to the end
        (LOG, [3e-3, 2.4e-4, 0.054], ""),  # enclosed
        (LOG, [3e-4, 1e-3, 0.1], ""),  # most of the range has been looked at
        (LOG, [1e-4], ""),  # nothing to compare with
        (LOG, [None, 1e-4], ""),
        (Choices(choices=[1, 2]), [2, 1], ""),  # one of two is always an end
        (Choices(choices=[1, 2, 3]), [2, 1, 3], ""),
        (Choices(choices=["a", "b", "c"]), ["c", "a"], ""),
        (Choices(choices=[True, False, 3]), [3, True], ""),
    ],
)  # fmt: skip
def test_ends_are_named_where_no_worse_value_lies_beyond(
    values: Range | Choices, tried: list[object], said: str
) -> None:
    found = searched(values, tried)
    assert len(found) == bool(said)
    assert said in "".join(map(str, found))
    assert all(end.is_of_range == ("range" in end.remedy) for end in found)


def test_a_limit_of_the_parameter_is_no_end(tmp_path: Path) -> None:
    assert searched(LOG, [1e-4, 0.01], beyond=(None, 9.0)) == []
    method = make_method(Gain, halved(tmp_path), "gain")
    whole = search_space({"repeats": Range(low=1, high=3)}, method, None).dimensions[0]
    assert whole.beyond == (None, 5)
    weight = search_space({"weight": Range(low=0.1, high=10.0, log=True)}, method, None).dimensions[0]
    assert weight.beyond == pytest.approx((0.01, 100.0))


@pytest.mark.parametrize("low", [-1e308, 1, 2, -3, 0.5])
def test_wider_ranges_are_wider_and_finite(low: float) -> None:
    for log in (False, True) if low > 0 else (False,):
        values = Range(low=low, high=type(low)(7), log=log)
        below, above = values.wider(isinstance(low, int))
        assert all(one < low for one in below)
        assert all(7 < one < math.inf for one in above)
        assert above


def test_ranges_of_whole_numbers_and_choices(tmp_path: Path) -> None:
    context = halved(tmp_path)
    search = ParameterSearch(
        trials=12,
        parameters={
            "reconstructor.repeats": Range(low=1, high=3),
            "mode": Choices(choices=["plain", "broken"]),
            "shift": {"low": -1, "high": 1},
        },
    )
    trained = search.fit(make_method(Gain, context, weight=2.0), context)
    rows = trained.log.rows
    assert {row["reconstructor.repeats"] for row in rows} == {1, 2, 3}
    assert all(type(row["reconstructor.repeats"]) is int for row in rows)
    assert any(row["shift"] % 1 for row in rows)
    broken = [row for row in rows if row["mode"] == "broken"]
    assert broken
    assert all(row["state"] == "failed" and row["val_psnr"] is None for row in broken)
    assert broken[0]["cause"] == "RuntimeError: this mode does not work"
    assert trained.log.summary["failed"] == len(broken)
    assert trained.reconstructor.mode == "plain"


def test_failing_everywhere_is_an_error(tmp_path: Path) -> None:
    context = halved(tmp_path)
    with pytest.raises(TrainingError, match="all 3 trials failed; the first with: RuntimeError: this mode") as caught:
        ParameterSearch(trials=3).fit(make_method(Gain, context, mode="broken"), context)
    assert "trials.json" in str(caught.value)


def test_an_interrupted_search_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    context = halved(tmp_path / "whole")
    whole = ParameterSearch(trials=8).fit(make_method(Gain, context), context)
    context = halved(tmp_path / "parts")
    method, built = make_method(Gain, context), []

    def build(**changes: object) -> Gain:
        if len(built) == 5:
            raise KeyboardInterrupt
        built.append(changes)
        return method.build(**changes)

    interrupted = Method(method.label, method.parameters, method.schema, build)
    with pytest.raises(KeyboardInterrupt):
        ParameterSearch(trials=8).fit(interrupted, context)
    assert len(json.loads((tmp_path / "parts" / "trials.json").read_text())["trials"]) == 5
    resumed = ParameterSearch(trials=8).fit(method, context)

    def numbers(rows: list[dict]) -> list[dict]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert numbers(resumed.log.rows) == numbers(whole.log.rows)
    assert resumed.reconstructor.weight == whole.reconstructor.weight
    done = ParameterSearch(trials=8).fit(method, context)  # nothing is left to do but to build the best again
    assert done.log == resumed.log
    assert done.reconstructor.weight == whole.reconstructor.weight


def test_trials_of_another_search_and_broken_files_are_refused(tmp_path: Path) -> None:
    context = halved(tmp_path)
    ParameterSearch(trials=2).fit(make_method(Gain, context), context)
    with pytest.raises(TrainingError, match=r"reconstructor\.shift was None, now 0\.5"):
        ParameterSearch(trials=2).fit(make_method(Gain, context, shift=0.5), context)
    (tmp_path / "trials.json").write_text('{"identity": {')
    with pytest.raises(TrainingError, match="cannot be read"):
        ParameterSearch(trials=2).fit(make_method(Gain, context), context)


def test_trials_can_be_trained(tmp_path: Path) -> None:
    listener = Listener()
    context = make_context(tmp_path, listener=listener)
    search = ParameterSearch(
        trials=3,
        parameters={"trainer.muon_lr": {"low": 1e-3, "high": 0.1, "log": True}, "hidden": {"choices": [2, 4]}},
        trainer=ReconstructionTraining(steps=6, batch_size=2, validations=2),
    )
    method = make_method(ThreeConvs, context)
    search.check(method, method.build())
    trained = search.fit(method, context)
    assert trained.log.rows[0]["trainer.muon_lr"] == 0.02
    assert trained.log.rows[0]["hidden"] == 8
    assert all((tmp_path / f"trial-{n}" / "checkpoint.safetensors").is_file() for n in range(3))
    assert [entry["values"] for entry in listener.epochs] == trained.log.rows
    assert {entry["label"] for entry in listener.progress} == {"net"}
    assert {entry["stage"] for entry in listener.progress} == {"search", "trial 0", "trial 1", "trial 2"}
    again = search.fit(method, context)
    assert same_weights(trained.reconstructor, again.reconstructor)
    best = trained.log.rows[trained.log.summary["best_trial"]]
    assert trained.reconstructor.net[0].out_channels == best["hidden"]


def test_drawing_is_a_function_of_seed_and_number() -> None:
    context = halved(Path("unused"))
    space = ParameterSearch()._space(make_method(Gain, context))
    assert space.draw(0, 3) == space.draw(0, 3)
    assert len({space.draw(seed, n)["weight"] for seed in range(3) for n in range(5)}) == 15
    values = [space.draw(0, n)["weight"] for n in range(200)]
    below_one = sum(value < 1 for value in values)
    assert 70 < below_one < 130  # evenly over the orders of magnitude


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"wieght": {"low": 1, "high": 2}}, "did you mean 'weight'"),
        ({"weight": {"low": -1.0, "high": 2.0}}, "parameters.weight.low: input should be greater than 0 (given: -1.0)"),
        ({"repeats": {"low": 1.0, "high": 2.5}}, "parameters.repeats.low: input should be a valid integer"),
        ({"mode": {"choices": ["plain", 3]}}, "parameters.mode.choices.1: input should be a valid string (given: 3)"),
        ({"trainer.lr": {"low": 1e-4, "high": 1e-2}}, "there is no trainer"),
        ({"noise.std": {"low": 1e-4, "high": 1e-2}}, "parameters.noise.std: leads into the parameter 'noise'"),
        ({"weight": {"low": 1, "high": 2}, "reconstructor.weight": {"low": 1, "high": 2}}, "named twice"),
        ({"noise": {"low": 1, "high": 2}}, "this parameter is not a number"),
        (
            {"noise": {"choices": [None, {"std": 1.0}]}},
            "parameters.noise.choices.1: input should be an instance of Noise",
        ),
        ({"mode": {"low": 1, "high": 2}}, "this parameter is not a number"),
        ({}, "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, parameters: dict, message: str) -> None:
    context = halved(tmp_path)
    method = make_method(Gain, context)
    with pytest.raises(SpecError) as caught:
        ParameterSearch(parameters=parameters).check(method, method.build())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 2, "high": 1}, "not below"),
        ({"low": 0, "high": 1, "log": True}, "positive"),
        ({"low": 0, "high": 1, "logg": True}, "unknown 'logg' beside low and high; did you mean 'log'?"),
        ({"low": 0, "high": 1, "choices": [1]}, "unknown 'low' beside choices"),
        ({"low": True, "high": 2}, "low"),
        ({"low": -1.7e308, "high": 1.7e308}, "too wide"),
        ({"low": 0, "high": 2**60}, "2**53"),
        ({"choices": "abc"}, "list"),
        ({"choices": [float("inf")]}, "not finite"),
        ({"choices": [{1, 2}]}, "set {1, 2} cannot be written"),
        ({}, "missing"),
        ({"choices": []}, "at least 1"),
        ({"low": float("nan"), "high": 1}, "finite"),
        ({"low": "a", "high": 1}, "low"),
        ([1, 2], "input should be a mapping"),
    ],
)
def test_ranges_that_are_none_are_refused(values: object, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        ParameterSearch(parameters={"weight": values})
    assert message in str(caught.value)
    assert "weight" in str(caught.value)


def test_weights_without_a_trainer_are_refused(tmp_path: Path) -> None:
    context = halved(tmp_path)
    method = make_method(ThreeConvs, context)
    search = ParameterSearch(parameters={"hidden": {"choices": [1, 2]}})
    with pytest.raises(SpecError, match="does not train"):
        search.check(method, method.build())
    gain = make_method(Gain, context)
    with pytest.raises(SpecError, match="trainer: Gain has no weights to train"):
        ParameterSearch(trainer=ReconstructionTraining()).check(gain, gain.build())


def test_a_search_goes_through_a_spec_and_back() -> None:
    registry = Registry({"training": plugin})
    assert registry.names("trainer") == ["approximation", "denoising", "parameter_search", "reconstruction"]
    spec = {
        "name": "parameter_search",
        "trials": 3,
        "parameters": {"weight": {"low": 1e-4, "high": 1, "log": True}, "mode": {"choices": ["a", "b"]}},
        "trainer": {"name": "reconstruction", "steps": 3},
    }
    search = registry.build("trainer", spec)
    assert search.parameters["weight"] == Range(low=1e-4, high=1, log=True)
    assert search.trainer.settings.steps == 3
    again = registry.build("trainer", spec_of(search, registry))
    assert again.parameters == search.parameters
    assert spec_of(search, registry) == spec_of(again, registry)
    json.dumps(spec_of(search, registry))
    parameters_model(ParameterSearch).model_json_schema()
    with pytest.raises(SpecError, match="low = 2 is not below high = 1"):
        registry.build("trainer", {"name": "parameter_search", "parameters": {"weight": {"low": 2, "high": 1}}})


def test_optuna_keeps_its_own_voice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    context = halved(tmp_path)
    ParameterSearch(trials=3).fit(make_method(Gain, context), context)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert optuna.logging.get_verbosity() == before
