"""Conformal bounds: their ranks, their coverage, what is known without the truth, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis_helpers import draw_svgs, make_run, set_values, texts, through_files
from scipy.stats import betabinom, kstest

import invreg
from invreg.components.analyzer import CompletedRun, Findings
from invreg.components.dataset import ImageStack
from invreg.errors import SpecError
from invreg.testing import check_analyzer
from invreg_analyses.conformal.calibration import fit_line, ranks
from invreg_analyses.conformal.conformal import Conformal
from invreg_metrics.metrics import PSNR
from toy import Halved


def calibrated(coverage: float = 0.9, two_sided: bool = False, count: int = 20) -> tuple[CompletedRun, Findings]:
    run = make_run({"raw": 0.1, "net": 0.05}, count=count, size=(8, 8), weights={"net": 3}, metrics=("psnr", "mse"))
    return run, Conformal(coverage, two_sided=two_sided).analyze(run)


@pytest.mark.parametrize(("two_sided", "coverage"), [(False, 0.9), (True, 0.8), (False, 0.97)])
def test_coverage_over_1000_random_splits_is_exact(two_sided: bool, coverage: float) -> None:
    rng = np.random.default_rng(5)
    calibration, further, splits = 40, 60, 1000
    chosen = ranks(calibration, coverage, two_sided)
    covered = []
    for _ in range(splits):
        values = rng.permutation(rng.standard_t(2, calibration + further))
        low, high = chosen.ends(values[:calibration])
        covered.append(int(((values[calibration:] >= low) & (values[calibration:] <= high)).sum()))
    inside = chosen.high - chosen.low
    law = betabinom(further, inside, calibration + 1 - inside)
    assert law.mean() == pytest.approx(further * chosen.coverage)
    assert chosen.coverage >= coverage
    assert abs(np.mean(covered) - law.mean()) < 4 * law.std() / splits**0.5
    # Not the mean alone: all counts have the law, blurred to make it continuous.
    blurred = np.array(covered) + rng.uniform(-0.5, 0.5, splits)
    grid = np.arange(-1, further + 1)
    assert kstest(blurred, lambda x: np.interp(x, grid + 0.5, law.cdf(grid))).pvalue > 1e-3


@pytest.mark.parametrize(
    ("count", "coverage", "two_sided", "expected"),
    [
        (9, 0.9, False, (1, 10)),
        (19, 0.9, False, (2, 20)),
        (18, 0.9, False, (1, 19)),
        (19, 0.9, True, (1, 19)),
        (39, 0.9, True, (2, 38)),
        (1, 0.5, False, (1, 2)),
        (99, 0.99, False, (1, 100)),
    ],
)
def test_ranks_use_every_image(count: int, coverage: float, two_sided: bool, expected: tuple[int, int]) -> None:
    found = ranks(count, coverage, two_sided)
    assert (found.low, found.high) == expected
    low, high = found.coverage_range()
    assert low < found.coverage < high


@pytest.mark.parametrize(
    ("coverage", "two_sided", "needed"), [(0.9, False, 9), (0.95, False, 19), (0.99, False, 99), (0.9, True, 19)]
)
def test_too_few_images_are_refused_with_the_number_that_is_needed(
    coverage: float, two_sided: bool, needed: int
) -> None:
    ranks(needed, coverage, two_sided)
    with pytest.raises(SpecError) as caught:
        ranks(needed - 1, coverage, two_sided)
    assert caught.value.where == "conformal.coverage"
    assert f"at least {needed} test images" in str(caught.value)
    suggested = str(caught.value.hint).partition(", or")[0].removeprefix("coverage: ")
    ranks(needed - 1, float(suggested), two_sided)


def test_the_bound_is_an_order_statistic_on_the_worse_side() -> None:
    run, found = calibrated(count=20)  # rank floor(21 * 0.1) = 2
    values = run.metrics[run.metrics["method"] == "net"]
    assert found.scalars["bound_net"] == np.sort(values["psnr"])[1]
    assert found.scalars["exact_coverage"] == pytest.approx(19 / 21)
    by_error = Conformal(metric="mse").analyze(run)
    assert by_error.scalars["bound_net"] == np.sort(values["mse"])[-2]
    assert "at most" in by_error.text
    assert "at least" in found.text
    assert "PSNR" in found.text
    both = Conformal(0.8, two_sided=True).analyze(run).tables["bounds"].iloc[0]
    raw = np.sort(run.metrics.loc[run.metrics["method"] == "raw", "psnr"])
    assert (both["low"], both["high"]) == (raw[1], raw[18])


def test_values_that_are_not_numbers_count_as_worst() -> None:
    run = make_run({"raw": 0.1}, count=9, size=(8, 8), metrics=("psnr",))
    set_values(run, "psnr", {"raw": [30.0, float("nan"), *[31.0] * 7]})
    found = Conformal().analyze(run)
    assert found.scalars["bound_raw"] == -np.inf
    assert Conformal(0.8).analyze(run).scalars["bound_raw"] == 30.0
    assert Conformal().draw(found)


class Blurred(PSNR):
    """Stands for a metric that follows a number known without the truth, but for a little."""

    def __call__(self, x_hat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        detail = x_hat.diff(dim=-1).square().mean((1, 2, 3)) + x_hat.diff(dim=-2).square().mean((1, 2, 3))
        return 20 - 6 * detail.sqrt().log10() + 0.1 * x_hat[:, 0, 0, 0]


def test_what_is_known_without_the_truth_makes_bounds_tighter() -> None:
    run = make_run({"net": 0.0}, count=30, size=(8, 8), weights={"net": 3}, metrics=("psnr",))
    contrast = torch.logspace(-1, 0, 30).view(-1, 1, 1, 1)
    stack = ImageStack(run.images.test.images * contrast, run.images.test.names)
    z = Halved()(stack.images)
    run = replace(
        run,
        images=replace(run.images, val=stack, test=stack),
        measurements=z,
        reconstructions={"net": stack.images},
        metric_components={"psnr": Blurred()},
    )
    set_values(run, "psnr", {"net": Blurred()(stack.images, stack.images).tolist()})
    found = Conformal(two_sided=True).analyze(run)
    bounds = found.tables["bounds"].set_index("known")
    chosen = bounds[bounds["chosen"]]
    assert list(chosen.index) == ["detail"]
    assert bounds.loc["detail", "slope"] == pytest.approx(-6, abs=1.5)
    width = bounds["high"] - bounds["low"]
    assert width["detail"] < 0.1 * width["nothing"]
    images = found.tables["images"]
    inside = images["value"].between(images["low"] - 1e-9, images["high"] + 1e-9).groupby(images["known"]).sum()
    assert (inside == 29).all()  # ranks 1 to 29
    assert "from its detail" in found.text


def test_validation_predicts_and_never_calibrates() -> None:
    run, found = calibrated()
    worse = replace(run.images, val=ImageStack(run.images.val.images * 0.1, run.images.val.names))
    other = Conformal().analyze(replace(run, images=worse))
    lines = [one.tables["bounds"].set_index(["method", "known"]) for one in (found, other)]
    plain = [one.loc[(slice(None), "nothing"), ["low", "mean_low"]] for one in lines]
    assert plain[0].equals(plain[1])
    assert not lines[0]["intercept"].equals(lines[1]["intercept"])


def test_a_line_needs_several_different_numbers() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    line = fit_line(np.array([0.0, 1.0, 2.0, 3.0, 9.0]), values)
    assert line is not None
    assert (line.intercept, line.slope, line.spread) == pytest.approx((1, 1, 0), abs=1e-9)
    assert fit_line(np.zeros(5), values) is None
    assert fit_line(np.arange(3.0), np.arange(3.0)) is None
    mean = fit_line(None, np.array([1.0, 2.0, 6.0]))
    assert mean is not None
    assert (mean.intercept, mean.slope) == (pytest.approx(3), 0)
    assert mean.spread == pytest.approx(np.sqrt(((-3) ** 2 + (-1.5) ** 2 + 4.5**2) / 3))


def test_a_metric_that_the_run_does_not_have_is_refused() -> None:
    run, _ = calibrated()
    with pytest.raises(SpecError, match="psnr"):
        Conformal(metric="pnsr").analyze(run)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "data": {"name": "phantoms", "image_size": 16, "train": 1, "val": 1, "test": 3},
        "operator": "identity",
        "noise": "none",
        "methods": {"observation": "observation"},
        "metrics": ["mse"],
    }
    for analysis, where, words in [
        ({"name": "conformal"}, "analyses.1.coverage", "at least 9 test images"),
        ({"name": "conformal", "coverage": 0.6, "metric": "psnr"}, "analyses.1.metric", "one of mse"),
        ({"name": "noise_mismatch"}, "analyses.1.parameter", "noise with a level"),
    ]:
        with pytest.raises(SpecError, match=words) as caught:
            invreg.run({**spec, "analyses": ["quality", analysis]}, output=tmp_path, progress=False)
        assert caught.value.where == where
        assert not list(tmp_path.glob("*/methods"))


@pytest.mark.slow
def test_figures_name_methods_and_bounds(tmp_path: Path) -> None:
    _, found = calibrated()
    svgs = draw_svgs(Conformal(), through_files(found, tmp_path))
    assert set(svgs) == {"bounds", "known"}
    written = texts(svgs["bounds"])
    assert {"raw", "net", "PSNR, dB (higher is better)"} <= set(written)
    assert f"{found.scalars['bound_net']:.2f}" in written
    assert {"raw", "net"} <= set(texts(svgs["known"]))


@pytest.mark.slow
def test_it_is_an_analysis_as_it_should_be() -> None:
    check_analyzer(Conformal(coverage=0.5))
    check_analyzer(Conformal(0.8, metric="mse", two_sided=True), calibrated()[0])
