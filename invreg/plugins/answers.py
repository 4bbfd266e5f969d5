"""What commands say of installed plugins and of specs, kept for the next process, which then has to import no plugin.

Texts lie in the cache of this user, or in the folder that the environment variable INVREG_CACHE names, beside size and
time of every file from which they were made. This module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import stat
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.files import cache_folder, write_whole

if TYPE_CHECKING:
    from invreg.plugins.registry import Registry

#: What was changed after this may differ from what was imported: file systems count in steps of up to two seconds.
_STARTED = time.time() - 2.0

#: So many environments (versions, `sys.path`, variables) are kept, and so many files looked at for one.
_MOST_ENVIRONMENTS, _MOST_FILES = 16, 20_000

#: The answers of an environment are kept up to so many characters together, the latest first.
_MOST_CHARACTERS = 2_000_000

_State = dict[str, list[int] | None]


class OfToday(str):
    """An answer that depends on more than the question and the installed files, and is not kept."""

    __slots__ = ()


def answer(question: str, find: Callable[[Registry], str]) -> str:
    """The text that a command prints, from the cache if nothing has changed since it was made.

    It is not kept if a plugin has failed or warned: that is found and said each time.

    Args:
        question: the command with its arguments.
        find: makes the text; `OfToday` if it must not be kept.
    """
    file = cache_folder() / "answers" / f"{_environment()}.json"
    state, texts = _read(file)
    if question in texts:
        return texts[question]
    with _warnings() as warned:
        registry, text = _found(find)
    if not warned and not isinstance(text, OfToday) and _works(registry):
        _keep(file, state, _latest({**texts, question: text}))
    return text


def _latest(texts: dict[str, str]) -> dict[str, str]:
    characters = itertools.accumulate(len(question) + len(text) for question, text in reversed(texts.items()))
    count = sum(total <= _MOST_CHARACTERS for total in characters)
    return dict(list(texts.items())[len(texts) - count :])


def _found(find: Callable[[Registry], str]) -> tuple[Registry, str]:
    from invreg.plugins.registry import Registry

    registry = Registry.installed()
    return registry, find(registry)


def _works(registry: Registry) -> bool:
    from invreg.plugins.discovery import SWITCHED_OFF

    return all(plugin.problem in (None, SWITCHED_OFF) for plugin in registry.plugins)


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged or warned of meanwhile."""
    heard: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        heard.append(record.getMessage())
        return True

    def hear_warning(message: Warning | str, *about: Any, **named: Any) -> None:
        heard.append(str(message))
        show(message, *about, **named)

    log, show = logging.getLogger("invreg"), warnings.showwarning
    log.addFilter(hear)
    warnings.showwarning = hear_warning
    try:
        yield heard
    finally:
        warnings.showwarning = show
        log.removeFilter(hear)


def _environment() -> str:
    """A hash of all but files that decides what is imported."""
    from invreg import __version__

    variables = sorted(
        pair for pair in os.environ.items() if pair[0].startswith("INVREG_") and pair[0] != "INVREG_CACHE"
    )
    parts = [__version__, sys.version, sys.prefix, str(sys.flags), _search_path(), variables]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def working_directory() -> Path:
    """Where paths begin; an empty one if it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def _search_path() -> list[str]:
    here = working_directory()
    return [str(here / folder) for folder in sys.path]


def _read(file: Path) -> tuple[_State, dict[str, str]]:
    """The state of the files and the texts that were made from them; empty if they do not hold any more."""
    try:
        kept = json.loads(file.read_bytes())
        state, texts = dict(kept["state"]), dict(kept["texts"])
        if not state or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("empty")
        current = all(_look(path) == seen for path, seen in state.items())
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        print(f"note: {file} cannot be used and is made anew ({type(error).__name__})", file=sys.stderr)
        return {}, {}
    return (state, texts) if current else ({}, {})


def _keep(file: Path, before: _State, texts: dict[str, str]) -> None:
    from invreg.plugins.discovery import files_of_plugins

    modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {path for path in modules if isinstance(path, str)} | {str(path) for path in files_of_plugins()}
    paths |= before.keys() | set(_search_path())
    if len(paths) > _MOST_FILES:
        return
    state = {path: _look(path) for path in sorted(paths)}
    if any(seen and seen[1] > _STARTED * 1e9 for seen in state.values()):
        return
    try:
        write_whole(file, json.dumps({"state": state, "texts": texts}).encode())
        others = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[_MOST_ENVIRONMENTS:]:
            old.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        print(f"note: plugins are imported each time, as {file.parent} cannot be written: {reason}", file=sys.stderr)


def _look(path: str) -> list[int] | None:
    """Size and time of a file, or a sum over the names in a folder; None if there is none.

    Python's own `__pycache__` comes and goes. Of folders of metadata the time counts as well.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISDIR(found.st_mode):
            return [found.st_size, found.st_mtime_ns]
        with os.scandir(path) as entries:
            names = [
                f"{entry.name} {entry.stat().st_mtime_ns}" if entry.name.endswith("-info") else entry.name
                for entry in entries
                if entry.name != "__pycache__"
            ]
    except (OSError, ValueError):
        return None
    return [zlib.crc32("\n".join(sorted(names)).encode(errors="surrogateescape")), 0]
