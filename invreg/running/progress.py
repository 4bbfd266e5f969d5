"""Progress on the terminal: bars where one is attached, and plain lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from invreg.components.analyzer import Findings
from invreg.components.hookspecs import hookimpl
from invreg.components.trainer import TrainedMethod
from invreg.specs.spec import Spec

#: Without a terminal, lines about the same work come at most this often.
SECONDS_BETWEEN_LINES = 10.0

# What is counted anew under a further number, as the trials of a search are, shares a bar.
_NUMBERED = re.compile(r" \d+$")

#: The label under which the analyses of a run are counted.
ANALYSES = "analyses"


class TerminalProgress:
    """Progress bars with the latest values and the time left; plain lines where no terminal is attached.

    Bars are about what is going on. What is done has a filled bar, or gives its place to a line that says so. A
    terminal that cannot move its cursor (`TERM=dumb`) gets the lines.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._last_line: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """Stops all clocks; the bars stay as they are."""
        if self._bars is not None:
            for task in self._tasks.values():
                self._bars.stop_task(task)
            self._bars.stop()
            self._bars = None

    def open(self) -> None:
        """Puts bars up, where a terminal is attached."""
        if self._bars is None and self._console.is_interactive:
            self._tasks = {}
            self._bars = Progress(*_columns(self._console.width), console=self._console, expand=True)
            self._bars.start()

    def say(self, text: str) -> None:
        """A line above the bars: broken between words on a terminal, whole elsewhere."""
        self._console.print(text, markup=False, soft_wrap=not self._console.is_interactive)

    @hookimpl
    def invreg_run_started(self, folder: Path, spec: Spec) -> None:
        self._say_title(spec.title, folder)
        self.open()

    @hookimpl
    def invreg_progress(self, label: str, stage: str, done: float, total: float, values: Mapping[str, Any]) -> None:
        key, shown = (label, _NUMBERED.sub("", stage)), in_words(values)
        if self._bars is None:
            now = time.monotonic()
            if done >= total or now - self._last_line.get(key, 0.0) >= SECONDS_BETWEEN_LINES:
                self._last_line[key] = now
                line = f"{label}  {stage} {done:g}/{total:g}  {shown}".rstrip()
                self._console.print(line, markup=False, soft_wrap=True)
            return
        if key not in self._tasks:
            self._make_room()
            self._tasks[key] = self._bars.add_task(stage, total=total, label=label, values="")
        elif self._stage_of(key) != stage:
            self._bars.reset(self._tasks[key], total=total, description=stage)
        self._bars.update(self._tasks[key], completed=done, total=total, values=shown)

    @hookimpl
    def invreg_method_trained(self, label: str, trained: TrainedMethod) -> None:
        self._stop(label)
        shown = in_words(trained.log.summary)
        if shown:
            self.say(f"{label}  ready  {shown}")

    @hookimpl
    def invreg_findings_made(self, name: str, findings: Findings) -> None:
        if name != ANALYSES:
            self._remove(name)
        if findings.text:
            self.say(f"{name}  {findings.text}")

    def _say_title(self, title: str, folder: Path) -> None:
        if self._console.is_interactive:  # a path stays in one piece, so that it can be copied
            self.say(f"{title}, in")
            self._console.print(str(folder), markup=False, soft_wrap=True)
        else:
            self.say(f"{title}: writing to {folder}")

    def _stage_of(self, key: tuple[str, str]) -> str:
        assert self._bars is not None  # noqa: S101
        return self._bars.tasks[self._bars.task_ids.index(self._tasks[key])].description

    def _stop(self, label: str) -> None:
        """Stops the clocks of some work; it may have ended early."""
        if self._bars is not None:
            for known, task in self._tasks.items():
                if known[0] == label:
                    self._bars.stop_task(task)

    def _remove(self, label: str) -> None:
        for key in [key for key in self._tasks if key[0] == label]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        task = self._tasks.pop(key)
        if self._bars is not None:
            self._bars.remove_task(task)

    def _make_room(self) -> None:
        """Drops the oldest bars of what is done where there are more than the terminal has lines for."""
        assert self._bars is not None  # noqa: S101
        ended = {task.id for task in self._bars.tasks if task.finished or task.stop_time is not None}
        over = len(self._tasks) + 4 - self._console.height
        for key in [key for key, task in self._tasks.items() if task in ended][: max(0, over)]:
            self._drop(key)


def in_words(values: Mapping[str, Any]) -> str:
    """Values in a line: `loss 0.0123  psnr 31.2`."""
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


class _Clock(ProgressColumn):
    """The time left, and of what has ended the time that it took."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished or task.stop_time is not None:
            return Text(_clock(task.finished_time if task.finished else task.elapsed), style="progress.elapsed")
        left = _clock(task.time_remaining)
        return Text(f"{left} left" if left else "", style="progress.remaining")


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _columns(width: int) -> list[ProgressColumn]:
    """What a bar shows; on narrow terminals, names and values end in an ellipsis, and bars are shorter."""
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 4))
    bar = 24 if width >= 100 else 12 if width >= 60 else 6
    values = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return [
        TextColumn("{task.fields[label]}", markup=False, table_column=name),
        TextColumn("{task.description}", style="dim", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=bar),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        _Clock(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[values]}", markup=False, table_column=values),
    ]
