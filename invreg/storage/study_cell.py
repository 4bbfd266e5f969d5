"""One cell of a study: a run folder, and the values of what the study varies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.storage.loading import load_log, load_run, load_warnings
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from invreg.components.trainer import TrainingLog
    from invreg.plugins.registry import Registry
    from invreg.specs.spec import Spec
    from invreg.storage.result import Result


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
        return load_run(self.folder, self.device, self.registry)

    def log(self, label: str) -> TrainingLog:
        """How the training of a method went: from its file alone, without loading the reconstructor.

        Raises:
            StoreError: if there is no such method, or its training is not done.
        """
        return load_log(RunFolder(self.folder), label)

    @property
    def warnings(self) -> list[str]:
        """What did not go as it should, each with its method; from files alone, too.

        Raises:
            StoreError: if the cell is not finished.
        """
        folder = RunFolder(self.folder)
        return [f"{label}: {text}" for label in self.spec.methods for text in load_warnings(folder, label)]
