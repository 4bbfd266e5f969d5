"""Measurements without truth: residuals against noise that is known, proven distances, and files of all kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_helpers import Stand, draw_svgs, make_run, texts, through_files, with_learners
from PIL import Image
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.errors import DataError, InvregError, SpecError
from invreg.plugins.registry import Registry
from invreg_analyses.measurements.new_measurements import NewMeasurements
from invreg_analyses.measurements.whiteness import correlation
from invreg_iresnet.iresnet import IResNet
from invreg_operators.measured import Measured
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.no_noise import NoNoise
from invreg_operators.noise.poisson import PoissonNoise
from toy import Halved

STD = 0.05


class Given(Stand):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.__dict__["_function"] = function

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.__dict__["_function"](z)
        return result


def truth(number: int, size: tuple[int, int] = (24, 28)) -> Tensor:
    return torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(number))


def given_run(operator: Operator | None = None, noise: object = GaussianNoise(STD), **methods: Stand) -> CompletedRun:
    run = make_run(dict.fromkeys(methods, 0.0), count=2, size=(16, 20), operator=Halved())
    run = replace(run, problem=Problem(operator or Halved(), noise))  # type: ignore[arg-type]
    return with_learners(run, **methods)


def save(folder: Path, count: int = 4) -> dict[int, Tensor]:
    """Noisy measurements of the truths, by their number of rows, which tells them apart."""
    found = {}
    for number in range(count):
        x = truth(number, (24 + number, 28))
        noise = STD * torch.randn(x.shape, generator=torch.Generator().manual_seed(100 + number))
        np.save(folder / f"{number}.npy", (x / 2 + noise)[0, 0].numpy())
        found[24 + number] = x
    return found


def rows(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method]


def test_residuals_are_compared_with_the_noise(tmp_path: Path) -> None:
    truths = save(tmp_path)
    kernel = torch.ones(1, 1, 3, 3) / 9
    run = given_run(
        right=Given(lambda z: truths[z.shape[-2]].clone()),
        smooth=Given(lambda z: truths[z.shape[-2]] + torch.conv2d(torch.randn(z.shape), kernel, padding=1)),
        nothing=Given(torch.zeros_like),
    )
    findings = NewMeasurements(tmp_path).analyze(run)
    table = findings.tables["measurements"]
    assert list(table["file"]) == [f"{i}.npy" for i in range(4) for _ in range(3)]
    right = rows(table, "right")
    for row in right.itertuples():
        z = torch.from_numpy(np.load(tmp_path / str(row.file)))
        x = truths[len(z)][0, 0]
        assert row.residual == pytest.approx(float((x / 2 - z).double().square().mean().sqrt()), rel=1e-5)
        assert row.correlation == pytest.approx(correlation(x / 2 - z))
    assert right["residual"].to_numpy() == pytest.approx(STD, rel=0.1)
    assert right["expected"].to_numpy() == pytest.approx(STD, rel=0.1)
    # The noise is what the model draws: its p-values are those of draws among draws.
    assert (right["p"] >= 1 / 40).all()
    assert right["p"].max() > 0.2
    assert rows(table, "smooth")["p"].to_numpy() == pytest.approx(1 / 40)
    assert (rows(table, "nothing")["residual"] > 4 * STD).all()
    assert table[["distance", "noise_distance"]].isna().all(axis=None)
    assert "4 measurements without truth." in findings.text
    assert "smooth: a residual of" in findings.text
    assert "4 residuals more correlated than noise" in findings.text


@pytest.mark.slow
def test_without_noise_or_operator_nothing_is_compared(tmp_path: Path) -> None:
    save(tmp_path, 2)
    clean = NewMeasurements(tmp_path).analyze(given_run(noise=NoNoise(), net=Given(lambda z: 2.2 * z)))
    table = clean.tables["measurements"]
    assert table[["expected", "p"]].isna().all(axis=None)
    assert (table["residual"] > 0).all()
    assert (table["correlation"] > 0).all()
    unknown = NewMeasurements(tmp_path).analyze(given_run(Measured(), net=Given(lambda z: 2.2 * z)))
    assert unknown.tables["measurements"][["residual", "correlation", "p"]].isna().all(axis=None)
    assert set(draw_svgs(NewMeasurements(tmp_path), unknown)) == {"measurement_1", "measurement_2"}


def test_noise_that_depends_on_the_signal_takes_negative_measurements(tmp_path: Path) -> None:
    save(tmp_path, 2)
    np.save(tmp_path / "0.npy", np.load(tmp_path / "0.npy") - 0.2)
    run = given_run(noise=PoissonNoise(100.0), net=Given(lambda z: (2 * z).clamp(0, 1)))
    assert NewMeasurements(tmp_path).analyze(run).tables["measurements"]["p"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_distances_are_proven(tmp_path: Path, known: bool) -> None:
    save(tmp_path, 2)
    run = given_run(None if known else Measured(), net=Given(lambda z: z))
    net = IResNet(subnetworks=2, channels=2, hidden=4, kernel_size=3, lipschitz=0.9)
    net.setup(run.problem, (1, 16, 20))
    run = with_learners(run, net=net)
    table = NewMeasurements(tmp_path).analyze(run).tables["measurements"]
    again = net.eval()
    for row in table.itertuples():
        z = torch.from_numpy(np.load(tmp_path / str(row.file)))
        assert 0 < row.distance < 0.1
        # The noise has the norm STD sqrt(n), and the network is 1 / (1 - 0.9) stable at most in each part.
        assert row.noise_distance > row.distance
        assert row.noise_distance > 0.1 * STD * math.sqrt(z.numel())
        moved = z + STD / 2 * torch.ones_like(z)
        with torch.no_grad():
            change = float((again(moved[None, None]) - again(z[None, None])).norm())
        assert change <= row.noise_distance
    assert table["residual"].notna().all() == known


def test_the_certificate_of_the_run_is_used_for_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 2)
    run = given_run(net=Given(lambda z: z))
    net = IResNet(subnetworks=1, channels=1, hidden=1, kernel_size=3, lipschitz=0.9)
    net.setup(run.problem, (1, 16, 20))
    run = replace(with_learners(run, net=net), certificates={"net": net.certificate()})
    made: list[IResNet] = []
    monkeypatch.setattr(IResNet, "certificate", made.append)
    table = NewMeasurements(tmp_path).analyze(run).tables["measurements"]
    assert table["distance"].notna().all()
    assert made == []


def test_files_of_all_kinds(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / "b.tif")
    Image.fromarray(np.stack([grey, grey // 2, grey // 4], -1)).save(tmp_path / "c.png")
    findings = NewMeasurements(tmp_path, white=None, count=3).analyze(given_run(net=Given(lambda z: z)))
    arrays = findings.arrays
    assert np.allclose(arrays["measurement_0"], grey[None] / 255, atol=1e-6)
    assert arrays["images_2"].shape == (1, 3, 20, 30)
    assert np.allclose(arrays["residuals_2"][0], -arrays["measurement_2"] / 2, atol=1e-6)
    white = NewMeasurements(tmp_path / "b.tif", white=4080).analyze(given_run(net=Given(lambda z: z)))
    assert np.allclose(white.arrays["measurement_0"], grey[None] / 255, atol=1e-6)
    assert white.tables["measurements"]["file"].tolist() == ["b.tif"]


@pytest.mark.slow
def test_figures_are_drawn_from_saved_findings(tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    save(tmp_path / "z", 3)
    analyzer = NewMeasurements(tmp_path / "z", count=2)
    findings = through_files(analyzer.analyze(given_run(net=Given(lambda z: 2 * z.clamp(0.1, 0.4)))), tmp_path)
    drawn = draw_svgs(analyzer, findings)
    assert set(drawn) == {"residuals", "measurement_1", "measurement_2"}
    assert "residual / that of noise" in texts(drawn["residuals"])
    assert "share of noise as correlated (p)" in texts(drawn["residuals"])
    shown = texts(drawn["measurement_1"])
    assert {"z", "net", "0.npy", "F(x) − z"} <= set(shown)


def test_correlation_of_white_and_of_smooth_residuals() -> None:
    white = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    assert correlation(white) == pytest.approx(48 / white.numel(), rel=0.5)
    assert correlation(white + 7) == pytest.approx(correlation(white), rel=1e-3)
    assert correlation(white + white.roll(1, -1)) == pytest.approx(0.5, rel=0.1)  # ρ = 1/2 at two lags
    assert math.isnan(correlation(torch.ones(9, 9)))
    assert math.isnan(correlation(torch.randn(6, 40)))
    assert math.isnan(correlation(torch.randn(40)))


def test_bad_files_are_named(tmp_path: Path) -> None:
    run = given_run(net=Given(lambda z: z))
    with pytest.raises(DataError, match="there is no such folder"):
        NewMeasurements(tmp_path / "nowhere").analyze(run)
    np.save(tmp_path / "x.npy", np.full((20, 20), np.nan, np.float32))
    with pytest.raises(DataError, match=r"x\.npy"):
        NewMeasurements(tmp_path).analyze(run)
    np.save(tmp_path / "x.npy", np.zeros((7, 20, 20), np.float32))
    with pytest.raises(InvregError, match=r"x\.npy, net: a measurement of shape \[7, 20, 20\]"):
        NewMeasurements(tmp_path).analyze(run)
    with pytest.raises(SpecError, match="draws"):
        Registry.installed().build("analyzer", {"name": "new_measurements", "path": "x", "draws": 2})
