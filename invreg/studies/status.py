"""How far a study is, from what lies in its folder: for whoever looks, from any terminal and any machine."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from invreg.components.hookspecs import hookimpl
from invreg.errors import InvregError, SpecError, StoreError, nothing_computed
from invreg.files import write_whole
from invreg.specs.matrix import expand
from invreg.specs.reading import parse_file
from invreg.storage.run_folder import STUDY_SPEC, RunFolder, holds_study
from invreg.storage.study_folder import StudyFolder
from invreg.text import duration, plural

#: Seconds between two looks at what a job has reached, and between two signs of life.
_BETWEEN, _HEARTBEAT = 2.0, 20.0

#: A job of another machine that has given no sign of life for so many seconds is gone.
_SILENT = 6 * _HEARTBEAT

_BAR = 24


@dataclass
class Reached:
    """What a process that works on a job has reached.

    Attributes:
        host: its machine.
        process: its number there.
        since: when it began, in seconds since 1970.
        label: the method or analysis that it works on.
        stage: what it does with it.
        done: of `total`.
        total: 0 if it does not count.
        values: worth showing now.
    """

    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time.time)
    label: str = ""
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        where = f"{duration(max(0.0, time.time() - self.since))} on {self.host}"
        if not self.total:
            return where
        full = round(_BAR * min(1.0, max(0.0, self.done / self.total)))
        bar = "#" * full + "-" * (_BAR - full)
        values = "  ".join(f"{key} {value}" for key, value in self.values.items())
        return f"{self.label} {self.stage}  {bar} {self.done:g}/{self.total:g}  {values}  {where}"


class Record:
    """A file that says what this process has reached in a job; it is there while the block is entered.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reached = Reached()
        self._changed = True
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()  # if it was the last one

    @hookimpl
    def invreg_progress(self, label: str, stage: str, done: float, total: float, values: Mapping[str, Any]) -> None:
        shown = {str(key): f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in values.items()}
        now = self._reached
        self._reached = Reached(now.host, now.process, now.since, label, stage, float(done), float(total), shown)
        self._changed = True

    def _keep(self) -> None:
        written = 0.0
        while True:
            if self._changed or time.monotonic() - written > _HEARTBEAT:
                self._changed, written = False, time.monotonic()
                with suppress(OSError):  # a record that cannot be written costs nothing but the look at it
                    write_whole(self._path, json.dumps(asdict(self._reached)).encode())
            if self._end.wait(_BETWEEN):
                return


def reached(path: Path) -> Reached | None:
    """What a job has reached; None if no process works on it."""
    try:
        found = Reached(**json.loads(path.read_bytes()))
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
    if found.host != socket.gethostname() or os.name != "posix":  # elsewhere, asking would interrupt it
        return found if age < _SILENT else None
    try:
        os.kill(found.process, 0)
    except PermissionError:
        return found
    except OSError:
        return None
    return found


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        title: of the study.
        total: number of cells.
        finished: number of finished cells.
        failed: names of failed cells with what they failed from.
        running: names of jobs that a process works on, with what it has reached.
        left: seconds that the rest will take, as far as can be said; None if it cannot.
    """

    title: str
    total: int
    finished: int
    failed: dict[str, str]
    running: dict[str, Reached]
    left: float | None

    def __str__(self) -> str:
        cells = sum(not name.startswith("shared-") for name in self.running)
        waiting = self.total - self.finished - len(self.failed) - cells
        counts = {"finished": self.finished, "running": cells, "failed": len(self.failed), "waiting": max(0, waiting)}
        head = f"{self.title}: {plural(self.total, 'cell')}, " + ", ".join(f"{n} {what}" for what, n in counts.items())
        if self.left is not None:
            head += f", about {duration(self.left)} left"
        lines = [head]
        lines += [f"running  {name}  {found}" for name, found in self.running.items()]
        lines += [f"failed   {name}: {text.splitlines()[0]}" for name, text in self.failed.items()]
        return "\n".join(lines)


def read_status(path: Path) -> StudyStatus:
    """How far the study in a folder is. Nothing is written, and nothing is locked.

    Raises:
        StoreError: if there is no study.
    """
    if not holds_study(path):
        is_run = (path / "spec.yaml").is_file()
        inside = sorted(str(file.parent) for file in path.glob(f"*/{STUDY_SPEC}"))
        raise nothing_computed(
            StoreError(
                "holds a single run" if is_run else "holds no study" if path.is_dir() else "no such folder",
                where=str(path),
                expected="the folder of a study, which `invreg run` names when it starts and when it ends",
                hint=f"one of those in it: {', '.join(inside[:5])}" if inside else None,
            )
        )
    study = StudyFolder(path)
    content = study.read(STUDY_SPEC, lambda text: parse_file(text, path / STUDY_SPEC))
    try:
        total = len(expand(content, content["matrix"]))
    except (SpecError, LookupError, TypeError, AttributeError):
        raise StoreError("does not hold the spec of a study", where=str(path / STUDY_SPEC)) from None
    running = {file.stem: now for file in sorted(study.jobs_folder.glob("*.json")) if (now := reached(file))}
    cells = [folder for folder in _runs(study.cells_folder) if folder.path.name not in running]
    states = {folder.path.name: _state(folder) for folder in cells}
    failed = {name: what for name, (_, what) in states.items() if what is not None}
    finished = sum(is_finished for is_finished, _ in states.values())
    total = max(total, len(cells))
    return StudyStatus(
        title=str(content.get("title", "Study")),
        total=total,
        finished=finished,
        failed=failed,
        running=running,
        left=_left(study, total - finished) if running else None,
    )


def _runs(folder: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(folder.glob("*")) if path.is_dir() and not path.name.startswith(".")]


def _state(folder: RunFolder) -> tuple[bool, str | None]:
    """Whether a cell is finished, and what it failed from, or why its folder cannot be read."""
    try:
        failure = folder.failure
        return failure is None and folder.is_finished, failure
    except InvregError as error:
        return False, str(error)


def _left(study: StudyFolder, rest: int) -> float | None:
    """Seconds for the rest at the pace of those that were finished since the study was last begun."""
    try:
        begun = (study.path / STUDY_SPEC).stat().st_mtime
        ends = [file.stat().st_mtime for file in study.cells_folder.glob("*/run.sha256")]
    except OSError:
        return None
    return left(time.time() - begun, sum(end > begun for end in ends), rest)


def left(seconds: float, done: int, rest: int) -> float | None:
    """Seconds that the rest takes at the pace so far; None before anything is done."""
    return seconds / done * rest if done else None
