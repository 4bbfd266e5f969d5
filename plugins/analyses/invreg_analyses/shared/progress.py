"""Progress of long analyses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invreg import Events

#: Shorter work is not reported.
_SECONDS = 5.0


class Progress:
    """Reports to listeners how much of some work is done; work of less than five seconds is not reported.

    Args:
        events: the listeners.
        label: the analysis.
        stage: the work, in a few words.
        total: how many parts it has.
    """

    def __init__(self, events: Events, label: str, stage: str, total: int) -> None:
        self._events, self._label, self._stage, self._total = events, label, stage, total
        self._start, self._done, self._reported = time.monotonic(), 0, False

    def advance(self, parts: int = 1) -> None:
        """Counts further parts as done."""
        self._done += parts
        if self._reported or (time.monotonic() - self._start > _SECONDS and self._done < self._total):
            self._reported = True
            self._events.emit(
                "invreg_progress",
                label=self._label,
                stage=self._stage,
                done=min(self._done, self._total),
                total=self._total,
                values={},
            )
