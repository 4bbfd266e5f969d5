"""The cores that this process may use, of those that the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

#: Where Linux mounts the control groups, which containers and services are; and what it says of this process.
_MOUNTED, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_cores() -> int:
    """The cores that this process may use: those of the machine, less what affinity and the quota of its container say.

    A quota of one core and a half counts as two cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """The quotas, in cores, of the control groups that this process is in and of those above; versions 1 and 2."""
    try:
        lines = _OWN.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line + "::").split(":", 2)
        if controllers == "":
            roots = [_MOUNTED, _MOUNTED / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [_MOUNTED / controllers, _MOUNTED / "cpu"]
        else:
            continue
        # A container may see itself as the root, or by the path that it has on the machine that carries it.
        inside = Path(path.rstrip(":").lstrip("/"))
        for folder in {root / part for root in roots for part in (inside, *inside.parents)}:
            if (quota := _quota(folder)) is not None:
                yield quota


def _quota(folder: Path) -> float | None:
    """The cores that a control group may use; None if there is no limit."""
    try:
        both = _words(folder / "cpu.max")
        quota, period = both or [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        return float(quota) / float(period) if float(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # `max`; nothing there; a file of another form
        return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []
