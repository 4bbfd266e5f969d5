"""Progress on the terminal: bars that fill, clocks that stop, lines elsewhere."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from invreg.running.progress import TerminalProgress
from invreg.studies.progress import StudyProgress


def on(progress: Any, width: int = 80, height: int = 24, **terminal: Any) -> io.StringIO:
    """Lets progress write to a terminal of this size; gives what it has written."""
    file = io.StringIO()
    progress._console = Console(file=file, width=width, height=height, highlight=False, **terminal)
    return file


def trained(**summary: Any) -> Any:
    return SimpleNamespace(log=SimpleNamespace(summary=summary))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_bars_fill_and_their_clocks_stop(width: int) -> None:
    progress = TerminalProgress()
    written = on(progress, width, force_terminal=True)
    progress.open()
    bars: Any = progress._bars
    for number in range(3):  # the trials of a search share a bar
        progress.invreg_progress("tv", f"trial {number}", 2, 5, {"weight": 1e-3})
    progress.invreg_progress("net", "train", 30, 100, {"loss": 0.123456789, "psnr": 31.2})
    assert [task.description for task in bars.tasks] == ["trial 2", "train"]
    progress.invreg_method_trained("net", trained(ended="no longer better"))
    assert [task.stop_time is None for task in bars.tasks] == [True, False]
    progress.invreg_progress("analyses", "done", 0, 2, {"now": "quality"})
    progress.invreg_progress("quality", "images", 1, 9, {})
    progress.invreg_findings_made("quality", SimpleNamespace(text="tv is best " + 30 * "of all "))
    progress.invreg_progress("analyses", "done", 2, 2, {})
    assert [task.fields["label"] for task in bars.tasks] == ["tv", "net", "analyses"]
    assert bars.tasks[-1].finished
    progress.close()
    assert all(task.stop_time is not None for task in bars.tasks)
    assert max(map(len, Console().render_str(written.getvalue()).plain.splitlines())) < 10 * width


def test_many_methods_leave_room_for_those_that_run() -> None:
    progress = TerminalProgress()
    on(progress, height=12, force_terminal=True)
    progress.open()
    for number in range(30):
        progress.invreg_progress(f"net{number}", "train", 100, 100, {})
    assert len(progress._tasks) <= 10
    progress.close()


@pytest.mark.parametrize(
    "terminal", [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}]
)
def test_elsewhere_there_are_whole_lines(terminal: dict[str, Any]) -> None:
    progress = TerminalProgress()
    written = on(progress, **terminal)
    progress.invreg_run_started(Path("runs/title-1a2b3c4d"), SimpleNamespace(title="Title"))
    progress.invreg_progress("net", "train", 1, 100, {"loss": 0.5})
    progress.invreg_progress("net", "train", 2, 100, {"loss": 0.4})
    progress.invreg_findings_made("quality", SimpleNamespace(text=100 * "word "))
    progress.close()
    assert written.getvalue().splitlines() == [
        "Title: writing to runs/title-1a2b3c4d",
        "net  train 1/100  loss 0.5",
        "quality  " + 100 * "word ",
    ]


def test_a_study_counts_its_cells() -> None:
    progress = StudyProgress(18)
    written = on(progress, force_terminal=True)
    progress.begin("Study", Path("runs/study"))
    progress.cell(3, SimpleNamespace(values={"noise.std": 0.05}))  # type: ignore[arg-type]
    progress.invreg_progress("net", "train", 1, 2, {})
    progress.cell(4, SimpleNamespace(values={"noise.std": 0.1}))  # type: ignore[arg-type]
    bars: Any = progress._bars
    assert [(task.fields["label"], task.completed, task.total) for task in bars.tasks] == [("cells", 3, 18)]
    progress.end()
    progress.close()
    assert "cell 4 of 18: noise.std 0.1" in written.getvalue()
    assert bars.tasks[0].finished
