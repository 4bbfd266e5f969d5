"""How far long work of an analysis has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invreg import Events

#: Work that takes less is not worth telling.
_SECONDS = 5.0


class Progress:
    """Tells listeners how much of some work is done; work of less than five seconds is not told.

    Args:
        events: who listens.
        label: the analysis.
        stage: the work, in a few words.
        total: how many parts it has.
    """

    def __init__(self, events: Events, label: str, stage: str, total: int) -> None:
        self._events, self._label, self._stage, self._total = events, label, stage, total
        self._start, self._done, self._told = time.monotonic(), 0, False

    def advance(self, parts: int = 1) -> None:
        """So many more parts are done."""
        self._done += parts
        if self._told or (time.monotonic() - self._start > _SECONDS and self._done < self._total):
            self._told = True
            self._events.emit(
                "invreg_progress",
                label=self._label,
                stage=self._stage,
                done=min(self._done, self._total),
                total=self._total,
                values={},
            )
