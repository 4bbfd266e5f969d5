"""What a run was computed with: versions, machine, device."""

from __future__ import annotations

import logging
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.errors import SpecError

if TYPE_CHECKING:
    import torch

    from invreg.registry import Registry

log = logging.getLogger("invreg")

# Kinds of devices that torch knows, and tells by `torch.<kind>.is_available()` whether there is one.
_ACCELERATORS = ("cuda", "mps", "xpu")

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "accelerate", "optuna", "pydantic", "pluggy")


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes a CUDA GPU if there is one, else the CPU.

    Where a kind of accelerator is asked for that this machine does not have at all, the CPU is taken, and a line of the
    log says so.

    Raises:
        SpecError: if there is no device of this name.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind in _ACCELERATORS and not getattr(torch, kind).is_available():
        log.warning("device %r was asked for, and there is no %s here: computing on the CPU", name, kind)
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(
            f"{name!r} cannot be used: {reason}", where="device", expected="auto, cpu, cuda, cuda:1, ..."
        ) from None
    return device


def describe_environment(registry: Registry, device: torch.device) -> dict[str, Any]:
    """Versions, machine and device, for the run folder and the report."""
    import torch

    installed = {name: metadata.version(name) for name in _LIBRARIES}
    plugins = {p.distribution: p.version for p in registry.plugins if not p.problem}
    return {
        "invreg": metadata.version("invreg"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "libraries": installed,
        "plugins": plugins,
        "set_aside": {f"{p.distribution}: {p.name}": p.problem for p in registry.plugins if p.problem},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()
