"""Signals: what they interrupt, what is kept, and who hears them."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest

import invreg
import toy
from invreg.computing.interruption import (
    Interrupted,
    exit_status,
    hold_signals,
    in_words,
    interruptible,
    listening_to_signals,
)
from invreg.plugins.registry import Registry
from invreg_metrics import plugin as metrics_plugin

NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """A shell that starts the tests in the background lets them ignore SIGINT."""
    usual = (signal.default_int_handler, signal.SIG_DFL)
    before = [signal.signal(number, handler) for number, handler in zip(NUMBERS, usual, strict=True)]
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_interrupts_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in NUMBERS]
    with pytest.raises(Interrupted) as caught, listening_to_signals():
        signal.raise_signal(number)
    assert [signal.getsignal(one) for one in NUMBERS] == before
    assert exit_status(caught.value) == 128 + number
    assert in_words(caught.value) == f"interrupted by {number.name}; the same command goes on where this one stopped"
    caught.value.add_note("net up to step 3 of 4")
    caught.value.add_note("1 of 2 trials of net")
    assert in_words(caught.value).splitlines()[1] == "kept: net up to step 3 of 4, 1 of 2 trials of net"


def test_a_signal_waits_for_the_end_of_what_must_not_be_left(capfd: pytest.CaptureFixture[str]) -> None:
    done = []

    def work() -> None:
        with hold_signals():
            with hold_signals():
                signal.raise_signal(signal.SIGTERM)
            done.append("inside")
        done.append("outside")

    with pytest.raises(Interrupted), listening_to_signals():
        work()
    assert done == ["inside"]
    assert "SIGTERM: ends after this step" in capfd.readouterr().err


def test_a_second_signal_has_the_effect_that_it_has_elsewhere() -> None:
    heard = []

    def work() -> None:
        with hold_signals():
            for number in (signal.SIGTERM, signal.SIGINT):
                heard.append(number)
                signal.raise_signal(number)
            heard.append(None)

    with pytest.raises(KeyboardInterrupt) as caught, listening_to_signals():
        work()
    assert heard == [signal.SIGTERM, signal.SIGINT]
    assert type(caught.value) is KeyboardInterrupt


def test_a_signal_that_was_swallowed_interrupts_at_the_next_step() -> None:
    with listening_to_signals():
        with contextlib.suppress(BaseException):  # as careless code does
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), hold_signals():
            pass
    with hold_signals():  # and it is forgotten when nobody listens any more
        pass


def test_what_handles_an_interruption_may_hold_signals_too() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stop:
            with hold_signals():
                stop.add_note("kept")
            raise

    with pytest.raises(Interrupted) as caught, listening_to_signals():
        work()
    assert caught.value.__notes__ == ["kept"]


def test_a_command_that_is_stopped_while_it_is_imported_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from invreg import __main__

    class Stopping:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "invreg.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "invreg.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopping(), *sys.meta_path])
    with pytest.raises(SystemExit) as done:
        __main__.main()
    assert done.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where this one stopped\n"


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with listening_to_signals():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_change_no_handlers() -> None:
    seen: list[Any] = []

    def work() -> None:
        with interruptible(), hold_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_call_from_python_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    registry, fit = Registry({"invreg": metrics_plugin, "toy": toy}), toy.LeastSquares.fit

    def interrupted(self: toy.LeastSquares, *arguments: Any) -> Any:
        signal.raise_signal(number)
        return fit(self, *arguments)

    def own(*_: object) -> None: ...

    before = signal.signal(number, own)
    try:
        monkeypatch.setattr(toy.LeastSquares, "fit", interrupted)
        expected: type[BaseException] = KeyboardInterrupt if number == signal.SIGINT else SystemExit
        with pytest.raises(expected) as caught:
            invreg.run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
        assert signal.getsignal(number) is own
    finally:
        signal.signal(number, before)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 143
        assert "interrupted by SIGTERM; the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(toy.LeastSquares, "fit", fit)
    result = invreg.run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert list(result.summary["method"]) == ["raw", "gain"]


def test_warnings_of_interrupted_trainings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, fit = Registry({"invreg": metrics_plugin, "toy": toy}), toy.LeastSquares.fit
    said = ["early", "late"]

    def warning(self: toy.LeastSquares, *arguments: Any) -> Any:
        warnings.warn(said[0], invreg.ConvergenceWarning, stacklevel=2)
        if len(said) == 2:
            del said[0]
            signal.raise_signal(signal.SIGINT)
        return fit(self, *arguments)

    monkeypatch.setattr(toy.LeastSquares, "fit", warning)
    with pytest.raises(KeyboardInterrupt):
        invreg.run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    result = invreg.run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert invreg.RunFolder.existing(result.folder).method("gain").training.warnings == ["early", "late"]
    assert not list(result.folder.rglob("training"))


def test_other_warnings_pass_while_those_of_invreg_are_recorded() -> None:
    messages: list[str] = []
    kept: list[list[str]] = []

    def work() -> None:
        with invreg.recorded_warnings(messages, lambda all_of_them: kept.append(list(all_of_them))):
            for _ in range(2):
                warnings.warn("ours", invreg.ConvergenceWarning, stacklevel=1)
            warnings.warn("other", RuntimeWarning, stacklevel=1)
            raise ZeroDivisionError

    with pytest.warns(RuntimeWarning, match="other") as caught, pytest.raises(ZeroDivisionError):
        work()
    assert len(caught) == 1
    assert (messages, kept) == (["ours"], [["ours"]])


SPEC = {
    "title": "Stopped",
    "data": {"name": "phantoms", "image_size": 16, "train": 8, "val": 2, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 3},
    "methods": {
        "unet": {
            "reconstructor": {"name": "unet", "channels": [2, 4]},
            "trainer": {
                "name": "reconstruction",
                "steps": 4000,
                "batch_size": 2,
                "validations": 800,
                "checkpoint_minutes": 60,
            },
        }
    },
    "metrics": ["psnr"],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_command_that_is_stopped_keeps_the_step_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    process = processes.Command("invreg", "run", "spec.json", "--device", "cpu", "--quiet", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/methods/unet/progress.csv")):  # the first validation
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    done = process.finish(timeout=60)
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout == ""
    *first, last, kept = done.stderr.splitlines()
    assert last == f"interrupted by {number.name}; the same command goes on where this one stopped"
    assert [line.partition(":")[0] for line in first] in ([], [number.name])
    step = int(kept.removeprefix("kept: unet up to step ").removesuffix(" of 4000"))
    assert 5 <= step < 4000
    (checkpoint,) = tmp_path.glob("runs/*/methods/unet/training/*")  # and nothing beside it
    assert f'\\"step\\": {step},'.encode() in checkpoint.read_bytes()
