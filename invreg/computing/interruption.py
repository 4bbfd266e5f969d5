"""Signals that ask a run to end: it stops where it can be taken up, and says what is kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

#: The signals that interrupt a run: Ctrl-C, and what schedulers and `kill` send. One that is ignored stays so.
SIGNALS = ("SIGINT", "SIGTERM")


#: By what `torchrun` and `accelerate launch` tell a process which of how many it is, and where they meet.
LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_one_of_several() -> bool:
    """Whether several processes were started for this command."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and all(os.environ.get(name) for name in LAUNCHED)


class Interrupted(KeyboardInterrupt):
    """A signal has asked this process to end. Its notes (`__notes__`) say what is kept, each in a few words.

    Args:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class _Process:
    """What this process, whose main thread hears all signals, knows of them."""

    def __init__(self) -> None:
        self.is_listening = False
        self.handlers: dict[int, Callable[..., Any] | int] = {}
        self.holds = 0
        self.heard: Interrupted | None = None

    def listen(self) -> None:
        self.is_listening, self.holds, self.heard = True, 0, None
        for name in SIGNALS:
            number = getattr(signal, name)
            before = signal.getsignal(number)
            if before is not None and before is not signal.SIG_IGN:
                self.handlers[number] = before
                signal.signal(number, self.hear)

    def put_back(self) -> None:
        while self.handlers:
            signal.signal(*self.handlers.popitem())

    def hear(self, number: int, frame: object) -> None:
        if is_one_of_several():  # the terminal and the launcher both send one; a launcher that is in a hurry kills
            if self.heard is not None:
                return
        else:
            self.put_back()  # a second signal does what it does elsewhere: it ends the process at once
        self.heard = Interrupted(number)
        if self.holds == 0:
            raise self.heard
        name = signal.Signals(number).name
        # Not print(): the signal may have come in the middle of one.
        second = "" if is_one_of_several() else "; a second signal ends at once"
        if not second and os.environ["RANK"] != "0":
            return
        os.write(2, f"{name}: ends after this step, which is kept{second}\n".encode())


_process = _Process()


def end_with_input() -> None:
    """From now on this process gets SIGTERM when its standard input is closed, as it is when its parent ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def signal_heard() -> int:
    """The number of the signal that has come and is held; 0 if none has."""
    return 0 if _process.heard is None else _process.heard.number


def interrupt(number: int) -> NoReturn:
    """Interrupts this process as the signal would, which another process of the same command has heard.

    Raises:
        KeyboardInterrupt: always.
    """
    _process.heard = _process.heard or Interrupted(number)
    raise _process.heard


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def listening_to_signals() -> Iterator[Callable[[], Interrupted | None]]:
    """The first of `SIGNALS` raises `Interrupted` inside the block; a second one has the effect that it has outside.

    The handlers that were there are put back. In a thread, and inside another such block, nothing is changed.

    Yields:
        A function that gives what was heard so far.
    """
    if _process.is_listening or not _is_main_thread():
        yield lambda: _process.heard
        return
    _process.listen()
    try:
        yield lambda: _process.heard
    finally:
        _process.put_back()
        _process.is_listening = False


@contextmanager
def interruptible() -> Iterator[None]:
    """For calls from Python: Ctrl-C raises KeyboardInterrupt, SIGTERM says what is kept and exits with status 143."""
    if _process.is_listening:
        yield
        return
    with listening_to_signals():
        try:
            yield
        except Interrupted as stop:
            if stop.number == signal.SIGINT:
                raise
            print(in_words(stop), file=sys.stderr)
            raise SystemExit(exit_status(stop)) from stop


@contextmanager
def hold_signals() -> Iterator[None]:
    """A signal that comes inside the block interrupts when the block ends, and not in the middle of it.

    For what must not be left half-way, like a training step whose weights are saved when a run is interrupted. It is
    short: who sends SIGTERM often sends SIGKILL 30 seconds later.

    Example:
        ```python
        with hold_signals():
            optimizer.step()
            step += 1
        ```

    Raises:
        KeyboardInterrupt: at the end of the block, if a signal came inside it, or one that came before was swallowed.
    """
    if not _is_main_thread():  # which alone hears signals
        yield
        return
    _process.holds += 1
    try:
        yield
    finally:
        _process.holds -= 1
    if _process.holds == 0 and _process.is_listening and _process.heard and not _is_handled(_process.heard):
        raise _process.heard


def _is_handled(stop: Interrupted) -> bool:
    """Whether this is called while the exception is on its way up: by what saves a checkpoint, say."""
    error = sys.exc_info()[1]
    while error is not None and error is not stop:
        error = error.__context__
    return error is stop


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status by which shells and schedulers know a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Interrupted) else signal.SIGINT)


def in_words(stop: KeyboardInterrupt) -> str:
    """What ended a command, how to go on, and what is kept, in one or two lines."""
    what = str(stop) if isinstance(stop, Interrupted) else "interrupted"
    notes = getattr(stop, "__notes__", [])
    kept = f"\nkept: {', '.join(notes)}" if notes else ""
    return f"{what}; the same command goes on where this one stopped{kept}"
