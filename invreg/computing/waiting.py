"""What takes its time says so, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

#: Seconds until the first line, and between those that follow.
_FIRST, _NEXT = 1.0, 10.0


@contextmanager
def said(what: str, *, progress: bool = True) -> Iterator[None]:
    """Prints a line on standard error if the block takes more than a second, and then one every ten seconds.

    Args:
        what: is being done, and why it takes its time.
        progress: whether anything is printed.
    """
    if not progress:
        yield
        return
    done, start = Event(), time.monotonic()

    def speak() -> None:
        if not done.wait(_FIRST):
            print(what, file=sys.stderr, flush=True)
        while not done.wait(_NEXT):
            print(f"{what}: {time.monotonic() - start:.0f} s so far", file=sys.stderr, flush=True)

    speaker = Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()
