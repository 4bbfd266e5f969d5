"""Experiment trackers: listeners that plugins offer and a user asks for by name. Nothing is tracked unless asked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from invreg.errors import InvregError, PluginError, SpecError, did_you_mean

if TYPE_CHECKING:
    from invreg.registry import Registry

log = logging.getLogger("invreg")

#: The environment variable that names trackers where a call or command does not.
VARIABLE = "INVREG_TRACK"


@runtime_checkable
class Tracker(Protocol):
    """A listener to one run: an object with hook implementations, made by its class without arguments.

    The constructor raises `InvregError` if what it needs is not installed; it is called before anything is computed.
    """

    def close(self) -> None:
        """Told once when the run ends, finished or not."""
        ...


def asked_for(track: Iterable[str] | None) -> list[str]:
    """The names of the trackers of a run: those given, or those in `INVREG_TRACK`, separated by commas."""
    if isinstance(track, str):
        track = track.split(",")
    names = os.environ.get(VARIABLE, "").split(",") if track is None else list(track)
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def make_trackers(registry: Registry, names: Iterable[str]) -> dict[str, Tracker]:
    """New trackers by name.

    Raises:
        SpecError: if no plugin offers one of this name.
        InvregError: if what a tracker needs is not installed.
    """
    wanted = list(names)
    offered = _offered(registry) if wanted else {}
    trackers: dict[str, Tracker] = {}
    for name in wanted:
        if name not in offered:
            raise SpecError(
                f"there is no tracker {name!r}",
                where="track",
                expected=f"one of {', '.join(sorted(offered))}" if offered else "a plugin that offers one",
                hint=did_you_mean(name, offered),
            )
        tracker = offered[name]()
        if not isinstance(tracker, Tracker):
            raise PluginError(
                f"the tracker {name!r} is a {type(tracker).__name__}",
                expected="an object with close() and hook implementations",
            )
        trackers[name] = tracker
    return trackers


def close_trackers(trackers: Mapping[str, Tracker]) -> None:
    """Closes each; what one raises is logged, and no more."""
    for name, tracker in trackers.items():
        try:
            tracker.close()
        except Exception as error:  # noqa: BLE001 (a tracker's failure must never stop a run)
            log.warning("tracker %s failed in close: %s: %s", name, type(error).__name__, error)


def _offered(registry: Registry) -> dict[str, type]:
    """Trackers by name; of two plugins with the same name, the one that was registered first has it."""
    offered: dict[str, type] = {}
    for implementation in registry.manager.hook.invreg_trackers.get_hookimpls():
        try:
            found = implementation.function()
            if not isinstance(found, Mapping):
                raise PluginError(f"invreg_trackers() returned a {type(found).__name__}", expected="a mapping")
        except Exception as error:  # noqa: BLE001 (a stranger's plugin does not take the others away)
            cause = str(error) if isinstance(error, InvregError) else f"{type(error).__name__}: {error}"
            log.warning("plugin %s offers no trackers: %s", implementation.plugin_name, cause)
            continue
        for name, cls in found.items():
            offered.setdefault(name, cls)
    return offered
