"""Clusters of saliency maps: planted ones are found, equal maps have equal ones, nonsense is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_helpers import Learner, Stand, draw_svgs, make_run, texts, through_files, with_learners
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from numpy.typing import NDArray
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.dataset import ImageStack, Splits
from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.errors import DataError, InvregError, SpecError
from invreg.plugins.registry import Registry
from invreg_analyses.saliency.cluster_numbers import cluster_numbers
from invreg_analyses.saliency.clustering import agreement, by_edges, cluster, k_means, pca_k_means, spectral
from invreg_analyses.saliency.clusters import SaliencyClusters, typical_images
from invreg_analyses.saliency.figures import CLUSTER_COLORS, draw_kernels
from invreg_analyses.saliency.kernel_spread import normalised, spread_of
from invreg_analyses.saliency.text import chance, clusters_seen
from invreg_analyses.shared.canny_edges import NO_EDGE, STRONG, WEAK, find_edges, smooth_areas
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.diffusion.perona_malik import PeronaMalik

SMALL = {"pixels": 150, "window": 5, "count": 1, "largest": 4, "references": 3, "repeats": 2}


def contours(count: int = 3, size: tuple[int, int] = (24, 28)) -> Tensor:
    """Dark images with bright rectangles: clear edges and smooth areas."""
    x = torch.full((count, 1, *size), 0.2) + 0.01 * torch.rand(
        (count, 1, *size), generator=torch.Generator().manual_seed(0)
    )
    for index in range(count):
        x[index, :, 8:16, 8 : 14 + 2 * index] += 0.6
    return x


class KeepsEdges(Operator):
    """Two kinds of pixels: what is bright stays as it is, what is dark is blurred."""

    def forward(self, x: Tensor) -> Tensor:
        mask = (x.detach() > 0.5).to(x.dtype)
        blurred = (x + x.roll(1, -1) + x.roll(-1, -1) + x.roll(1, -2) + x.roll(-1, -2)) / 5
        return mask * x + (1 - mask) * blurred


def run_on(x: Tensor, operator: Operator, phi: Callable[[Tensor], Tensor] | None = None, seed: int = 0) -> CompletedRun:
    names = [f"image-{index}" for index in range(len(x))]
    run = make_run({"net": 0.1, "raw": 0.2}, len(x), tuple(x.shape[-2:]), x.shape[1], metrics=("psnr",), seed=seed)  # type: ignore[arg-type]
    stack = ImageStack(x, names)
    run = replace(run, problem=Problem(operator), images=Splits(run.images.train, stack, stack))
    return with_learners(run, net=Learner(operator, phi or operator.forward))


# -- the whole analysis


@pytest.mark.slow
def test_planted_clusters_are_found(tmp_path: Path) -> None:
    run = run_on(contours(), KeepsEdges())
    findings = SaliencyClusters(**SMALL).analyze(run)
    labels, pixels = findings.arrays["labels"], findings.arrays["pixels"]
    truth = findings.arrays["truth"][0, 0]
    bright = truth[pixels[:, 0], pixels[:, 1]] > 0.5
    for own in labels[:, 0]:
        assert agreement(own, bright.astype(int)) == 1.0
    clusters = findings.tables["clusters"].set_index(["map", "cluster"])
    kept = "green" if clusters.loc[("F", "green"), "center"] == pytest.approx(1.0) else "orange"
    blurred = "orange" if kept == "green" else "green"
    assert clusters.loc[("net", kept), "radius"] == pytest.approx(0.0, abs=1e-6)
    assert clusters.loc[("net", blurred), "center"] == pytest.approx(0.2, abs=1e-6)
    assert clusters.loc[("net", blurred), "radius"] == pytest.approx(np.sqrt(0.8), abs=1e-6)
    assert clusters.loc["F", "edge_share"].iloc[0] >= clusters.loc["F", "edge_share"].iloc[-1]
    assert set(findings.tables["choices"]["gap"]) == {2}
    assert set(findings.tables["choices"]["elbow"]) == {2}
    stability = findings.tables["stability"]
    assert (stability[["seeds", "samples", "k_means", "pca_k_means", "like_operator"]] == 1).all(axis=None)
    assert findings.scalars["operator"] == "F"
    assert "image-" in findings.text
    drawn = draw_svgs(SaliencyClusters(), through_files(findings, tmp_path))
    assert list(drawn) == ["pixels_1", "means_1", "numbers"]
    assert {"operator F", "net"} <= set(texts(drawn["pixels_1"]))
    assert drawn == draw_svgs(SaliencyClusters(), findings)


class Dense(Operator):
    """A given matrix on the pixels of an image."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.to(x).T).view_as(x)


