"""Attacks on maps whose worst perturbations are known: their size, what they do, and what is proven of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis_helpers import draw_svgs, texts, through_files
from test_stability import Given, Matrix, attacked
from torch import Tensor

from invreg.components.analyzer import Findings
from invreg.errors import DataError
from invreg.testing import check_analyzer
from invreg_analyses.stability.adversarial import Adversarial

NORM = 7.0


def attack(proven: dict[str, float | None] | None = None, /, **methods: Any) -> Findings:
    return Adversarial(images=2, radii=(2.0, 0.5, 1.0), iterations=8).analyze(attacked(proven, **methods))


def test_errors_grow_with_the_size_and_stay_below_what_is_proven() -> None:
    found = attack({"net": NORM}, net=Matrix((1, 8, 10), NORM))
    values = found.tables["values"]
    assert list(values["radius"].unique()) == [0, 0.5, 1, 2]
    for _, own in values.groupby("image"):
        assert (own["error"].diff().dropna() > 0).all()
        assert (own["error"] <= own["proven"] * (1 + 1e-5)).all()
        assert (own["random"] <= own["error"] * (1 + 1e-5)).all()
        clean = own["error"].iloc[0]
        growth = (own["error"].iloc[-1] - clean) / own["size"].iloc[-1]
        assert 0.5 * NORM < growth <= NORM * (1 + 1e-5)
        assert own["proven"].iloc[-1] == pytest.approx(clean + NORM * own["size"].iloc[-1])
        np.testing.assert_allclose(own["psnr"], -20 * np.log10(own["error"] / np.sqrt(80)))
    assert found.scalars["violations"] == 0
    assert "proven: not below" in found.text


def test_a_map_that_adds_up_is_pushed_away_from_the_truth() -> None:
    def doubled(z: Tensor) -> Tensor:
        return 2 * z

    run = attacked(net=Given(doubled))
    found = Adversarial(images=3, radii=(3.0,), iterations=5).analyze(run)
    values = found.tables["values"]
    # R(z) - x = 2 n for noise n: the worst d is along n, and the error grows by 2 ||d||.
    ends = values.pivot_table(index="image", columns="radius", values="error")
    sizes = values[values["radius"] == 3].set_index("image")["size"]
    np.testing.assert_allclose(ends[3.0] - ends[0.0], 2 * sizes, rtol=1e-4)
    noise = 2 * (run.measurements - run.problem.operator(run.images.test.images)).flatten(1).norm(dim=1)
    np.testing.assert_allclose(ends[0.0], noise, rtol=1e-4)


def test_a_broken_bound_is_counted_and_said() -> None:
    found = attack({"net": 1.0}, net=Matrix((1, 8, 10), NORM))
    assert found.scalars["violations"] > 0
    assert "VIOLATED" in found.text


def test_a_method_without_gradient_is_searched_with_both_signs() -> None:
    def sign(z: Tensor) -> Tensor:
        return 3 * z.detach()

    found = attack(net=Given(sign), other=Given(lambda z: 3 * z))
    summary = found.tables["summary"].set_index("method")
    assert list(summary["gradient"]) == [False, True]
    last = found.tables["means"].set_index(["method", "radius"])["error"]
    assert last["net", 2.0] <= last["other", 2.0] * (1 + 1e-5)
    assert last["net", 2.0] > last["net", 0.0]
    assert "Searched without gradients, with which more might be found: net." in found.text


def test_a_method_that_fails_costs_the_others_nothing() -> None:
    def broken(z: Tensor) -> Tensor:
        raise DataError("it does not work")

    found = attack(bad=Given(broken), net=Matrix((1, 8, 10), NORM))
    assert set(found.tables["values"]["method"]) == {"net"}
    assert "bad: it does not work." in found.text


def test_attacks_are_the_same_in_any_batch() -> None:
    run = attacked(net=Given(lambda z: torch.tanh(2 * z)))
    found = [
        Adversarial(radii=(1.0,), iterations=4).analyze(replace(run, batch_size=size)).tables["values"]["error"]
        for size in (2, 16)
    ]
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.slow
def test_figures_show_the_proven_line_and_an_attacked_image(tmp_path: Path) -> None:
    found = through_files(attack({"net": NORM}, net=Matrix((1, 8, 10), NORM), raw=Given(lambda z: 2 * z)), tmp_path)
    svgs = draw_svgs(Adversarial(), found)
    assert set(svgs) == {"over_size", "attacked"}
    assert {"net", "raw", "made to harm", "random noise", "proven"} <= set(texts(svgs["over_size"]))
    assert {"net", "raw", "R(z + d)"} <= set(texts(svgs["attacked"]))
    assert found.arrays["perturbation"].shape == (2, 1, 8, 10)
    unit = found.tables["values"].set_index(["method", "image", "radius"])["size"]
    for one in found.arrays["perturbation"]:
        size = unit["net", found.scalars["pictured_image"], 1.0]
        assert np.linalg.norm(one) <= size * (1 + 1e-5)


@pytest.mark.slow
def test_it_is_an_analysis_as_it_should_be() -> None:
    check_analyzer(Adversarial(images=2, iterations=2, radii=(1.0,)))
