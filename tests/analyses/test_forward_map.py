"""Learned forward maps against the operator: distances by hand, pictures, and operators between spaces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_helpers import Learner, draw_svgs, make_run, texts, through_files, with_learners
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.events import Events
from invreg.components.hookspecs import hookimpl
from invreg.components.operator import LinearOperator, NormalOperator, Shape
from invreg.components.problem import Problem
from invreg_analyses.forward_map.forward_map import ForwardMap
from invreg_operators.measured import Measured
from toy import Halved

HALVED = Halved()


def learned(**noise: float) -> CompletedRun:
    run = make_run({"raw": 0.1, "net": 0.0, **noise}, operator=HALVED)
    return with_learners(run, net=Learner(HALVED, lambda x: 0.6 * x))


def test_distances_are_those_computed_by_hand() -> None:
    run = learned()
    table = ForwardMap().analyze(run).tables["accuracy"]
    assert list(table["method"].unique()) == ["net"]  # only methods that have learned a forward map
    assert table["relative"].to_numpy() == pytest.approx(0.2)  # (0.6 - 0.5) / 0.5
    assert table["identity"].to_numpy() == pytest.approx(1.0)
    assert table["defect"].to_numpy() == pytest.approx(0.2)  # R(z) = x, so phi(R(z)) = 0.6 x against z = 0.5 x
    mse = (0.1 * run.images.test.images.double()).square().mean((1, 2, 3))
    assert table["mse"].to_numpy() == pytest.approx(mse.numpy(), rel=1e-5)
    assert (table["ssim"] < 1).all()


def test_progress_is_told_to_the_last_image(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, float]] = []

    class Listener:
        @hookimpl
        def invreg_progress(self, label: str, stage: str, done: float, total: float) -> None:
            told.append((done, total))

    monkeypatch.setattr("invreg_analyses.shared.progress._SECONDS", -1.0)
    run = replace(learned(), batch_size=1, events=Events(None, [Listener()]))
    ForwardMap().analyze(run)
    count = 2 * len(run.images.test.images)
    assert told == [(done, count) for done in range(1, count + 1)]


def test_a_network_that_is_the_operator_has_no_error() -> None:
    run = make_run({"net": 0.0}, operator=HALVED)
    run = with_learners(run, net=Learner(HALVED, HALVED))
    findings = ForwardMap().analyze(run)
    table = findings.tables["accuracy"]
    assert (table[["mse", "relative", "defect"]] == 0).all(axis=None)
    assert table["ssim"].to_numpy() == pytest.approx(1)
    assert np.array_equal(findings.arrays["learned"], findings.arrays["target"])


@pytest.mark.slow
def test_the_sentence_and_the_figures_say_it(tmp_path: Path) -> None:
    findings = ForwardMap(count=2).analyze(learned())
    assert findings.text == (
        "The mean distance of φ(x) from F(x), relative to ‖F(x)‖, is 20.0 % for net (100 % for the identity)."
    )
    figures = draw_svgs(ForwardMap(), through_files(findings, tmp_path))
    assert figures == draw_svgs(ForwardMap(), findings)
    assert set(figures) == {"accuracy", "picture_1", "picture_2"}
    assert {"net", "identity"} <= set(texts(figures["accuracy"]))
    assert {"x", "F(x)", "φ(x), net", "20.0 % away"} <= set(texts(figures["picture_1"]))


def test_images_run_from_the_worst_to_the_best() -> None:
    def wrong_on_dark(x: Tensor) -> Tensor:
        return 0.5 * x + 0.1 * (x.mean((1, 2, 3), keepdim=True) < 0.4)

    run = make_run({"net": 0.0}, operator=HALVED, count=4)
    run.images.test.images[2] *= 0.5
    run = with_learners(run, net=Learner(HALVED, wrong_on_dark))
    assert ForwardMap(count=2).analyze(run).tables["images"]["image"].iloc[0] == "image-2"


class Doubled(LinearOperator):
    """Every pixel twice: A*A = 2 Id, so that A*A / ||A||² is the identity."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=-1)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (*domain_shape[:2], 2 * domain_shape[2])

    def domain_shape(self, range_shape: Shape) -> Shape:
        return (*range_shape[:2], range_shape[2] // 2)


def test_measurements_that_are_no_images_are_brought_back() -> None:
    run = make_run({"net": 0.0}, operator=Doubled())
    run = with_learners(run, net=Learner(NormalOperator(Doubled(), (1, 16, 20)), lambda x: 1.1 * x))
    table = ForwardMap().analyze(run).tables["accuracy"]
    assert table["relative"].to_numpy() == pytest.approx(0.1, rel=1e-4)
    assert table["identity"].to_numpy() == pytest.approx(0.0, abs=1e-5)
    assert table["defect"].to_numpy() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.slow
def test_tiny_images_have_no_ssim_and_other_data_no_defect() -> None:
    run = make_run({"net": 0.1}, operator=HALVED, size=(8, 9), metrics=("psnr",), measurements=torch.rand(5, 3))
    run = with_learners(run, net=Learner(HALVED, lambda x: 0.6 * x))
    findings = ForwardMap().analyze(run)
    assert findings.tables["accuracy"][["ssim", "defect"]].isna().all(axis=None)
    assert "5 not finite" in texts(draw_svgs(ForwardMap(), findings)["accuracy"])


@pytest.mark.slow
def test_several_networks_colour_and_batches() -> None:
    run = make_run({"a": 0.1, "b": 0.1}, operator=HALVED, channels=3, count=3)
    run = with_learners(run, a=Learner(HALVED, lambda x: 0.6 * x), b=Learner(HALVED, HALVED))
    findings = ForwardMap().analyze(run)
    assert findings.arrays["learned"].shape == (2, 3, 3, 16, 20)
    assert findings.tables["accuracy"].groupby("method")["relative"].mean().to_dict() == pytest.approx(
        {"a": 0.2, "b": 0.0}
    )
    draw_svgs(ForwardMap(), findings)
    assert np.isfinite(findings.arrays["target"]).all()
    assert not math.isnan(findings.tables["accuracy"]["mse"].sum())


@pytest.mark.slow
def test_measurements_stand_for_an_operator_that_is_not_known() -> None:
    run = make_run({"net": 0.0}, operator=HALVED)
    z = run.measurements + 0.01 * torch.randn(run.measurements.shape, generator=torch.Generator().manual_seed(0))
    run = replace(run, measurements=z, problem=Problem(Measured()))
    run = with_learners(run, net=Learner(Measured(), lambda x: 0.6 * x))
    findings = ForwardMap(count=1).analyze(run)
    x = run.images.test.images
    away = (0.6 * x - z).flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1)
    assert findings.tables["accuracy"]["relative"].to_numpy() == pytest.approx(away.numpy(), rel=1e-5)
    assert findings.scalars == {"target": "z"}
    assert findings.text.startswith("The mean distance of φ(x) from the measurement z, relative to ‖z‖, is ")
    drawn = draw_svgs(ForwardMap(count=1), findings)
    assert "forward map to measurement, %" in texts(drawn["accuracy"])
    shown = texts(drawn["picture_1"])
    assert {"x", "z", "φ(x) − z"} <= set(shown)
    assert "F(x)" not in shown
    known = with_learners(make_run({"net": 0.0}, operator=HALVED), net=Learner(HALVED, lambda x: 0.6 * x))
    assert ForwardMap(count=1).analyze(known).scalars == {}
