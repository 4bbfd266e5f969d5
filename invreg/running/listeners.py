"""What invreg itself listens with, beside progress on the terminal: a training log that grows while training runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invreg.components.hookspecs import hookimpl
from invreg.storage.run_folder import RunFolder


class TrainingLogFiles:
    """Appends every finished epoch or trial to `methods/<label>/progress.csv`: a running training can be watched."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._begun: set[str] = set()

    @hookimpl
    def invreg_epoch_finished(self, label: str, epoch: int, values: Mapping[str, Any]) -> None:
        row = values if _counts(values) else {"epoch": epoch, **values}
        method = self._folder.method(label)
        if label not in self._begun:  # an earlier session may have gone further than it kept
            self._begun.add(label)
            method.cut_progress(row)
        method.append_progress(row)


def _counts(values: Mapping[str, Any]) -> bool:
    """Whether a row begins with a column that counts, as that of a log does."""
    return next(iter(values), None) in ("step", "epoch", "trial")
