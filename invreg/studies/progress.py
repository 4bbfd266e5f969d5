"""Progress of a study on the terminal: which cell of how many, and below it what the cell does."""

from __future__ import annotations

from pathlib import Path

from invreg.components.hookspecs import hookimpl
from invreg.running.progress import TerminalProgress
from invreg.specs.matrix import in_words
from invreg.specs.spec import Spec
from invreg.studies.plan import PlannedCell

_CELLS = ("cells", "finished")


class StudyProgress(TerminalProgress):
    """Bars of the cell that runs, below one that counts cells.

    Args:
        total: number of cells.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total

    def begin(self, title: str, folder: Path) -> None:
        """Says what is studied, and where."""
        self._say_title(title, folder)
        self.open()

    def cell(self, number: int, cell: PlannedCell) -> None:
        """Goes on with a cell; the first one is number 1."""
        self._clear()
        self._show(number - 1)
        self.say(f"cell {number} of {self._total}: {in_words(cell.values)}")

    def end(self) -> None:
        """All cells are done."""
        self._clear()
        self._show(self._total)

    @hookimpl
    def invreg_run_started(self, folder: Path, spec: Spec) -> None:
        """A cell is not named again."""

    def _show(self, done: int) -> None:
        if self._bars is not None:  # elsewhere, the line about each cell says it
            self.invreg_progress(*_CELLS, done, self._total, {})

    def _clear(self) -> None:
        for key in [key for key in self._tasks if key != _CELLS]:
            self._drop(key)