@pytest.mark.slow
def test_rows_and_clusters_are_those_of_dense_matrices() -> None:
    x = contours(1, (20, 22))
    height, width = x.shape[-2:]
    generator = torch.Generator().manual_seed(7)
    near = torch.rand(height * width, height * width, generator=generator, dtype=torch.float64)
    identity = torch.eye(height * width, dtype=torch.float64)
    upper = (torch.arange(height * width) < 10 * width).double()[:, None]
    matrices = {"F": upper * (identity + 0.01 * near) + (1 - upper) * near, "net": identity + upper * near}

    run = run_on(x, Dense(matrices["F"]), Dense(matrices["net"]))
    findings = SaliencyClusters(**SMALL).analyze(run)
    pixels = findings.arrays["pixels"]
    on_edge = findings.arrays["edges"][0][pixels[:, 0], pixels[:, 1]]
    for number, name in enumerate(["F", "net"]):
        rows = matrices[name].view(height, width, height, width).numpy()
        windows = np.stack([rows[i, j, i - 2 : i + 3, j - 2 : j + 3] for i, j in pixels])
        np.testing.assert_allclose(findings.arrays["kernels"][number, 0], windows, rtol=1e-5, atol=1e-6)
        expected = by_edges(cluster(windows.astype(np.float32), 2, 11), on_edge)
        assert agreement(findings.arrays["labels"][number, 0], expected) == 1.0
        assert agreement(expected, (pixels[:, 0] < 10).astype(int)) == 1.0


@pytest.mark.slow
def test_equal_maps_have_equal_clusters_and_every_time_the_same() -> None:
    operator = PeronaMalik(steps=2)
    run = run_on(contours(), operator)
    findings = SaliencyClusters(**SMALL).analyze(run)
    first, second = findings.arrays["kernels"]
    np.testing.assert_allclose(first, second, atol=2e-6)
    np.testing.assert_array_equal(*findings.arrays["labels"])
    assert findings.tables["stability"]["like_operator"].tolist() == [1.0, 1.0]
    again = SaliencyClusters(**SMALL).analyze(run)
    for name, array in findings.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    for name, table in findings.tables.items():
        assert table.equals(again.tables[name])
    assert findings.text == again.text
    other = SaliencyClusters(**SMALL).analyze(replace(run, seed=1))
    assert not np.array_equal(other.arrays["pixels"], findings.arrays["pixels"])


@pytest.mark.slow
def test_perona_malik_keeps_edges_apart() -> None:
    x = contours()
    findings = SaliencyClusters(**(SMALL | {"pixels": 300})).analyze(run_on(x, PeronaMalik()))
    clusters = findings.tables["clusters"].set_index(["map", "cluster"])
    green, orange = clusters.loc[("F", "green")], clusters.loc[("F", "orange")]
    assert green["edge_share"] > 3 * orange["edge_share"]
    assert green["radius"] < orange["radius"]
    assert green["pixels"] + orange["pixels"] == 300


@pytest.mark.slow
def test_equal_maps_everywhere_are_one_cluster() -> None:
    """A linear blur does the same to every pixel: nothing must be made of rounding errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = SaliencyClusters(**SMALL).analyze(run_on(contours(), GaussianBlur(kernel_size=5, std=1.0)))
    assert (findings.arrays["labels"] == 0).all()
    assert findings.tables["clusters"]["cluster"].tolist() == ["green", "green"]
    assert set(findings.tables["choices"]["gap"]) == {1}
    assert "all maps of F are the same, one cluster" in findings.text
    assert np.isnan(findings.arrays["mean_kernels"][:, :, 1]).all()
    assert "no such" in draw_svgs(SaliencyClusters(), findings)["means_1"]


@pytest.mark.slow
def test_rounding_errors_tell_no_maps_apart() -> None:
    rng = np.random.default_rng(0)
    kinds, which = rng.normal(size=(3, 9, 9)), rng.choice(3, 400, p=[0.9, 0.07, 0.03])
    kernels = (kinds[which] * (1 + 1e-6 * rng.normal(size=(400, 9, 9)))).astype(np.float32)
    for method in (spectral, k_means, pca_k_means):
        for clusters in (2, 3, 5):
            labels = cluster(kernels, clusters, 0, method)
            assert all(len(np.unique(labels[which == kind])) == 1 for kind in range(3))
            assert len(np.unique(labels)) == min(clusters, 3)


@pytest.mark.slow
def test_a_blur_with_borders_has_one_cluster_inside() -> None:
    run = run_on(contours(), GaussianBlur(kernel_size=9, std=1.5))
    findings = SaliencyClusters(count=1, pixels=200, window=5, references=2, repeats=1).analyze(run)
    rows, columns = findings.arrays["pixels"].T
    height, width = run.images.test.image_shape[1:]
    inside = (rows >= 5) & (rows < height - 5) & (columns >= 5) & (columns < width - 5)
    assert inside.any()
    assert len(np.unique(findings.arrays["labels"][0, 0][inside])) == 1


@pytest.mark.slow
def test_colour_images_and_several_images() -> None:
    x = contours(4).repeat(1, 3, 1, 1)
    findings = SaliencyClusters(**(SMALL | {"count": 2, "repeats": 1, "references": 2})).analyze(
        run_on(x, KeepsEdges())
    )
    assert findings.arrays["labels"].shape == (2, 2, 150)
    assert findings.arrays["truth"].shape == (2, 3, 24, 28)
    assert len(findings.tables["images"]) == 2
    assert len(draw_svgs(SaliencyClusters(), findings)) == 5
    few = SaliencyClusters(**(SMALL | {"count": 9, "repeats": 1, "references": 2})).analyze(
        run_on(contours(2), KeepsEdges())
    )
    assert len(few.tables["images"]) == 2


@pytest.mark.slow
def test_weights_and_modes_are_left_as_they_were() -> None:
    net = Learner(KeepsEdges(), KeepsEdges().forward)
    net.train()
    run = with_learners(run_on(contours(), KeepsEdges()), net=net)
    SaliencyClusters(**SMALL).analyze(run)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_shares_that_differ_by_chance_are_said_to() -> None:
    table = pd.DataFrame(
        {
            "map": ["F", "F", "net", "net"],
            "image": "one",
            "cluster": ["green", "orange"] * 2,
            "pixels": [200, 100, 200, 100],
            "edge_pixels": [60, 5, 62, 30],
            "edge_share": [0.3, 0.05, 0.31, 0.3],
            "radius": [0.5, 0.9, 0.5, 0.9],
        }
    )
    assert chance(table[:2]) < 1e-6
    assert chance(table[2:]) > 0.5
    assert clusters_seen(table) == (
        "F green 200 pixels (30 % on edges, radius 0.500), orange 100 pixels (5.0 % on edges, radius 0.900); "
        "net green 200 pixels (31 % on edges, radius 0.500), orange 100 pixels (30 % on edges, radius 0.900), "
        "shares that may differ by chance, so that the colours mean nothing."
    )


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "maps"), [(2, 2), (2, 5), (4, 2), (8, 3), (8, 5)])
def test_nothing_leaves_figures_of_mean_maps(clusters: int, maps: int) -> None:
    kernels = np.random.default_rng(0).normal(size=(maps, clusters, 9, 9)).astype(np.float32)
    names, lines = [f"map {i}" for i in range(maps)], [["120 pixels\n34 % on edges"] * clusters] * maps
    rows = dict(list(CLUSTER_COLORS.items())[:clusters])
    figure = draw_kernels(names, kernels, lines, rows, "Mean maps.")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    whole = figure.bbox
    for text in figure.findobj(Text):
        box = text.get_window_extent(renderer)
        if text.get_text():
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= whole.x1
            assert box.y1 <= whole.y1


# -- nonsense


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 8}, "odd"),
        ({"clusters": 1}, r"clusters: input should be greater than or equal to 2 \(given: 1\)"),
        ({"clusters": 99}, r"clusters: input should be less than or equal to 8 \(given: 99\)"),
        ({"clusters": 5, "largest": 4}, "at most, and 5 are used"),
        ({"pixels": 5}, r"pixels: input should be greater than or equal to 10 \(given: 5\)"),
        ({"pixels": 12, "clusters": 3}, "at least 15, for 3 clusters"),
    ],
)
def test_parameters_are_checked_when_built(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SaliencyClusters(**parameters)
    with pytest.raises(SpecError):
        Registry.installed().build("analyzer", {"name": "saliency_clusters", **parameters})


@pytest.mark.parametrize(
    ("x", "parameters", "error", "message"),
    [
        (contours(), {"pixels": 700}, DataError, "700 pixels of images of 24x28"),
        (contours(), {"window": 25}, SpecError, "at most 24"),
        (torch.full((2, 1, 24, 28), 0.4), {}, DataError, "none of 2 test images has edges"),
        (0.45 + 0.02 * contours(), {}, DataError, "has edges"),
    ],
)
def test_unsuitable_images_are_refused(
    x: Tensor, parameters: dict[str, Any], error: type[InvregError], message: str
) -> None:
    with pytest.raises(error, match=message):
        SaliencyClusters(**(SMALL | parameters)).analyze(run_on(x, KeepsEdges()))


def test_a_method_without_a_forward_map_is_not_looked_at() -> None:
    run = run_on(contours(), KeepsEdges())
    assert list(SaliencyClusters().methods_of(run)) == ["net"]
    assert not SaliencyClusters().methods_of(with_learners(run, net=Stand()))


# -- the parts


def two_kinds(count: int = 120) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    kinds = np.arange(count) % 3 == 0
    kernels = np.where(kinds[:, None, None], np.eye(5), np.ones((5, 5)) / 25)
    return (kernels + 0.002 * rng.standard_normal((count, 5, 5))).astype(np.float32), kinds.astype(np.int64)


@pytest.mark.parametrize("method", [spectral, k_means, pca_k_means])
def test_all_methods_find_planted_clusters(method: Callable[..., NDArray[np.int64]]) -> None:
    kernels, kinds = two_kinds()
    assert agreement(cluster(kernels, 2, 3, method), kinds) == 1.0


def test_maps_that_differ_everywhere_do_not_stall_spectral_clustering() -> None:
    noise = np.random.default_rng(0).standard_normal((300, 9, 9)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(np.unique(cluster(noise, 3, 0))) <= {0, 1, 2}


@pytest.mark.slow
def test_statistics_find_the_number_of_planted_clusters() -> None:
    rng = np.random.default_rng(1)
    centers = 4 * np.eye(3, 10)
    vectors = np.concatenate([center + 0.2 * rng.standard_normal((60, 10)) for center in centers])
    found = cluster_numbers(vectors, 6, 5, 0)
    assert (found.elbow, found.by_gap, found.by_gap_star) == (3, 3, 3)
    assert (np.diff(found.within) <= 0).all()
    one = cluster_numbers(rng.uniform(size=(200, 3)), 5, 10, 0)
    assert one.by_gap == 1
    same = cluster_numbers(np.ones((50, 4)), 5, 3, 0)
    assert (same.elbow, same.by_gap, same.by_gap_star) == (1, 1, 1)


def test_within_is_the_sum_of_squares_of_pairs() -> None:
    vectors = np.random.default_rng(2).standard_normal((40, 3))
    pairs = ((vectors[:, None] - vectors) ** 2).sum()
    assert cluster_numbers(vectors, 3, 2, 0).within[0] == pytest.approx(pairs / (2 * 40))


def test_green_lies_on_edges_most_often() -> None:
    labels = np.array([5, 5, 5, 5, 7, 7, 9])
    edges = np.array([0, 0, 1, 1, 2, 0, 0], dtype=np.uint8)
    # The same share: the larger one first, though both have a half.
    assert by_edges(labels, edges).tolist() == [0, 0, 0, 0, 1, 1, 2]
    # Most edge pixels are in the larger cluster, but they are fewer in proportion.
    assert by_edges(np.array([1, 1, 1, 1, 2]), np.array([1, 1, 0, 0, 1], dtype=np.uint8)).tolist() == [1, 1, 1, 1, 0]


def test_measures_of_known_kernels() -> None:
    center, box = np.zeros((3, 3), np.float32), np.ones((3, 3), np.float32)
    center[1, 1] = 2
    sharp = -box / 9
    sharp[1, 1] = 17 / 9
    found = spread_of(np.stack([center, box, sharp, 0 * box]))
    np.testing.assert_allclose(found["radius"][:2], [0, np.sqrt(12 / 9)])
    np.testing.assert_allclose(found["reach"][:2], [0, np.sqrt(12 / 9)])
    np.testing.assert_allclose(found["center"][:3], [1, 1 / 9, 17 / 25], rtol=1e-6)
    np.testing.assert_allclose(found["negative"][:3], [0, 0, 8 / 25], rtol=1e-6)
    np.testing.assert_allclose(found["sum"], [2, 9, 1, 0], rtol=1e-6)
    assert np.isnan(found["radius"][3])
    vectors = normalised(np.stack([-center, sharp]))
    assert vectors[0].min() == -1.0
    assert vectors[0].max() == 0.0
    assert vectors[1, 4] == 1.0
    assert (vectors[1] < 0).sum() == 8
    assert (normalised(0 * box[None]) == 0).all()


def test_edges_are_weak_or_strong_and_smooth_is_away_from_them() -> None:
    x = torch.full((1, 20, 40), 0.3)
    x[:, :, 10:] += 0.5
    x[:, :, 30:] += 0.09  # 18 % of the other step
    edges = find_edges(x)
    assert set(np.unique(edges)) == {NO_EDGE, WEAK, STRONG}
    rows, columns = np.nonzero(edges == STRONG)
    assert set(columns) <= {9, 10}
    assert set(np.nonzero(edges == WEAK)[1]) <= {29, 30}
    assert rows.min() >= 1
    smooth = smooth_areas(edges)
    distance = np.abs(np.arange(40)[:, None] - np.unique(np.nonzero(edges)[1])).min(1)
    np.testing.assert_array_equal(smooth[10], distance >= 2)
    assert not find_edges(torch.full((1, 20, 40), 0.3)).any()


def test_a_single_image_is_a_typical_one() -> None:
    edges = [np.zeros((20, 20), np.uint8) for _ in range(6)]
    for index, one in enumerate(edges):
        one[10, 4 : 4 + 3 * index] = 1
    assert typical_images(edges, 3, 1) == [4]  # the middle of 3, 4 and 5: the others have fewer than 2 %
    assert typical_images(edges, 3, 3) == [3, 4, 5]
    assert typical_images([edges[1], edges[0]], 3, 5) == [0]
