"""Where, and at which frequencies, learned forward maps depart from operators: against what is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_helpers import Learner, draw_svgs, make_run, texts, through_files, with_learners
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.operator import LinearOperator
from invreg.text import number
from invreg_analyses.forward_map.radial_transfer import HIGHEST, RadialTransfer, ring_image, ring_of
from invreg_analyses.forward_map.regularization_map import RegularizationMap
from toy import Halved

SIZE = (16, 20)


class PeriodicBlur(LinearOperator):
    """x -> (x + its neighbour to the right) / 2, around the border."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x + x.roll(1, -1))


class Weighted(LinearOperator):
    """Every pixel by its own factor."""

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


def run_with(operator: LinearOperator, phi: object, count: int = 4, channels: int = 1) -> CompletedRun:
    run = make_run({"raw": 0.1, "net": 0.0}, operator=operator, size=SIZE, count=count, channels=channels)
    return with_learners(run, net=Learner(operator, phi))  # type: ignore[arg-type]


def symbol_of_blur() -> np.ndarray:
    return np.abs(0.5 * (1 + np.exp(-2j * np.pi * np.fft.fftfreq(SIZE[1]))))[None, :].repeat(SIZE[0], 0)


def test_a_ring_has_its_frequencies_alone_and_all_alike() -> None:
    rings = ring_of(*SIZE, 7)
    image = ring_image(rings, 3, 2, torch.Generator().manual_seed(0))
    assert image.shape == (1, 2, *SIZE)
    assert image.norm() == pytest.approx(1)
    strength = torch.fft.fft2(image[0]).abs().numpy()
    assert strength[:, rings != 3].max() < 1e-12
    assert np.ptp(strength[:, rings == 3]) < 1e-12
    assert rings.max() == 6
    assert pytest.approx(np.sqrt(0.5)) == HIGHEST


def test_the_gain_of_a_periodic_convolution_is_its_symbol() -> None:
    findings = RadialTransfer(images=2, rings=6, directions=1).analyze(run_with(PeriodicBlur(), lambda x: 0.7 * x))
    table, rings = findings.tables["transfer"], ring_of(*SIZE, 6)
    operator = table[table["map"] == "operator"]
    expected = [np.sqrt((symbol_of_blur()[rings == ring] ** 2).mean()) for ring in operator["ring"]]
    assert operator["gain"].to_numpy() == pytest.approx(expected, rel=1e-5)
    assert table[table["map"] == "network"]["gain"].to_numpy() == pytest.approx(0.7, rel=1e-5)
    assert operator["low"].to_numpy() == pytest.approx(operator["high"].to_numpy(), rel=1e-5)


def test_a_network_that_is_the_operator_agrees_with_it() -> None:
    table = RadialTransfer(images=1, rings=5).analyze(run_with(PeriodicBlur(), PeriodicBlur())).tables["values"]
    assert table["network"].to_numpy() == pytest.approx(table["operator"].to_numpy(), rel=1e-5)
    assert table["agreement"].to_numpy() == pytest.approx(1, abs=1e-5)


def test_opposite_responses_disagree() -> None:
    table = RadialTransfer(images=1, rings=3).analyze(run_with(PeriodicBlur(), lambda x: -x)).tables["values"]
    assert (table["agreement"] < 0).all()


@pytest.mark.slow
def test_transfer_is_drawn_from_files_and_says_what_is_seen(tmp_path: Path) -> None:
    findings = RadialTransfer(images=3, rings=6).analyze(run_with(PeriodicBlur(), lambda x: x, channels=3))
    transfer = findings.tables["transfer"].set_index(["map", "ring"])["gain"]
    assert (transfer["network"] > 1.5 * transfer["operator"]).loc[4:].all()
    assert findings.text == (
        f"At the highest frequencies (0.648 cycles per pixel) the gain is 1.00 for net and "
        f"{number(transfer['operator', 5])} for the operator."
    )
    svg = draw_svgs(RadialTransfer(), through_files(findings, tmp_path))["transfer"]
    assert {"net, φ", "operator F", "frequency, cycles per pixel"} <= set(texts(svg))


