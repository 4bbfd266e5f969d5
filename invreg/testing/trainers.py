"""Checks of trainers."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor

from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import TrainedMethod, Trainer
from invreg.components.training_images import TrainingImages
from invreg.errors import InvregError, SpecError
from invreg.schema.signature import built_with
from invreg.testing.checks import Check, Refused, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.numbers import demand_equal, demand_finite, demand_same
from invreg.testing.side_effects import check_no_global_state
from invreg.testing.toys import ToyGain, ToyIdentity, ToyNet, toy_context, toy_measurements, toy_method, toy_splits


def check_trainer(trainer: Trainer | type[Trainer]) -> None:
    """Checks that a trainer trains, reproducibly, without looking at test images, and says what happened.

    It trains a method with two weights (or, if that is refused, one with a parameter to search) on four small images.
    Give an instance with few steps.

    Args:
        trainer: an instance, or a class that can be built without arguments.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Trainer = instance_of(trainer, Trainer)  # type: ignore[type-abstract]
    with tempfile.TemporaryDirectory() as folder:
        run_checks(title_of(trainer), _checks(tested, Path(folder)))


def _trainable(trainer: Trainer) -> type[Reconstructor]:
    """What the trainer is tried on: a method with weights, or one without if it refuses these."""
    method = toy_method(ToyNet)
    try:
        trainer.check(method, method.build())
    except InvregError:
        return ToyGain
    return ToyNet


def _fit(trainer: Trainer, folder: Path, test_seed: int = 3) -> TrainedMethod:
    method, context = toy_method(_trainable(trainer)), toy_context(folder, test_seed=test_seed)
    # A run seeds torch's global generator before each training; so do the checks.
    torch.manual_seed(0)
    tested = cast(Trainer, rebuilt(trainer))
    tested.check(method, method.build())
    trained = tested.fit(method, context)
    if not isinstance(trained, TrainedMethod):
        raise Refused(f"fit() gives {type(trained).__name__}", "a TrainedMethod", "return TrainedMethod(net, log)")
    return trained


def _checks(trainer: Trainer, folder: Path) -> Iterator[Check]:
    known: list[TrainedMethod] = []

    def first() -> TrainedMethod:
        if not known:
            known.append(_fit(trainer, folder / "first"))
        return known[0]

    yield "fit", first
    if not known:
        yield from constructor_checks(trainer)
        return
    yield "learns", lambda: _learns(first())
    yield "improves", lambda: _improves(first())
    yield "log", lambda: _log(first())
    yield (
        "determinism",
        lambda: _same(
            first(),
            _fit(trainer, folder / "second"),
            "two trainings with one seed",
            "draw from invreg.computing.streams, with the seed of the context",
        ),
    )
    yield (
        "resume",
        lambda: _same(
            first(),
            _fit(trainer, folder / "first"),
            "a finished training, and one more fit in its folder",
            "keep a checkpoint in context.folder and go on from it, or begin anew",
        ),
    )
    yield "interrupted", lambda: _interrupted(trainer, first(), folder / "interrupted")
    yield (
        "test_images_unused",
        lambda: _same(
            first(),
            _fit(trainer, folder / "other", test_seed=9),
            "two trainings with other test images",
            "choose by context.images.val; test images are for reports alone",
        ),
    )
    yield "check_refuses", lambda: _check_refuses(trainer)
    yield (
        "no_global_state",
        lambda: check_no_global_state(lambda: _fit(trainer, folder / "global"), but=("torch's global random state",)),
    )
    yield from constructor_checks(trainer)


def _state(method: TrainedMethod) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in method.reconstructor.state_dict().items()}


def _learns(trained: TrainedMethod) -> None:
    net = trained.reconstructor
    fix = "train what method.build() makes, and return it"
    if not isinstance(net, ToyNet | ToyGain):
        raise Refused(f"the reconstructor is a {type(net).__name__}", "one made by method.build()", fix)
    for name, value in _state(trained).items():
        demand_finite(value, f"the weight {name}", "look for a loss that is not finite")
    before = toy_method(type(net)).build().state_dict()
    changed = any(not torch.equal(value, before[name]) for name, value in _state(trained).items())
    if not changed and built_with(net) == {"start": 0.5}:
        raise Refused("neither weights nor parameters have changed", "a method that is trained", fix)


