"""What invreg itself listens with: progress on the terminal, and a training log that grows while training runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from invreg.components.analyzer import Findings
from invreg.components.hookspecs import hookimpl
from invreg.components.trainer import TrainedMethod
from invreg.specs.spec import Spec
from invreg.storage.run_folder import RunFolder


class TerminalProgress:
    """Progress bars with the latest values and the time left; plain lines where no terminal is attached."""

    #: Without a terminal, lines about the same work come at most this often.
    seconds_between_lines = 10.0

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._last_line: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """Takes the bars down."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    @hookimpl
    def invreg_run_started(self, folder: Path, spec: Spec) -> None:
        self._console.print(f"{spec.title}: writing to {folder}", markup=False, soft_wrap=True)
        self.open()

    def open(self) -> None:
        """Puts bars up, where a terminal is attached."""
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.fields[label]}", markup=False),
                TextColumn("{task.description}", style="dim", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}", markup=False),
                console=self._console,
            )
            self._bars.start()

    @hookimpl
    def invreg_progress(self, label: str, stage: str, done: float, total: float, values: Mapping[str, Any]) -> None:
        key, shown = (label, stage), _shown(values)
        if self._bars is None:
            now = time.monotonic()
            if done >= total or now - self._last_line.get(key, 0.0) >= self.seconds_between_lines:
                self._last_line[key] = now
                self._console.print(f"{label}  {stage} {done:g}/{total:g}  {shown}", markup=False, soft_wrap=True)
            return
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(stage, total=total, label=label, values="")
        self._bars.update(self._tasks[key], completed=done, total=total, values=shown)

    @hookimpl
    def invreg_method_trained(self, label: str, trained: TrainedMethod) -> None:
        shown = _shown(trained.log.summary)
        if shown:
            self._console.print(f"{label}  ready  {shown}", markup=False, soft_wrap=True)

    @hookimpl
    def invreg_findings_made(self, name: str, findings: Findings) -> None:
        if findings.text:
            self._console.print(f"{name}  {findings.text}", markup=False, soft_wrap=True)


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


def _shown(values: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )
