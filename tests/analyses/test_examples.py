"""The examples: which images, which region, which scores, and figures for all sorts of runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_helpers import draw_svgs, make_run, set_values, texts, through_files
from torch import Tensor

from invreg.components.operator import LinearOperator, Shape
from invreg_analyses.examples.examples import Examples
from invreg_analyses.shared.pictures import busiest_region, detail, signed_limit, with_content
from invreg_analyses.shared.statistics import spread_choice

METHODS = {"tv": 0.1, "net": 0.05}


def test_the_choice_runs_evenly_from_worst_to_best() -> None:
    goodness = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert spread_choice(goodness, 3) == [1, 4, 0]
    assert spread_choice(goodness, 2) == [1, 0]
    assert spread_choice(goodness, 1) == [4]
    assert spread_choice(goodness, 9) == [1, 3, 4, 2, 0]
    assert spread_choice(np.array([1.0, math.nan, 0.0]), 2) == [1, 0]


def test_the_best_method_on_average_chooses() -> None:
    run = make_run(METHODS, count=4)
    set_values(run, "psnr", {"tv": [40.0, 10.0, 10.0, 10.0], "net": [20.0, 30.0, 24.0, 22.0]})
    findings = Examples(count=3).analyze(run)
    assert findings.scalars["chosen_by"] == "net"
    assert list(findings.tables["images"]["image"]) == ["image-0", "image-2", "image-1"]
    assert findings.text == "3 of 4 test images, from the worst to the best by the PSNR of net."


def test_lower_is_better_turns_the_order_round() -> None:
    run = make_run(METHODS, count=3, metrics=("mse",))
    set_values(run, "mse", {"tv": [9.0, 9.0, 9.0], "net": [0.3, 0.1, 0.2]})
    assert list(Examples(count=2).analyze(run).tables["images"]["image"]) == ["image-0", "image-1"]


def test_the_busiest_window_is_found() -> None:
    interest = np.zeros((10, 12))
    interest[6:8, 9:11] = 1.0
    top, left, height, width = busiest_region(interest, 3, 3)
    assert (height, width) == (3, 3)
    assert interest[top : top + 3, left : left + 3].sum() == 4
    assert busiest_region(np.zeros((10, 12)), 4, 6) == (3, 3, 4, 6)
    assert busiest_region(np.ones((5, 5)), 5, 5) == (0, 0, 5, 5)


def test_the_region_lies_where_the_methods_differ() -> None:
    run = make_run({"tv": 0.0, "net": 0.0}, count=1, size=(20, 20))
    run.reconstructions["net"][0, 0, 12:16, 2:6] += 0.5
    image = Examples(zoom=0.2).analyze(run).tables["images"].iloc[0]
    assert (image["top"], image["left"], image["height"], image["width"]) == (12, 2, 4, 4)


def test_the_region_of_a_single_method_is_where_it_errs() -> None:
    run = make_run({"net": 0.0}, count=1, size=(20, 20))
    run.reconstructions["net"][0, 0, 3:7, 9:13] -= 0.5
    image = Examples(zoom=0.2).analyze(run).tables["images"].iloc[0]
    assert (image["top"], image["left"]) == (3, 9)


def test_the_region_has_detail_although_the_methods_differ_most_where_nothing_is() -> None:
    run = make_run({"tv": 0.0, "net": 0.0}, count=1, size=(20, 20))
    truth = run.images.test.images
    truth[:] = 0.5
    truth[0, 0, 2:8, 2:8] = torch.eye(6)
    run.reconstructions["net"][0, 0, 12:16, 12:16] += 0.5
    image = Examples(zoom=0.2).analyze(run).tables["images"].iloc[0]
    assert image["top"] < 8
    assert image["left"] < 8


@pytest.mark.parametrize("channels", [1, 3])
def test_images_on_which_nothing_is_to_be_seen_are_left_out(channels: int) -> None:
    images = np.zeros((5, channels, 8, 8), dtype=np.float32)
    images[1:4] = np.indices((8, 8)).sum(0) % 2
    images[4] = np.linspace(0, 1, 8)
    images[0, :, :, 7] = 1  # one strong edge is little to look at
    assert with_content(images, 2) == [1, 2, 3]
    assert with_content(images, 4) == [0, 1, 2, 3, 4]
    assert with_content(np.zeros_like(images), 2) == [0, 1, 2, 3, 4]
    assert 0 < detail(images)[0] < detail(images)[1]
    assert detail(np.ones_like(images)).tolist() == [0] * 5


def test_an_empty_image_is_no_example_while_there_are_others() -> None:
    run = make_run(METHODS, count=4)
    run.images.test.images[2] = 0.3
    set_values(run, "psnr", {"tv": [1.0, 2.0, 9.0, 3.0], "net": [4.0, 2.0, 60.0, 3.0]})
    findings = Examples(count=2).analyze(run)
    assert list(findings.tables["images"]["image"]) == ["image-1", "image-0"]
    assert findings.text.endswith("Left out: 1 with next to no detail.")
    assert "image-2" in list(Examples(count=4).analyze(run).tables["images"]["image"])


@pytest.mark.slow
def test_scores_and_names_stand_at_the_pictures(tmp_path: Path) -> None:
    run = make_run(METHODS, count=1, weights={"net": 3})
    set_values(run, "psnr", {"tv": [31.07], "net": [31.7]})
    set_values(run, "ssim", {"tv": [0.8954], "net": [0.9]})
    findings = through_files(Examples().analyze(run), tmp_path)
    figures = draw_svgs(Examples(), findings)
    assert set(figures) == {"example_1"}
    found = texts(figures["example_1"])
    for text in ("truth", "data", "tv", "net", "image-0", "PSNR 31.07 dB", "SSIM 0.895", "PSNR 31.70 dB", "SSIM 0.900"):
        assert text in found
    assert findings.text.startswith("1 of 1 test image, from the worst to the best by the PSNR of ")


@pytest.mark.slow
def test_figures_from_files_equal_figures_from_memory(tmp_path: Path) -> None:
    names = ["nan", "$x^2$ & <b>\n.png", "very" * 20 + ".png"]
    run = make_run({"1e3": 0.1, "NA": 0.05}, count=3, names=names)
    findings = Examples(count=3).analyze(run)
    figures = draw_svgs(Examples(), findings)
    assert figures == draw_svgs(Examples(), through_files(findings, tmp_path))
    shown = {text for svg in figures.values() for text in texts(svg)}
    assert {"nan", "$x^2$ & <b> .png", "1e3", "NA"} <= shown
    assert any(text.startswith("veryve") and "…" in text for text in shown)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 12])
def test_grey_colour_and_other_images(channels: int, count: int) -> None:
    run = make_run(METHODS, count=count, channels=channels, metrics=("psnr",))
    findings = Examples(count=2).analyze(run)
    assert findings.arrays["truth"].shape == (min(count, 2), channels, 16, 20)
    assert findings.arrays["reconstructions"].shape == (2, min(count, 2), channels, 16, 20)
    assert all(array.dtype == np.float32 for array in findings.arrays.values())
    assert len(draw_svgs(Examples(), findings)) == min(count, 2)


@pytest.mark.slow
@pytest.mark.parametrize("methods", [4, 5, 6, 9])
def test_many_methods_go_into_several_rows(methods: int) -> None:
    run = make_run({f"m{i}": 0.1 for i in range(methods)}, count=1)
    figures = draw_svgs(Examples(), Examples().analyze(run))
    assert {f"m{i}" for i in range(methods)} <= set(texts(figures["example_1"]))


def test_data_that_a_method_hands_on_are_not_shown_twice() -> None:
    run = make_run({"observation": 0.0, "net": 0.1}, count=2)
    run.reconstructions["observation"].copy_(run.measurements)
    findings = Examples().analyze(run)
    assert findings.scalars["data"] == "none"
    assert "data" not in findings.arrays


class Sums(LinearOperator):
    """The sums of the columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-2, keepdim=True)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (domain_shape[0], 1, domain_shape[2])

    def adjoint(self, y: Tensor) -> Tensor:
        return y.expand(-1, -1, 16, -1)


