"""A stranger's code is run without getting into what a command prints, or into settings that everybody shares."""

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
    before = _settings()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        after = _settings()
        changed = [name for name in before if before[name] != after[name]]
        for name in changed:
            _restore(name, before[name])
    if changed:
        raise PluginError(
            f"changes {' and '.join(changed)} of everybody (from {before[changed[0]]} to {after[changed[0]]})",
            expected="a plugin that leaves global settings alone",
            hint="set what a component needs where it computes, on its own tensors",
        )


def _settings() -> dict[str, Any]:
    import torch

    return {
        "the working directory": _working_directory(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's grad mode": torch.is_grad_enabled(),
    }


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