def test_maps_of_pixelwise_operators_are_exact() -> None:
    factors = torch.linspace(0.2, 1.0, SIZE[0] * SIZE[1]).view(1, 1, *SIZE)
    findings = RegularizationMap(images=2, probes=8).analyze(run_with(Weighted(factors), lambda x: 0.9 * x))
    expected = 0.81 - factors.square().numpy()[0, 0]
    for own in findings.arrays["maps"][0]:
        assert own == pytest.approx(expected, abs=1e-5)
    difference = findings.arrays["differences"][0, 0]
    truth = findings.arrays["truth"][0]
    assert difference == pytest.approx((0.9 - factors.numpy()[0]) * truth, abs=1e-5)


def test_maps_of_mixing_operators_are_the_columns_on_average() -> None:
    findings = RegularizationMap(images=1, probes=2000).analyze(run_with(PeriodicBlur(), lambda x: x))
    maps = findings.arrays["maps"][0, 0]
    # Squared norms of columns: 1 for the identity, 2 / 4 for the blur.
    assert maps.mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(maps - 0.5).max() < 0.5 * 5 * (2 / 2000) ** 0.5


def test_colours_change_together() -> None:
    findings = RegularizationMap(images=1, probes=400).analyze(run_with(PeriodicBlur(), lambda x: 2 * x, channels=3))
    assert findings.arrays["maps"].mean() == pytest.approx(4 - 0.5, abs=0.05)


def test_a_network_that_is_the_operator_has_an_empty_map() -> None:
    findings = RegularizationMap(images=2, probes=8).analyze(run_with(PeriodicBlur(), PeriodicBlur()))
    assert np.abs(findings.arrays["maps"]).max() < 1e-6
    assert findings.tables["places"]["all"].abs().max() < 1e-6


@pytest.mark.slow
def test_maps_are_drawn_from_files_with_numbers(tmp_path: Path) -> None:
    run = run_with(PeriodicBlur(), lambda x: x)
    run.images.test.images[:, :, :, :10] = 0.1
    run.images.test.images[:, :, :, 10:] = 0.9
    findings = RegularizationMap(images=3, probes=32).analyze(run)
    assert np.isfinite(findings.tables["places"][["smooth", "edges", "all"]].to_numpy(dtype=float)).all()
    assert findings.text.startswith("The mean of ‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖² is +0.")
    assert " for net (smooth areas minus edges: " in findings.text
    figures = draw_svgs(RegularizationMap(), through_files(findings, tmp_path))
    assert set(figures) == {"maps_1", "maps_2", "maps_3"}
    assert "net" in texts(figures["maps_1"])


@pytest.mark.slow
def test_images_without_edges_have_no_mean_over_them() -> None:
    run = run_with(PeriodicBlur(), lambda x: x)
    run.images.test.images[:] = 0.5
    findings = RegularizationMap(images=2, probes=8).analyze(run)
    assert findings.tables["places"]["edges"].isna().all()
    draw_svgs(RegularizationMap(), findings)


def test_what_cannot_be_differentiated_is_named() -> None:
    from invreg.errors import InvregError

    def opaque(x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.detach().numpy())

    for analyzer in (RadialTransfer(images=1, rings=2), RegularizationMap(images=1, probes=8)):
        with pytest.raises(InvregError, match="forward map of net"):
            analyzer.analyze(run_with(PeriodicBlur(), opaque))


def test_one_draw_does_not_depend_on_which_networks_there_are() -> None:
    run = make_run({"a": 0.0, "net": 0.0}, operator=Halved(), size=SIZE)
    both = with_learners(run, a=Learner(Halved(), lambda x: x.square()), net=Learner(Halved(), lambda x: x.sin()))
    alone = with_learners(run, net=Learner(Halved(), lambda x: x.sin()))
    rows = [RadialTransfer(images=2, rings=4).analyze(one).tables["values"] for one in (both, alone)]
    first, second = (table[table["method"] == "net"].reset_index(drop=True) for table in rows)
    assert first.equals(second)
