"""Trainings and searches that a signal interrupts: the step is kept, and what is resumed ends the same."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from training_helpers import Gain, RestlessConvs, make_context, make_method, same_weights
from training_worker import STEPS

from invreg.components.trainer import TrainedMethod, Trainer
from invreg.computing.interruption import Interrupted, listening_to_signals
from invreg.testing.toys import ToyNoise
from invreg_training.checkpoint import read_checkpoint
from invreg_training.gradient import loop as loop_module
from invreg_training.gradient.trainer import ReconstructionTraining
from invreg_training.search.search import ParameterSearch

#: No checkpoint but those of interruptions and of the end.
RARE = {**STEPS, "checkpoint_minutes": 60.0}


def fit(folder: Path, trainer: Trainer, cls: type = RestlessConvs) -> TrainedMethod:
    context = make_context(folder, noise=ToyNoise())
    return trainer.fit(make_method(cls, context), context)


def numbers(trained: TrainedMethod) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trained.log.rows]


def raise_at_call(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, count: int) -> None:
    """SIGTERM comes when something is called for the `count`-th time."""
    function: Callable[..., Any] = getattr(place, name)
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            signal.raise_signal(signal.SIGTERM)
        return function(*arguments, **named)

    monkeypatch.setattr(place, name, counted)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainedMethod:
    return fit(tmp_path_factory.mktemp("whole"), ReconstructionTraining(**RARE))


# In the middle of a step, of a validation (the last one too), and of what comes between.
@pytest.mark.parametrize(
    ("name", "count", "step"),
    [("step", 9, 9), ("validate", 2, 12), ("validate", 4, 24), ("_validate", 1, 6), ("_look", 8, 7), ("_save", 1, 24)],
)
def test_every_step_is_kept(
    tmp_path: Path, whole: TrainedMethod, monkeypatch: pytest.MonkeyPatch, name: str, count: int, step: int
) -> None:
    place: Any = {"step": loop_module.Optimizers, "validate": loop_module}.get(name, loop_module.TrainingLoop)
    with monkeypatch.context() as patched, listening_to_signals():
        raise_at_call(patched, place, name, count)
        with pytest.raises(Interrupted) as caught:
            fit(tmp_path, ReconstructionTraining(**RARE))
    assert caught.value.__notes__ == [f"net up to step {step} of 24"]
    found = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert found is not None
    assert found[1]["state"]["step"] == step
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    resumed = fit(tmp_path, ReconstructionTraining(**RARE))
    assert same_weights(whole.reconstructor, resumed.reconstructor)
    assert numbers(resumed) == numbers(whole)


def test_many_interruptions_change_nothing(
    tmp_path: Path, whole: TrainedMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sessions in range(100):
        with monkeypatch.context() as patched, listening_to_signals():
            raise_at_call(patched, loop_module, "validate" if sessions % 2 else "seed_layers", 1)
            try:
                resumed = fit(tmp_path, ReconstructionTraining(**RARE))
                break
            except Interrupted:
                pass
    assert sessions == 8  # after each odd step, and in each validation
    assert same_weights(whole.reconstructor, resumed.reconstructor)
    assert numbers(resumed) == numbers(whole)


def test_an_interruption_in_the_middle_of_a_step_that_nobody_holds_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    class Impatient(RestlessConvs):
        def forward(self, z: Tensor) -> Tensor:
            if len(self.fractions) == 5:
                raise KeyboardInterrupt
            return super().forward(z)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path, ReconstructionTraining(**RARE), Impatient)
    assert caught.value.__notes__ == ["net up to step 0 of 24"]
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_full_disk_at_an_interruption_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    raise_at_call(monkeypatch, loop_module.Optimizers, "step", 3)
    with listening_to_signals(), pytest.raises(Interrupted) as caught:
        fit(tmp_path, ReconstructionTraining(**RARE))
    assert caught.value.__notes__ == ["net up to step 0 of 24 (no further: cannot be written: No space left on device)"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_a_search_keeps_its_trials_and_the_step_of_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    def search() -> ParameterSearch:
        if not trained:
            return ParameterSearch(trials=4)
        inside = ReconstructionTraining(**{**RARE, "steps": 6, "validations": 2})
        return ParameterSearch(trials=4, parameters={"hidden": {"choices": [3, 4]}}, trainer=inside)

    cls = RestlessConvs if trained else Gain
    reference = fit(tmp_path / "whole", search(), cls)
    with monkeypatch.context() as patched, listening_to_signals():
        raise_at_call(patched, *((loop_module.Optimizers, "step", 6 + 4) if trained else (cls, "setup", 3)))
        with pytest.raises(Interrupted) as caught:
            fit(tmp_path / "parts", search(), cls)
    expected = ["net up to step 4 of 6", "1 of 4 trials of net"] if trained else ["2 of 4 trials of net"]
    assert caught.value.__notes__ == expected
    resumed = fit(tmp_path / "parts", search(), cls)
    assert numbers(resumed) == numbers(reference)
    assert same_weights(resumed.reconstructor, reference.reconstructor)
