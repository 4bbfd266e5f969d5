"""Noise at test time other than in training, in one run: the levels, their noise, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_helpers import draw_svgs, make_run, texts, through_files
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.problem import Problem
from invreg.errors import SpecError
from invreg.testing import check_analyzer
from invreg_analyses.mismatch.levels import all_levels, at_level
from invreg_analyses.mismatch.noise_mismatch import NoiseMismatch
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.no_noise import NoNoise
from toy import Same

STD = 0.02


def noisy_run(std: float = STD) -> CompletedRun:
    """A run whose methods return the measurement, on images that are measured with noise."""
    run = make_run({"raw": 0.1, "net": 0.1}, count=4, size=(12, 16), weights={"net": 3}, metrics=("psnr", "mse"))
    problem = Problem(Same(), GaussianNoise(std))
    z = problem.measure_split(run.images.test.images, "test", run.seed, 2, run.device)
    return replace(run, problem=problem, measurements=z)


def test_the_level_of_the_run_gives_its_measurements_and_others_the_same_pattern() -> None:
    run = noisy_run()
    x, seen = run.images.test.images, list[Tensor]()
    net = run.methods["net"].reconstructor
    net.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    found = NoiseMismatch(levels=(0.1,)).analyze(run)
    assert torch.equal(seen[0], run.measurements)
    torch.testing.assert_close(seen[1] - x, 5 * (run.measurements - x), rtol=1e-4, atol=1e-6)
    means = found.tables["means"].set_index(["method", "metric", "level"])["mean"].sort_index()
    assert list(means.loc["net", "mse"].index) == [STD, 0.1]
    assert means["net", "mse", 0.1] == pytest.approx(25 * means["net", "mse", STD], rel=1e-3)
    assert means["net", "mse", STD] == pytest.approx((run.measurements - x).square().mean().item(), rel=1e-5)
    assert means["net", "psnr", STD] - means["net", "psnr", 0.1] == pytest.approx(20 * np.log10(5), abs=1e-3)


def test_the_levels_are_factors_of_that_of_the_run() -> None:
    assert all_levels(0.02, None) == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert all_levels(0.02, (0.0, 0.02, 0.1)) == [0.0, 0.02, 0.1]
    found = NoiseMismatch().analyze(noisy_run())
    assert sorted(set(found.tables["means"]["level"])) == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert found.scalars["trained_level"] == STD
    assert "From there to 0.08 the mean PSNR of 4 test images goes: raw from" in found.text


def test_batches_make_no_difference() -> None:
    run = noisy_run()
    one, other = (NoiseMismatch(levels=(0.1,)).analyze(replace(run, batch_size=size)) for size in (1, 16))
    assert one.tables["values"].equals(other.tables["values"])


def test_noise_without_that_parameter_is_refused() -> None:
    run = noisy_run()
    for problem in (Problem(Same()), Problem(Same(), NoNoise())):
        with pytest.raises(SpecError, match="no number 'std'"):
            NoiseMismatch().analyze(replace(run, problem=problem))
    with pytest.raises(SpecError, match="one of std"):
        NoiseMismatch(parameter="photons").analyze(run)
    with pytest.raises(SpecError) as caught:
        at_level(run.problem, "std", -1.0, "noise_mismatch")
    assert caught.value.where == "noise_mismatch.levels"


@pytest.mark.slow
def test_the_figure_has_a_panel_per_metric(tmp_path: Path) -> None:
    svgs = draw_svgs(NoiseMismatch(), through_files(NoiseMismatch().analyze(noisy_run()), tmp_path))
    written = texts(svgs["over_levels"])
    assert {"raw", "net", "PSNR, dB (higher is better)", "MSE (lower is better)"} <= set(written)
    assert "noise at test time, std" in written
    zero = NoiseMismatch(levels=(0.0,))
    assert draw_svgs(zero, zero.analyze(noisy_run()))


@pytest.mark.slow
def test_it_is_an_analysis_as_it_should_be() -> None:
    check_analyzer(NoiseMismatch(levels=(0.05,), resamples=1000))