@pytest.mark.slow
def test_data_of_another_shape_are_shown_by_the_adjoint() -> None:
    findings = Examples(count=2).analyze(make_run(METHODS, operator=Sums()))
    assert findings.scalars["data"] == "adjoint"
    assert findings.arrays["data"].shape == (2, 1, 16, 20)
    assert findings.arrays["data"].min() == 0.0
    assert findings.arrays["data"].max() == 1.0
    assert "" not in set(findings.tables["scores"]["method"])  # an image on its own scale has no PSNR
    # The measurement itself, on its own range, stands above.
    assert findings.arrays["measurements"].shape == (2, 1, 1, 20)
    assert findings.arrays["measurements"].min() == 0.0
    assert findings.arrays["measurements"].max() == 1.0
    written = texts(draw_svgs(Examples(), findings)["example_1"])
    assert "data" in written
    assert "below: A* data, scaled" in written
    # Findings of earlier versions have the adjoint only.
    del findings.arrays["measurements"]
    assert "A* data, scaled" in texts(draw_svgs(Examples(), findings)["example_1"])


class RealAndImaginary(LinearOperator):
    """Each image twice, as two channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 1)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (2 * domain_shape[0], *domain_shape[1:])

    def adjoint(self, y: Tensor) -> Tensor:
        return y.unflatten(1, (-1, 2)).sum(2)


@pytest.mark.slow
def test_data_with_other_channels_are_shown_by_their_size() -> None:
    findings = Examples(count=2).analyze(make_run(METHODS, operator=RealAndImaginary()))
    assert findings.arrays["measurements"].shape == (2, 1, 16, 20)
    draw_svgs(Examples(), findings)


def test_data_that_are_no_image_are_left_out() -> None:
    run = make_run(METHODS, measurements=torch.rand(5, 7))
    findings = Examples(count=1).analyze(run)
    assert findings.scalars["data"] == "none"
    assert "data" not in texts(draw_svgs(Examples(), findings)["example_1"])


@pytest.mark.slow
def test_missing_scores_are_visible() -> None:
    run = make_run(METHODS, count=1)
    set_values(run, "psnr", {"tv": [math.nan]})
    assert "PSNR –" in texts(draw_svgs(Examples(), Examples().analyze(run))["example_1"])


@pytest.mark.slow
def test_perfect_reconstructions_are_drawn() -> None:
    run = make_run({"a": 0.0, "b": 0.0}, count=1)
    found = texts(draw_svgs(Examples(), Examples().analyze(run))["example_1"])
    assert "PSNR ∞ dB" in found


def test_the_scale_of_errors_leaves_out_the_largest() -> None:
    values = np.concatenate([np.full(1000, 0.1), [5.0]]).astype(np.float32)
    assert signed_limit(values) == pytest.approx(0.1)
    assert signed_limit(np.array([np.nan], dtype=np.float32)) > 0