def _improves(trained: TrainedMethod) -> None:
    net = trained.reconstructor
    x = toy_splits().val.images
    z = toy_measurements(x)
    errors = []
    for method in (toy_method(type(net)).build().eval(), copy.deepcopy(net).eval()):
        with torch.no_grad():
            errors.append(float((method(z) - x).square().mean()))
    if not errors[1] <= 1.001 * errors[0]:
        raise Refused(
            f"the mean squared error of the reconstructions rises from {errors[0]:.4g} to {errors[1]:.4g}",
            "an error that is not larger than before",
            "look for the sign of the gradient, and for a learning rate that is too large",
        )


def _interrupted(trainer: Trainer, finished: TrainedMethod, folder: Path) -> None:
    """Stops a training at half of its batches, and goes on in its folder."""
    batch, calls = TrainingImages.batch, 0

    def counted(images: TrainingImages, *arguments: Any, **named: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if stop is not None and calls > stop:
            raise KeyboardInterrupt
        return batch(images, *arguments, **named)

    stop: int | None = None
    with mock.patch.object(TrainingImages, "batch", counted):
        _fit(trainer, folder / "counted")
        if calls < 2:
            return
        stop, calls = calls // 2, 0
        try:
            _fit(trainer, folder / "stopped")
        except KeyboardInterrupt:
            pass
        else:
            fix = "let KeyboardInterrupt through: a run ends by it, and is taken up later"
            raise Refused("it goes on after a KeyboardInterrupt", "KeyboardInterrupt", fix)
    again = _fit(trainer, folder / "stopped")
    fix = "save weights, optimizer and step together, or begin anew"
    _same(finished, again, "a training, and one that was interrupted half-way and taken up", fix)


def _log(trained: TrainedMethod) -> None:
    fix = "rows are mappings of the same keys to numbers and texts, one per epoch or trial"
    keys = {tuple(row) for row in trained.log.rows}
    if len(keys) > 1:
        raise Refused(f"the rows of the log have different keys: {sorted(keys)}", "the same keys in all rows", fix)
    try:
        json.dumps([trained.log.rows, trained.log.summary])
    except (TypeError, ValueError) as error:
        raise Refused(f"the log cannot be saved: {error}", "numbers, texts, booleans or None", fix) from None


def _same(a: TrainedMethod, b: TrainedMethod, what: str, fix: str) -> None:
    first, second = _state(a), _state(b)
    demand_equal(sorted(second), sorted(first), f"{what}: the list of weights", fix)
    for name, value in first.items():
        demand_same(value, second[name], f"{what}: the weight {name}", fix)
    demand_equal(built_with(b.reconstructor), built_with(a.reconstructor), f"{what}: the parameters", fix)


def _check_refuses(trainer: Trainer) -> None:
    classes: tuple[type[Reconstructor], ...] = (ToyIdentity, ToyNet)
    for cls in classes:
        method = toy_method(cls)
        net = method.build()
        before = copy.deepcopy(net.state_dict())
        try:
            trainer.check(method, net)
        except SpecError as error:
            if not str(error).strip():
                raise Refused("check() refuses without a word", "a sentence", "SpecError(what, where=...)") from None
        except Exception as error:  # noqa: BLE001 (any other is the finding)
            raise Refused(
                f"check() of {'a method without weights' if cls is ToyIdentity else 'a network'} raises "
                f"{type(error).__name__}: {error}",
                "SpecError, or nothing",
                "refuse in check() what fit() cannot train, with invreg.SpecError",
            ) from None
        else:
            if cls is ToyIdentity:
                _fits_without_weights(trainer)
        for name, value in net.state_dict().items():
            demand_same(value, before[name], f"check() changed the weight {name}", "check() only looks")


def _fits_without_weights(trainer: Trainer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            cast(Trainer, rebuilt(trainer)).fit(toy_method(ToyIdentity), toy_context(Path(folder)))
        except InvregError:
            return
        except Exception as error:  # noqa: BLE001 (any other is the finding)
            raise Refused(
                f"check() lets a method without weights pass, and fit() raises {type(error).__name__}: {error}",
                "SpecError from check()",
                "refuse in check() what fit() cannot train, with invreg.SpecError",
            ) from None
