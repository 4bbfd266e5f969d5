"""Life-cycle hooks, called one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pluggy

log = logging.getLogger("invreg")


class Events:
    """Calls life-cycle hooks. A listener that raises is named once and then left alone.

    Args:
        manager: the plugin manager whose plugins listen; None for none.
        listeners: objects with hook implementations that listen to this run only (progress bar, log files).
        trackers: more of them, by the names under which they are spoken of.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager | None = None,
        listeners: Iterable[object] = (),
        trackers: Mapping[str, object] | None = None,
    ) -> None:
        import pluggy

        from invreg.components import hookspecs

        self._silenced: set[str] = set()
        self._managers = [manager] if manager is not None else []
        own = pluggy.PluginManager(hookspecs.PROJECT)
        own.add_hookspecs(hookspecs)
        for listener in listeners:
            own.register(listener)
        for name, tracker in (trackers or {}).items():
            own.register(tracker, name)
        self._managers.append(own)

    @property
    def set_aside(self) -> set[str]:
        """Names of the listeners that have failed."""
        return set(self._silenced)

    def emit(self, hook: str, **arguments: Any) -> None:
        """Calls every implementation of `hook`, each guarded by itself."""
        for manager in self._managers:
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                name = implementation.plugin_name
                if name in self._silenced:
                    continue
                try:
                    implementation.function(*(arguments[argument] for argument in implementation.argnames))
                except Exception as error:  # noqa: BLE001 (a listener's failure must never stop a run)
                    self._silenced.add(name)
                    log.warning(
                        "plugin %s failed in %s and is set aside for this run: %s: %s",
                        name,
                        hook,
                        type(error).__name__,
                        error,
                    )
