"""Saliency maps on edges and in smooth areas: known kernels, intervals, and images that have no such pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_helpers import Learner, draw_svgs, make_run, texts, through_files, with_learners
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.dataset import ImageStack, Splits
from invreg.components.events import Events
from invreg.components.hookspecs import hookimpl
from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.errors import DataError, SpecError
from invreg_analyses.saliency.edges import EdgeSaliency, equidistant, sample_areas
from invreg_analyses.saliency.text import difference, percent
from invreg_analyses.shared.canny_edges import find_edges, smooth_areas
from invreg_analyses.shared.progress import Progress
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.diffusion.perona_malik import PeronaMalik


def steps(count: int = 6, size: tuple[int, int] = (24, 28)) -> Tensor:
    """A vertical edge in each image, with a little noise."""
    noise = torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(0))
    x = 0.2 + 0.01 * noise
    x[..., 12:] += 0.4
    return x


def run_on(x: Tensor, operator: Operator, phi: Operator) -> CompletedRun:
    names = [f"image-{index}" for index in range(len(x))]
    run = make_run({"net": 0.1}, len(x), (x.shape[-2], x.shape[-1]), metrics=("psnr",))
    stack = ImageStack(x, names)
    run = replace(run, problem=Problem(operator), images=Splits(run.images.train, stack, stack))
    return with_learners(run, net=Learner(operator, phi.forward))


@pytest.mark.slow
def test_edges_and_smooth_areas_of_diffusion_differ(tmp_path: Path) -> None:
    narrow, wide = PeronaMalik(steps=1), PeronaMalik(steps=3)
    findings = EdgeSaliency(pixels=30, window=7).analyze(run_on(steps(), wide, narrow))
    spread = findings.tables["spread"].set_index(["map", "area", "measure"])
    for name in ("F", "net"):
        assert spread.loc[(name, "edges", "radius"), "high"] < spread.loc[(name, "smooth", "radius"), "low"]
        assert spread.loc[(name, "smooth", "negative"), "mean"] < 0.01
    differences = findings.tables["differences"].set_index(["area", "measure"])
    own = findings.tables["values"].pivot(index=["image", "area"], columns="map", values="radius")
    expected = (own["net"] - own["F"]).xs("smooth", level="area").mean()
    row = differences.loc[("smooth", "radius")]
    assert row["difference"] == pytest.approx(expected)
    assert row["high"] < 0  # one step spreads less than three: that is decided
    assert (row["start"], row["end"], row["images"]) == ("F", "net", 6)
    assert "; in smooth areas, net minus operator: −" in findings.text
    assert findings.arrays["kernels"].shape == (2, 6, 2, 7, 7)
    np.testing.assert_allclose(
        findings.arrays["mean_kernels"], findings.arrays["kernels"].mean(1), rtol=1e-5, atol=1e-7
    )
    drawn = draw_svgs(EdgeSaliency(), through_files(findings, tmp_path))
    assert list(drawn) == ["means", "spread"]
    assert {"operator F", "net", "edges", "smooth areas"} <= set(texts(drawn["means"]))
    assert drawn == draw_svgs(EdgeSaliency(), findings)


@pytest.mark.slow
def test_kernels_of_a_linear_blur_are_its_kernel_everywhere() -> None:
    blur = GaussianBlur(kernel_size=5, std=1.0)
    findings = EdgeSaliency(pixels=20, window=5, images=2).analyze(run_on(steps(), blur, blur))
    pulse = torch.zeros(1, 1, 24, 28)
    pulse[..., 12, 14] = 1
    kernel = blur(pulse)[0, 0, 10:15, 12:17].numpy()
    for own in findings.arrays["kernels"].reshape(-1, 5, 5):
        np.testing.assert_allclose(own, kernel, atol=1e-6)
    differences = findings.tables["differences"]
    assert differences["difference"].abs().max() < 1e-6
    assert findings.scalars["images"] == 2


@pytest.mark.slow
def test_a_single_image_has_no_interval() -> None:
    findings = EdgeSaliency(pixels=10, images=1).analyze(run_on(steps(1), PeronaMalik(), PeronaMalik(steps=1)))
    assert findings.tables["spread"]["low"].isna().all()
    assert "one image: no interval" in findings.text
    draw_svgs(EdgeSaliency(), findings)


def test_several_images_without_a_value_are_not_one_image() -> None:
    missing = {"measure": "radius", "difference": np.nan, "low": np.nan, "high": np.nan, "images": 0}
    assert difference(missing) == "not defined (maps are zero)"
    assert percent(np.nan) == "–"


@pytest.mark.slow
def test_images_without_both_kinds_are_left_out_and_listed() -> None:
    x = steps(3)
    x[1] = 0.4
    findings = EdgeSaliency(pixels=10).analyze(run_on(x, PeronaMalik(steps=1), PeronaMalik(steps=1)))
    assert findings.tables["images"]["image"].tolist() == ["image-0", "image-2"]
    assert findings.tables["left_out"].to_dict("records") == [{"image": "image-1", "reason": "no edges"}]
    assert "Left out: 1 image without both areas." in findings.text
    x[:] = 0.4
    with pytest.raises(DataError, match="none of 3 test images has both"):
        EdgeSaliency(pixels=10).analyze(run_on(x, PeronaMalik(steps=1), PeronaMalik(steps=1)))


def test_pixels_are_of_their_kind_inside_and_equidistant() -> None:
    x = steps(1)
    (one,), _ = sample_areas(x, ["a"], 5, 40, 9)
    edges = find_edges(x[0])
    on, off = one.pixels[: one.count], one.pixels[one.count :]
    assert (edges[on[:, 0], on[:, 1]] > 0).all()
    assert smooth_areas(edges)[off[:, 0], off[:, 1]].all()
    assert len(off) == 40
    assert 0 < len(on) <= 40
    assert one.pixels.min() >= 4
    assert (one.pixels.max(0) <= [19, 23]).all()
    area = np.ones((10, 10), dtype=bool)
    np.testing.assert_array_equal(equidistant(area, 4)[:, 0] * 10 + equidistant(area, 4)[:, 1], [0, 33, 66, 99])
    assert len(equidistant(area, 1000)) == 100
    assert len(equidistant(~area, 5)) == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(SpecError, match="odd"):
        EdgeSaliency(window=4)
    with pytest.raises(SpecError, match="at most 24"):
        EdgeSaliency(window=25).analyze(run_on(steps(2), PeronaMalik(), PeronaMalik()))


def test_long_work_is_told_and_short_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, float]] = []

    class Listener:
        @hookimpl
        def invreg_progress(self, label: str, stage: str, done: float, total: float) -> None:
            told.append((label, done, total))

    clock = [0.0]
    monkeypatch.setattr("invreg_analyses.shared.progress.time.monotonic", lambda: clock[0])
    progress = Progress(Events(None, [Listener()]), "analysis", "work", 4)
    progress.advance()
    assert told == []
    clock[0] = 6.0
    progress.advance()
    clock[0] = 6.1
    progress.advance(2)
    assert told == [("analysis", 2, 4), ("analysis", 4, 4)]
    last = Progress(Events(None, [Listener()]), "analysis", "work", 1)
    clock[0] = 60.0
    last.advance()
    assert len(told) == 2
