"""Analyses of a study: from many finished runs to findings and figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.component import Component
from invreg.events import Events
from invreg.store import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from invreg.analyzer import Findings
    from invreg.registry import Registry
    from invreg.result import Result
    from invreg.spec import Spec
    from invreg.trainer import TrainingLog


@dataclass(frozen=True)
class StudyCell:
    """One cell of a study.

    Attributes:
        values: varied path to its value as the tables show it.
        spec: the cell's spec, with all defaults.
        folder: its run folder.
        failure: why it could not be finished; None if it was.
        registry: where the components of its result come from.
        device: where the reconstructors of its result are put.
    """

    values: dict[str, Any]
    spec: Spec
    folder: Path
    failure: str | None
    registry: Registry
    device: str = "cpu"

    @cached_property
    def result(self) -> Result:
        """The finished run, loaded from its folder on first use."""
        from invreg.loading import load_run

        return load_run(self.folder, self.device, self.registry)

    def log(self, label: str) -> TrainingLog:
        """How the training of a method went: from its file alone, without loading the reconstructor.

        Raises:
            StoreError: if there is no such method, or its training is not done.
        """
        from invreg.loading import load_log

        return load_log(RunFolder(self.folder), label)

    @property
    def warnings(self) -> list[str]:
        """What did not go as it should, each with its method; from files alone, too.

        Raises:
            StoreError: if the cell is not finished.
        """
        from invreg.loading import load_warnings

        folder = RunFolder(self.folder)
        return [f"{label}: {text}" for label in self.spec.methods for text in load_warnings(folder, label)]


@dataclass(frozen=True)
class CompletedStudy:
    """A study as its analyses see it.

    Attributes:
        title: the study's title.
        axes: varied path to its values, in order, as the tables show them.
        table: one row per cell and method: cell, the varied paths, and the columns of `summary.csv`.
        cells: the finished cells.
        events: who listens to the progress of long analyses.
    """

    title: str
    axes: Mapping[str, Sequence[Any]]
    table: pd.DataFrame
    cells: Sequence[StudyCell]
    events: Events = field(default_factory=Events)


class StudyAnalyzer(Component, ABC):
    """An analysis of a study. It neither writes files nor prints: the harness does."""

    @abstractmethod
    def analyze(self, study: CompletedStudy) -> Findings:
        """Computes the findings.

        Raises:
            InvregError: if the study does not vary what the analysis is about.
        """

    @abstractmethod
    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        """Figures by name, from the findings alone (they may come from a file)."""
