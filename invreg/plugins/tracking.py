"""Experiment trackers: listeners that plugins offer and a user asks for by name. Nothing is tracked unless asked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from invreg.errors import InvregError, PluginError, SpecError, did_you_mean, message_of
from invreg.plugins.isolation import isolated

if TYPE_CHECKING:
    from invreg.plugins.discovery import Plugin
    from invreg.plugins.registry import Registry

log = logging.getLogger("invreg")

#: The environment variable that names trackers where a call or command does not.
VARIABLE = "INVREG_TRACK"


@runtime_checkable
class Tracker(Protocol):
    """A listener to one run: an object with hook implementations, made by its class without arguments.

    The constructor raises `InvregError` if what it needs is not installed; it is called before anything is computed.
    """

    def close(self) -> None:
        """Called once when the run ends, finished or not."""
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
    trackers: dict[str, Tracker] = {}
    for name in names:
        tracker = offer_of(registry, name).cls()
        if not isinstance(tracker, Tracker):
            raise PluginError(
                f"the tracker {name!r} is a {type(tracker).__name__}",
                expected="an object with close() and hook implementations",
            )
        trackers[name] = tracker
    return trackers


@contextmanager
def open_trackers(registry: Registry, names: Iterable[str]) -> Iterator[dict[str, Tracker]]:
    """New trackers by name, closed at the end; what one raises when it is closed is logged.

    Raises:
        SpecError: if no plugin offers one of this name.
        InvregError: if what a tracker needs is not installed.
    """
    trackers = make_trackers(registry, names)
    try:
        yield trackers
    finally:
        for name, tracker in trackers.items():
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 (a tracker's failure must never stop a run)
                log.warning("tracker %s failed in close: %s: %s", name, type(error).__name__, error)


@dataclass(frozen=True)
class Offer:
    """A tracker that a plugin offers.

    Attributes:
        name: what it is asked for by.
        cls: its class.
        plugin: the plugin that offers it.
    """

    name: str
    cls: type
    plugin: Plugin


def offers(registry: Registry) -> list[Offer]:
    """All trackers that plugins offer; of two with the same name, the first one is used.

    A plugin whose hook fails is named in a warning, and offers none.
    """
    plugins = {f"{plugin.distribution}:{plugin.name}": plugin for plugin in registry.plugins}
    found: list[Offer] = []
    for implementation in registry.manager.hook.invreg_trackers.get_hookimpls():
        try:
            plugin = plugins[implementation.plugin_name]
            with isolated(plugin.watched_as):
                offered = implementation.function()
            if not isinstance(offered, Mapping):
                raise PluginError(f"invreg_trackers() returned a {type(offered).__name__}", expected="a mapping")
            for name, cls in offered.items():
                if not isinstance(cls, type):
                    raise PluginError(f"the tracker {name!r} is a {type(cls).__name__}", expected="a class")
        except (Exception, SystemExit) as error:  # noqa: BLE001 (one plugin that fails must not stop the others)
            cause = str(error) if isinstance(error, InvregError) else message_of(error)
            log.warning("plugin %s offers no trackers: %s", implementation.plugin_name, cause)
            continue
        found += [Offer(str(name), cls, plugin) for name, cls in offered.items()]
    return found


def note_trackers(registry: Registry) -> None:
    """Writes into the registry's plugins which trackers each offers, and where another has the name already."""
    first: dict[str, Plugin] = {}
    for offer in offers(registry):
        if offer.name not in offer.plugin.trackers:
            offer.plugin.trackers.append(offer.name)
        holder = first.setdefault(offer.name, offer.plugin)
        conflict = f"the tracker {offer.name!r} is taken by {holder.distribution}"
        if holder is not offer.plugin and conflict not in offer.plugin.conflicts:
            offer.plugin.conflicts.append(conflict)


def offer_of(registry: Registry, name: str) -> Offer:
    """The tracker that a name means: of two with the same name, that of the plugin that was registered first.

    Raises:
        SpecError: if no plugin offers one of this name.
    """
    offered: dict[str, Offer] = {}
    for offer in offers(registry):
        offered.setdefault(offer.name, offer)
    if name not in offered:
        raise SpecError(
            f"there is no tracker {name!r}",
            where="track",
            expected=f"one of {', '.join(sorted(offered))}" if offered else "a plugin that offers one",
            hint=did_you_mean(name, offered),
        )
    return offered[name]
