"""Saliency maps over a study: which cells stand side by side, and whether a trend in their spread is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from study_helpers import registry_with
from torch import Tensor, nn

import invreg
import toy
from invreg.components.analyzer import Findings
from invreg.components.dataset import ImageDataset, ImageStack, Splits, TrainingImages
from invreg.components.events import Events
from invreg.components.operator import Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.study_analyzer import CompletedStudy
from invreg.errors import DataError, InvregError, SpecError
from invreg.storage.result import StudyResult
from invreg_analyses.saliency.by_noise import SaliencyByNoise
from invreg_operators.diffusion.perona_malik import PeronaMalik


class Contours(ImageDataset):
    """An edge in each image; none in the last one."""

    def __init__(self, edges: bool = True) -> None:
        self.edges = edges

    def splits(self) -> Splits:
        x = 0.2 + 0.01 * torch.rand(4, 1, 20, 22, generator=torch.Generator().manual_seed(0))
        for index in range(3 if self.edges else 0):
            x[index, ..., 8 + index :] += 0.4
        stack = ImageStack(x, [f"image/{index}" for index in range(4)])
        return Splits(TrainingImages(list(x), list(stack.names), (8, 8)), stack, stack)


class Sharper(Reconstructor):
    """Has a forward map that blurs less the noisier the data are that it was set up for, and the smaller L is."""

    _share: float
    _operator: Operator

    def __init__(self, lipschitz: Annotated[float, Field(gt=0, lt=1)] = 0.9) -> None:
        super().__init__()
        self.lipschitz = lipschitz
        self.weight = nn.Parameter(torch.ones(1))

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        std = float(getattr(problem.noise, "std", 0.0))
        self.__dict__.update(_operator=problem.operator, _share=self.lipschitz * (1 - 8 * std))

    @property
    def target_operator(self) -> Operator:
        return self._operator

    def forward_map(self, x: Tensor) -> Tensor:
        return x + self._share * (self._operator(x) - x)

    def forward(self, z: Tensor) -> Tensor:
        return z


class Parts:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {
            "contours": Contours,
            "perona_malik": PeronaMalik,
            "sharper": Sharper,
        }


L_PATH = "methods.net.reconstructor.lipschitz"
SMALL = {"pixels": 60, "window": 5, "area_pixels": 20}
SPEC: dict[str, Any] = {
    "title": "Saliency",
    "data": "contours",
    "operator": {"name": "perona_malik", "steps": 2},
    "noise": {"name": "white", "std": 0.02},
    "methods": {"raw": "raw", "net": {"reconstructor": "sharper", "trainer": "nothing"}},
    "metrics": ["psnr"],
    "matrix": {"noise.std": [0.05, 0.01, 0.025], L_PATH: [0.5, 0.9]},
    "study_analyses": [{"name": "saliency_by_noise", **SMALL}],
}


def study_of(output: Path, **changes: Any) -> StudyResult:
    return toy.run_study({**SPEC, **changes}, output, registry_with(parts=Parts))


def completed(result: StudyResult) -> CompletedStudy:
    axes = {path: list(dict.fromkeys(cell.values[path] for cell in result.cells)) for path in result.cells[0].values}
    return CompletedStudy("A study", axes, result.table, result.cells)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return study_of(tmp_path_factory.mktemp("study"), study_analyses=[])


@pytest.fixture(scope="module")
def findings(result: StudyResult) -> Findings:
    return SaliencyByNoise(**SMALL).analyze(completed(result))


@pytest.mark.slow
def test_progress_is_told_map_by_map_to_the_last_one(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, float]] = []

    class Listener:
        @invreg.hookimpl
        def invreg_progress(self, label: str, stage: str, done: float, total: float) -> None:
            told.append((done, total))

    monkeypatch.setattr("invreg_analyses.shared.progress._SECONDS", -1.0)
    SaliencyByNoise(**SMALL).analyze(replace(completed(result), events=Events(None, [Listener()])))
    # Four networks, as the one at noise 0.05 and L = 0.9 is in both series, and the operator with each of them.
    (total,) = {total for _, total in told}
    assert total % (4 * 2) == 0
    assert total > 4 * 2 * SMALL["pixels"]
    assert told[-1] == (total, total)
    assert len(told) > 8


@pytest.mark.slow
def test_series_run_over_noise_and_over_lipschitz(findings: Findings) -> None:
    series, maps = findings.tables["series"], findings.tables["maps"]
    assert series["over"].tolist() == ["noise", "lipschitz"]
    assert series["held"].tolist() == ["L = 0.9", "δ = 0.05"]
    assert series["method"].tolist() == ["net", "net"]
    assert series["images"].tolist() == [3, 3]
    assert series["image"].nunique() == 1
    assert maps.loc[maps["series"] == 0, "map"].tolist() == ["F", "δ = 0.01", "δ = 0.025", "δ = 0.05"]
    assert maps.loc[maps["series"] == 1, "map"].tolist() == ["F", "L = 0.5", "L = 0.9"]
    np.testing.assert_array_equal(findings.arrays["series_0_pixels"], findings.arrays["series_1_pixels"])
    # The same network stands in both series.
    np.testing.assert_array_equal(
        findings.arrays["series_0_area_kernels"][-1], findings.arrays["series_1_area_kernels"][-1]
    )


@pytest.mark.slow
def test_a_study_with_it_is_reported_with_its_figures(findings: Findings, tmp_path: Path) -> None:
    result = study_of(tmp_path)
    assert result.findings["saliency_by_noise"].text == findings.text
    figures = {path.stem for path in result.folder.glob("analyses/saliency_by_noise/figures/*.png")}
    assert figures == {
        f"perona_malik_net_{over}_{kind}"
        for over in ("noise", "lipschitz")
        for kind in ("pixels", "means", "areas", "spread")
    }


@pytest.mark.slow
def test_a_falling_spread_is_decided(findings: Findings) -> None:
    steps = findings.tables["steps"]
    own = steps[(steps["series"] == 0) & (steps["measure"] == "radius") & (steps["area"] == "smooth")]
    assert own[["start", "end"]].to_numpy().tolist() == [
        ["δ = 0.01", "δ = 0.025"],
        ["δ = 0.025", "δ = 0.05"],
        ["δ = 0.01", "δ = 0.05"],
    ]
    assert (own["high"] < 0).all()
    assert own["difference"].iloc[:2].sum() == pytest.approx(own["difference"].iloc[2])
    spread = findings.tables["spread"].set_index(["series", "map", "area", "measure"])["mean"]
    assert spread[0, "δ = 0.05", "smooth", "radius"] < spread[0, "δ = 0.01", "smooth", "radius"]
    # phi = (1 - s) Id + s F: its kernels are known from those of F.
    kernels = findings.arrays["series_0_area_kernels"]
    identity = np.zeros((5, 5))
    identity[2, 2] = 1
    for kernel, std in zip(kernels[1:], (0.01, 0.025, 0.05), strict=True):
        share = 0.9 * (1 - 8 * std)
        np.testing.assert_allclose(kernel, (1 - share) * identity + share * kernels[0], atol=1e-6)
    assert "the effective radius in smooth areas" in findings.text
    assert "not decided" not in findings.text.split(";")[0]


@pytest.mark.slow
def test_cells_can_be_chosen_and_an_image_named(result: StudyResult) -> None:
    study = completed(result)
    findings = SaliencyByNoise(**SMALL, at={L_PATH: 0.5}, image="image/2").analyze(study)
    assert findings.tables["series"]["held"].tolist()[0] == "L = 0.5"
    assert set(findings.tables["series"]["image"]) == {"image/2"}
    with pytest.raises(SpecError, match="no test image"):
        SaliencyByNoise(**SMALL, image="image/9").analyze(study)
    with pytest.raises(DataError, match="has no edges"):
        SaliencyByNoise(**SMALL, image="image/3").analyze(study)
    with pytest.raises(DataError, match="5000 pixels"):
        SaliencyByNoise(**(SMALL | {"pixels": 5000})).analyze(study)
    with pytest.raises(SpecError, match="odd"):
        SaliencyByNoise(window=6)


@pytest.mark.slow
def test_a_study_about_something_else_is_refused(tmp_path: Path) -> None:
    other = study_of(tmp_path, matrix={"methods.net.trainer.steps": [1, 2]}, study_analyses=[])
    with pytest.raises(SpecError, match="several noise levels"):
        SaliencyByNoise(**SMALL).analyze(completed(other))
    without = study_of(tmp_path / "b", methods={"raw": "raw"}, matrix={"noise.std": [0.01, 0.05]}, study_analyses=[])
    with pytest.raises(InvregError, match="learned a forward map"):
        SaliencyByNoise(**SMALL).analyze(completed(without))
