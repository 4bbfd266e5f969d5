"""Analyses of a study: from many finished runs to findings and figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from invreg.components.events import Events
from invreg.schema.component import Component
from invreg.schema.kinds import base_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from invreg.components.analyzer import Findings
    from invreg.storage.study_cell import StudyCell


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


@base_of("study_analyzer")
class StudyAnalyzer(Component, ABC):
    """An analysis of a study. It neither writes files nor prints: the harness does."""

    #: Whether it evaluates the operator; it is then refused where nothing but measurements is known of that.
    needs_operator: ClassVar[bool] = False

    #: Whether it also takes studies of volumes `[C, D, H, W]`; where it does not, they are refused.
    takes_volumes: ClassVar[bool] = False

    @abstractmethod
    def analyze(self, study: CompletedStudy) -> Findings:
        """Computes the findings.

        Raises:
            InvregError: if the study does not vary what the analysis is about.
        """

    @abstractmethod
    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        """Figures by name, from the findings alone (they may come from a file)."""
