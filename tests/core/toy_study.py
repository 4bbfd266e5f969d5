"""A small study with an analysis, for tests of the harness."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import invreg
import toy
from invreg.api import run
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from invreg_metrics import plugin as metrics_plugin


class BestByNoise(StudyAnalyzer):
    def __init__(self, fail: bool = False) -> None:
        self.fail = fail

    def analyze(self, study: CompletedStudy) -> invreg.Findings:
        if self.fail:
            raise invreg.SpecError("nothing varies here")
        gains = [float(cell.result.methods["gain"].reconstructor.gain.detach()) for cell in study.cells]  # type: ignore[union-attr, operator]
        table = study.table.groupby("noise.std")["psnr"].max().reset_index()
        return invreg.Findings({"gain": gains[0]}, {"best": table}, {}, "Noise <hurts>.")

    def draw(self, findings: invreg.Findings) -> Mapping[str, Figure]:
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(findings.tables["best"]["noise.std"], findings.tables["best"]["psnr"])
        return {"best": figure}


class StudyPlugin:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return {"best_by_noise": BestByNoise}


def toy_registry() -> Registry:
    return Registry({"invreg": metrics_plugin, "toy": toy, "study": StudyPlugin})


def study(**changes: Any) -> dict[str, Any]:
    matrix = {"noise.std": [0.01, 0.1], "methods.gain.trainer.samples": [4, 8]}
    content = {**copy.deepcopy(toy.SPEC), "matrix": matrix, "study_analyses": ["best_by_noise"]}
    return {**content, **changes}


def go(content: dict[str, Any], output: Path, registry: Registry) -> StudyResult:
    result = run(content, output, "cpu", progress=False, registry=registry)
    assert isinstance(result, StudyResult)
    return result
