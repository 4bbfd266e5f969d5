"""Third-party code runs without writing to the output of a command or changing global settings."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invreg.errors import PluginError


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """While a plugin is imported or asked something: what it prints goes to standard error, and settings are kept.

    Raises:
        PluginError: if it has changed the working directory or one of torch's global settings; they are as before.
    """
    before = shared_settings()
    try:
        with contextlib.redirect_stdout(sys.stderr):
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


def shared_settings() -> dict[str, Any]:
    """What everything in the process shares, by what it is called in messages."""
    import torch

    return {
        "the working directory": _working_directory(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
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
