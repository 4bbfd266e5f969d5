"""What a run was computed with: versions, machine, device."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.errors import SpecError

if TYPE_CHECKING:
    import torch

    from invreg.registry import Registry

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "accelerate", "optuna", "pydantic", "pluggy")


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes a CUDA GPU if there is one, else the CPU.

    Raises:
        SpecError: if there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
