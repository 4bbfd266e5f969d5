"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.analyzer import Findings
    from invreg.components.problem import Problem
    from invreg.components.reconstructor import Reconstructor
    from invreg.components.trainer import TrainingLog
    from invreg.specs.spec import Spec
    from invreg.storage.study_cell import StudyCell


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


@dataclass(frozen=True)
class StudyResult:
    """A finished study.

    Attributes:
        folder: the study folder.
        table: one row per cell and method: cell, every varied path, and the columns of a run's `summary.csv`.
        cells: all cells; those that failed say why.
        findings: the findings of the study analyses by name.
    """

    folder: Path
    table: pd.DataFrame
    cells: list[StudyCell]
    findings: dict[str, Findings]

    @property
    def report(self) -> Path:
        """The HTML report of the study."""
        return self.folder / "report.html"

    @property
    def warnings(self) -> list[str]:
        """All warnings of the finished cells, each with its cell and method."""
        return [f"{cell.folder.name}: {text}" for cell in self.cells if not cell.failure for text in cell.warnings]

    @property
    def summary(self) -> pd.DataFrame:
        """The table, by the name that it has in the result of a single run."""
        return self.table

    @property
    def failures(self) -> dict[str, str]:
        """Why cells failed, by the name of their folder."""
        return {cell.folder.name: cell.failure for cell in self.cells if cell.failure}
