"""Trainers and analyses: correct ones pass; one mistake each is found by the check that is named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from pydantic import Field

from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.hookspecs import hookimpl
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.plugins.registry import Registry
from invreg.testing.analyzers import check_analyzer
from invreg.testing.checks import CheckFailure
from invreg.testing.plugins import check_plugin
from invreg.testing.trainers import check_trainer


class Steps(Trainer):
    """Two steps of gradient descent."""

    def images(self, context: TrainingContext) -> torch.Tensor:
        return context.images.train.batch(context.seed, 0, 2)

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        net, x = method.build(), self.images(context)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            (net(context.problem.operator(x)) - x).square().mean().backward()
            optimizer.step()
        return TrainedMethod(net.eval(), TrainingLog([{"step": 2}]))

    def check(self, method: Method, reconstructor: Any) -> None:
        from invreg.errors import SpecError

        if not list(reconstructor.parameters()):
            raise SpecError("there is nothing to train", where=method.label)


class Idle(Steps):
    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        return TrainedMethod(method.build(), TrainingLog())


class Peeping(Steps):
    def images(self, context: TrainingContext) -> torch.Tensor:
        return context.images.test.images


class Unseeded(Steps):
    def images(self, context: TrainingContext) -> torch.Tensor:
        return super().images(context) * float(np.random.default_rng().random())


class Unchecked(Steps):
    def check(self, method: Method, reconstructor: Any) -> None:
        return


class UnevenLog(Steps):
    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        trained = super().fit(method, context)
        return TrainedMethod(trained.reconstructor, TrainingLog([{"step": 1}, {"loss": 2.0}]))


class Climbing(Steps):
    """It goes up instead of down."""

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        net, x = method.build(), self.images(context)
        (net(context.problem.operator(x)) - x).square().mean().backward()
        with torch.no_grad():
            for weight in net.parameters():
                weight += 0.01 * weight.grad
        return TrainedMethod(net.eval(), TrainingLog())


class Resuming(Steps):
    """Four steps with momentum, and a checkpoint after each; the momentum is in it."""

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        net, file = method.build(), context.folder / "checkpoint.pt"
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        done = 0
        if file.is_file():
            state = torch.load(file, weights_only=True)
            net.load_state_dict(state["net"])
            self.restore(optimizer, state["optimizer"])
            done = state["done"]
        for step in range(done, 4):
            x = self.batch(context, step)
            optimizer.zero_grad()
            (net(context.problem.operator(x)) - x).square().mean().backward()
            optimizer.step()
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "done": step + 1}
            torch.save(state, file)
        return TrainedMethod(net.eval(), TrainingLog())

    def batch(self, context: TrainingContext, step: int) -> torch.Tensor:
        return context.images.train.batch(context.seed, step, 2)

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        optimizer.load_state_dict(state)


class Forgetful(Resuming):
    """It goes on without its momentum."""

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        return


class Unstoppable(Resuming):
    """It takes Ctrl-C for an image that cannot be read."""

    def batch(self, context: TrainingContext, step: int) -> torch.Tensor:
        try:
            return super().batch(context, step)
        except KeyboardInterrupt:
            return torch.zeros(2, 1, 12, 12)


class ClimbingBySteps(Climbing):
    """It goes up instead of down."""

    def __init__(self, steps: Annotated[int, Field(description="of which it makes one")] = 1000) -> None:
        self.steps = steps


class Means(Analyzer):
    """The mean of the reconstructions."""

    def analyze(self, run: CompletedRun) -> Findings:
        return Findings({label: float(x.mean()) for label, x in run.reconstructions.items()}, text="Means.")

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figure = Figure()
        figure.subplots().bar(list(findings.scalars), [float(value) for value in findings.scalars.values()])
        return {"means": figure}


class LeftOpen(Means):
    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"means": pyplot.figure()}


class Writing(Means):
    def analyze(self, run: CompletedRun) -> Findings:
        Path("means.txt").write_text("means")
        return super().analyze(run)


class WritingBySteps(Writing):
    """It writes a file."""

    def __init__(self, level: Annotated[float, Field(description="which it does not use")] = 1.0) -> None:
        self.level = level


class Unsaveable(Means):
    def analyze(self, run: CompletedRun) -> Findings:
        return Findings({"device": run.device})  # type: ignore[dict-item]


class InPlace(Means):
    def analyze(self, run: CompletedRun) -> Findings:
        run.measurements.clamp_(0, 0.5)
        return super().analyze(run)


class Remembering(Means):
    def analyze(self, run: CompletedRun) -> Findings:
        self._run = run
        return super().analyze(run)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {self._run.title: Figure()}


class Rounding(Means):
    """It rounds what it is given while it draws."""

    def analyze(self, run: CompletedRun) -> Findings:
        return Findings(tables={"values": pd.DataFrame({"value": [0.123, 0.456]})}, text="Values.")

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        findings.tables["values"]["value"] = findings.tables["values"]["value"].round(1)
        return {"values": Figure()}


class Random(Means):
    def analyze(self, run: CompletedRun) -> Findings:
        return Findings({"value": float(np.random.default_rng().random())})


BUGS: list[tuple[str, Callable[[Any], None], type]] = [
    ("learns", check_trainer, Idle),
    ("test_images_unused", check_trainer, Peeping),
    ("determinism", check_trainer, Unseeded),
    ("check_refuses", check_trainer, Unchecked),
    ("log", check_trainer, UnevenLog),
    ("improves", check_trainer, Climbing),
    ("interrupted", check_trainer, Forgetful),
    ("interrupted", check_trainer, Unstoppable),
    ("figures_closed", check_analyzer, LeftOpen),
    ("writes_nothing", check_analyzer, Writing),
    ("save_and_load", check_analyzer, Unsaveable),
    ("run_unchanged", check_analyzer, InPlace),
    ("draw_from_files", check_analyzer, Remembering),
    ("determinism", check_analyzer, Random),
    ("findings_unchanged", check_analyzer, Rounding),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("check", "cls"), [(check_trainer, Steps), (check_trainer, Resuming), (check_analyzer, Means)])
def test_a_correct_one_passes(check: Callable[[Any], None], cls: type) -> None:
    check(cls)


@pytest.mark.parametrize(("name", "check", "cls"), BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_the_check_that_names_it_finds_a_bug(name: str, check: Callable[[Any], None], cls: type) -> None:
    with pytest.raises(CheckFailure) as caught:
        check(cls)
    assert name in caught.value.checks, str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "reconstruction", "steps": 4, "batch_size": 2},
        {"name": "approximation", "steps": 4, "batch_size": 2},
        {"name": "parameter_search", "trials": 3},
    ],
    ids=lambda spec: spec["name"],
)
def test_our_trainers_pass(spec: dict[str, Any]) -> None:
    check_trainer(Registry.installed().build("trainer", spec))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["certificate", "quality", "training_curves"])
def test_our_cheap_analyses_pass(name: str) -> None:
    check_analyzer(Registry.installed().build("analyzer", name))


@pytest.mark.slow
def test_plugins_are_tried_where_something_is_given_for_them() -> None:
    class Plugin:
        @staticmethod
        @hookimpl
        def invreg_components() -> dict[str, type]:
            return {"climbing": ClimbingBySteps, "my_means": WritingBySteps}

    check_plugin(Plugin)
    with pytest.raises(CheckFailure) as caught:
        check_plugin(Plugin, {"climbing": {"steps": 1}, "my_means": {"level": 0.5}})
    assert {"trainer:climbing.improves", "analyzer:my_means.writes_nothing"} <= set(caught.value.checks)
