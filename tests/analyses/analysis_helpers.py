"""Small finished runs for tests of analyses, and the way of findings through files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn

from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.dataset import ImageStack, Splits
from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import TrainedMethod, TrainingLog
from invreg.components.training_images import TrainingImages
from invreg.running.evaluation import measure_quality
from invreg.storage.analysis_folder import AnalysisFolder
from invreg_metrics.metrics import MSE, PSNR, SSIM
from toy import Halved


class Stand(Reconstructor):
    """Stands for a method with a given number of weights."""

    def __init__(self, weights: int = 0) -> None:
        super().__init__()
        if weights:
            self.weights = nn.Parameter(torch.zeros(weights))

    def forward(self, z: Tensor) -> Tensor:
        return z


class Learner(Stand):
    """Stands for a network whose forward map is a given function."""

    def __init__(self, target: Operator, forward_map: Callable[[Tensor], Tensor]) -> None:
        super().__init__(weights=3)
        self.__dict__.update(_target=target, _forward_map=forward_map)

    @property
    def target_operator(self) -> Operator:
        target: Operator = self.__dict__["_target"]
        return target

    def forward_map(self, x: Tensor) -> Tensor:
        result: Tensor = self.__dict__["_forward_map"](x)
        return result


def with_learners(run: CompletedRun, **learners: Reconstructor) -> CompletedRun:
    """The run with some of its methods replaced."""
    return replace(
        run, methods={k: TrainedMethod(learners.get(k, m.reconstructor), m.log) for k, m in run.methods.items()}
    )


def make_run(
    noise: Mapping[str, float],
    count: int = 5,
    size: tuple[int, int] = (16, 20),
    channels: int = 1,
    weights: Mapping[str, int] | None = None,
    logs: Mapping[str, TrainingLog] | None = None,
    names: list[str] | None = None,
    measurements: Tensor | None = None,
    operator: Operator | None = None,
    metrics: tuple[str, ...] = ("psnr", "ssim"),
    seed: int = 0,
) -> CompletedRun:
    """A run whose methods return the truth with noise of the given standard deviations."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand((count, channels, *size), generator=generator)
    labels = names or [f"image-{i}" for i in range(count)]
    operator = operator or Halved()
    components = {name: {"psnr": PSNR, "ssim": SSIM, "mse": MSE}[name]() for name in metrics}
    recs = {label: x + std * torch.randn(x.shape, generator=generator) for label, std in noise.items()}
    table = pd.concat(
        [measure_quality(label, x_hat, x, labels, [0.01] * count, components) for label, x_hat in recs.items()],
        ignore_index=True,
    )
    stack = ImageStack(x, labels)
    return CompletedRun(
        title="A run",
        seed=seed,
        device=torch.device("cpu"),
        problem=Problem(operator),
        images=Splits(TrainingImages(list(x), labels, (8, 8)), stack, stack),
        measurements=operator(x) if measurements is None else measurements,
        methods={
            label: TrainedMethod(Stand((weights or {}).get(label, 0)), (logs or {}).get(label, TrainingLog()))
            for label in noise
        },
        reconstructions=recs,
        metrics=table,
        metric_components=components,
    )


def through_files(findings: Findings, folder: Path) -> Findings:
    """The findings as a later process reads them."""
    analysis = AnalysisFolder(folder / "analysis")
    analysis.write_findings(findings)
    return analysis.findings


def draw_svgs(analyzer: Analyzer, findings: Findings) -> dict[str, str]:
    """All figures as SVG text."""
    drawn = {}
    for name, figure in analyzer.draw(findings).items():
        assert isinstance(figure, Figure)
        buffer = BytesIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "test"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        drawn[name] = buffer.getvalue().decode()
    return drawn


def texts(svg: str) -> list[str]:
    """Every text in an SVG figure, in order; fails where text has become outlines."""
    found = [unescape(re.sub(r"<[^>]+>", "", text)) for text in re.findall(r"<text.*?</text>", svg, re.DOTALL)]
    assert found
    return found


def set_values(run: CompletedRun, metric: str, values: Mapping[str, list[Any]]) -> None:
    """Overwrites the values of a metric, by method."""
    for label, given in values.items():
        run.metrics.loc[run.metrics["method"] == label, metric] = given
