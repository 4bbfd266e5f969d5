"""What a run was computed with: versions and machine."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.computing.cores import available_cores

if TYPE_CHECKING:
    import torch

    from invreg.plugins.registry import Registry

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "accelerate", "optuna", "pydantic", "pluggy")


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
        "cores": available_cores(),
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
