"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from invreg.analyzer import Findings
    from invreg.problem import Problem
    from invreg.reconstructor import Reconstructor
    from invreg.spec import Spec
    from invreg.trainer import TrainingLog


@dataclass(frozen=True)
class MethodResult:
    """A method after the run.

    Attributes:
        reconstructor: trained and in evaluation mode, ready to be called.
        log: what happened in its training.
        training_seconds: wall-clock time of the training, over all sittings.
        warnings: what did not go as it should, in words.
    """

    reconstructor: Reconstructor
    log: TrainingLog
    training_seconds: float
    warnings: list[str]


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: the run folder.
        spec: the resolved spec.
        problem: operator and noise.
        metrics: one row per method and test image: method, image, psnr, ssim, seconds, further metrics.
        summary: one row per method: method, psnr, psnr_std, ssim, ssim_std, parameters, training_seconds,
            reconstruction_seconds, further metrics.
        methods: the trained methods by label.
        findings: the findings of the analyses by name.
    """

    folder: Path
    spec: Spec
    problem: Problem
    metrics: pd.DataFrame
    summary: pd.DataFrame
    methods: dict[str, MethodResult]
    findings: dict[str, Findings]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def warnings(self) -> list[str]:
        """All warnings of the run, each with its method."""
        return [f"{label}: {warning}" for label, method in self.methods.items() for warning in method.warnings]
