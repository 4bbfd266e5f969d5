"""Threads that keep their pace beside other programs.

Threads of OpenMP wait for each other by spinning. On a quiet machine that is what is fastest; where another program has
taken the core of one, the others waste theirs until it is back. libgomp, torch's OpenMP on Linux, spins a thousandth of
that while it has more threads than there are cores (its manual, GOMP_SPINCOUNT), also if the further ones sleep. So
threads that sleep are added while this process waits for cores. What is computed does not change: the number of threads
that compute is decided by the cores and the quota alone, and is kept when a run goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Self

from invreg.computing.cores import available_cores

log = logging.getLogger("invreg")

#: How often threads of commands spin: the middle between the default, 300,000, and sleeping at once, which loses the
#: gain of the second thread on small images.
SPINS = "20000"

#: Seconds between two looks, and those for which cores have to be free before threads spin again.
_LOOK, _FREE = 0.5, 10.0

#: Of the time that threads could have computed, the part in which they waited for cores: busy, and free again.
_BUSY, _QUIET = 0.1, 0.03

#: A training that has taken so many seconds and waited for so much of its time says that the machine was busy.
_LONG, _MUCH = 60.0, 0.4


def spin_less() -> None:
    """Has threads of this process, and of those that it starts, spin less; for before torch is imported.

    It says nothing to those who have chosen for themselves.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextmanager
def sharing_cores(recorded: int | None = None) -> Iterator[None]:
    """Keeps torch's threads at their pace beside other programs, and within the quota of a container.

    Args:
        recorded: the number of threads with which the work was begun; it goes on with as many, since sums are rounded
            differently with another number. Who has set OMP_NUM_THREADS has chosen.
    """
    import torch

    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        if recorded is not None and recorded != before:
            log.warning(
                "going on with %d threads, as it was begun, not %d: numbers stay the same; OMP_NUM_THREADS chooses",
                recorded,
                before,
            )
        elif recorded is None and available_cores() < before:
            log.warning("computing with %d threads, not %d: the quota of this container", available_cores(), before)
        torch.set_num_threads(recorded or min(before, available_cores()))
    elif recorded is not None and recorded != before:
        log.warning(
            "begun with %d threads, going on with %d, as OMP_NUM_THREADS says: sums are rounded differently",
            recorded,
            before,
        )
    try:
        with _Watch() if _can_share(torch.get_num_threads()) else nullcontext():
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _can_share(threads: int) -> bool:
    """Whether there are threads that wait for each other, nobody has said how, and the system says what they wait."""
    chosen = "OMP_WAIT_POLICY" in os.environ or os.environ.get("GOMP_SPINCOUNT", SPINS) != SPINS
    return threads > 1 and not chosen and Times.now().waited > 0


@dataclass(frozen=True)
class Times:
    """Seconds that the threads of this process have computed, waited for a core, and that have passed.

    The system tells on Linux what they have waited; elsewhere it is 0.
    """

    computed: float
    waited: float
    passed: float

    @classmethod
    def now(cls) -> Self:
        waited = 0
        for file in Path("/proc/self/task").glob("*/schedstat"):
            try:
                waited += int(file.read_text().split()[1])
            except (OSError, ValueError, IndexError):  # the thread has ended; a system without these numbers
                continue
        return cls(time.process_time(), waited / 1e9, time.monotonic())

    def since(self, before: Times) -> Times:
        waited = max(0.0, self.waited - before.waited)  # threads that have ended take theirs with them
        return Times(self.computed - before.computed, waited, self.passed - before.passed)

    @property
    def share_waited(self) -> float:
        """Of the time that its threads could have computed, the part in which they had no core."""
        return self.waited / max(self.computed + self.waited, 1e-9)

    @property
    def complaint(self) -> str | None:
        """What to say to a person for whom the machine was too busy for a long time; None otherwise."""
        if self.passed < _LONG or self.share_waited < _MUCH:
            return None
        return (
            f"the machine was busy: threads waited for a core {self.share_waited:.0%} of their time, as other programs "
            "had it; on a quiet machine this takes less time"
        )


class _Watch:
    """Looks how long threads wait for cores, and has them spin briefly meanwhile."""

    def __init__(self) -> None:
        self._done = Event()
        self._thread = Thread(target=self._look, daemon=True, name="invreg looks for free cores")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        further: _FurtherThreads | None = None
        before, busy_at = Times.now(), 0.0
        while not self._done.wait(_LOOK):
            now = Times.now()
            last, before = now.since(before), now
            if last.share_waited > _BUSY:
                busy_at = now.passed
                further = further or _FurtherThreads()
            elif last.share_waited > _QUIET:
                busy_at = now.passed if further else busy_at
            elif further and now.passed - busy_at > _FREE:
                further.end()
                further = None
        if further:
            further.end()


class _FurtherThreads:
    """More threads of OpenMP than there are cores, which sleep: with them, all spin briefly."""

    def __init__(self) -> None:
        self._done = Event()
        self._thread = Thread(target=self._sleep, daemon=True, name="invreg has threads spin briefly")
        self._thread.start()

    def end(self) -> None:
        """Ends them, and threads spin as before."""
        self._done.set()
        self._thread.join()

    def _sleep(self) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        work = torch.ones(1 << 16, dtype=torch.float32, device="cpu")  # enough for torch to call all threads
        work.add(1)  # torch has set up the number of threads for this one
        with threadpool_limits((os.cpu_count() or 1) + 1, user_api="openmp"):  # also for this one alone
            work.add(1)
            self._done.wait()
