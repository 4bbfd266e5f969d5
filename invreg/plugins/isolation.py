"""Third-party code runs without writing to the output of a command, changing global settings, exiting or hanging."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from invreg.errors import PluginError

#: After so many seconds, a plugin that is still being imported is named; by default, after so many it is set aside.
NAMED_AFTER, ENDED_AFTER = 20.0, 120.0


@contextlib.contextmanager
def isolated(plugin: str | None = None) -> Iterator[None]:
    """While a plugin is imported or asked something: what it prints goes to standard error, and settings are kept.

    Args:
        plugin: the name by which `INVREG_DISABLE_PLUGINS` switches it off; with one, it is also watched: it can
            neither end the process nor keep it for ever. The seconds that it has are in `INVREG_PLUGIN_SECONDS`.

    Raises:
        PluginError: if it has changed the working directory or one of torch's global settings (they are as before), or
            tried to end the process, or took too long.
    """
    before = shared_settings()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            if plugin is not None:
                stack.enter_context(_on_standard_error())
                stack.enter_context(_that_cannot_exit())
                stack.enter_context(_with_an_end(plugin))
            yield
    finally:
        changed = put_back(before)
    if changed:
        name, found = next(iter(changed.items()))
        raise PluginError(
            f"changes {' and '.join(changed)} of everybody (from {before[name]} to {found})",
            expected="a plugin that leaves global settings alone",
            hint="set what a component needs where it computes, on its own tensors",
        )


@contextlib.contextmanager
def _on_standard_error() -> Iterator[None]:
    """What is written to the file of standard output itself, by C or `os.write`, goes to standard error."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # there is none
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _that_cannot_exit() -> Iterator[None]:
    """`os._exit` and `os.abort` raise, in this process; of a crash, Python prints where it was."""
    process, own = os.getpid(), {name: getattr(os, name) for name in ("_exit", "abort")}

    def refusing(name: str) -> Callable[..., Any]:
        def refuse(*arguments: Any) -> Any:
            if os.getpid() != process:  # a child that it has started ends in this way
                return own[name](*arguments)
            raise PluginError(f"calls os.{name}", expected="a plugin that leaves the process alone")

        return refuse

    names_crashes = not faulthandler.is_enabled()
    if names_crashes:
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a standard error that is no file
            faulthandler.enable()
    for name in own:
        setattr(os, name, refusing(name))
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(os, name, function)
        if names_crashes:
            faulthandler.disable()


@contextlib.contextmanager
def _with_an_end(plugin: str) -> Iterator[None]:
    """Says after a while which plugin is being waited for, and ends it after a longer one.

    A `KeyboardInterrupt` that no one at the keyboard has caused is the plugin's own.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    limit = _seconds(os.environ.get("INVREG_PLUGIN_SECONDS", ""))
    lock, state = threading.Lock(), {"running": True, "late": False, "interrupted": False}

    def on_interrupt(number: int, frame: FrameType | None) -> Any:
        if state["late"]:
            raise PluginError(
                f"takes longer than {limit:g} s",
                hint=f"INVREG_PLUGIN_SECONDS={5 * limit:g} in the environment gives it more time",
            )
        state["interrupted"] = True
        return before(number, frame) if callable(before) else None

    def name_it() -> None:
        off = f"INVREG_DISABLE_PLUGINS={plugin} in the environment switches it off"
        print(f"waiting for the plugin {plugin!r} since {NAMED_AFTER:g} s; {off}", file=sys.__stderr__, flush=True)

    def end_it() -> None:
        with lock:
            if state["running"]:
                state["late"] = True
                # To the main thread itself, so that it also ends a call of the system that waits.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    timers = [threading.Timer(NAMED_AFTER, name_it), threading.Timer(limit, end_it)]
    before = signal.signal(signal.SIGINT, on_interrupt)
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if state["interrupted"]:
            raise
        raise PluginError("raises KeyboardInterrupt") from None
    finally:
        for timer in timers:
            timer.cancel()
        with lock:
            state["running"] = False
        signal.signal(signal.SIGINT, before)


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.1), threading.TIMEOUT_MAX)
    except ValueError:
        return ENDED_AFTER


def shared_settings() -> dict[str, Any]:
    """What everything in the process shares, by what it is called in messages."""
    import torch

    return {
        "the working directory": _working_directory(),
        "torch's default dtype": torch.get_default_dtype(),
        # torch.get_default_device() of torch 2.4 fails once a device was taken back.
        "torch's default device": torch.empty(0).device,
        "torch's grad mode": torch.is_grad_enabled(),
    }


def put_back(settings: dict[str, Any]) -> dict[str, Any]:
    """Restores settings, and gives those that were other ones, with what they were."""
    changed = {name: value for name, value in shared_settings().items() if value != settings[name]}
    for name in changed:
        _restore(name, settings[name])
    return changed


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed by someone else
        return None


def _restore(name: str, value: Any) -> None:
    import torch

    if name == "the working directory":
        if value is not None:
            os.chdir(value)
    elif name == "torch's default dtype":
        torch.set_default_dtype(value)
    elif name == "torch's default device":
        # None, because a device that is set, be it the CPU, makes every call slower.
        torch.set_default_device(None if value == torch.device("cpu") else value)
    else:
        torch.set_grad_enabled(value)
