"""Operators and reconstructors of other packages in invreg, and those of invreg in other packages.

A wrapper holds an object of another package, which no spec can name: wrappers are for Python. The other package
is imported when one of these functions is called, and never before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "noise_from_deepinverse": "invreg.interop.deepinverse",
    "operator_from_physics": "invreg.interop.deepinverse",
    "operator_from_pylops": "invreg.interop.pylops",
    "operator_from_scipy": "invreg.interop.scipy",
    "operator_to_pylops": "invreg.interop.pylops",
    "operator_to_scipy": "invreg.interop.scipy",
    "physics_from_operator": "invreg.interop.deepinverse",
    "problem_from_physics": "invreg.interop.deepinverse",
    "reconstructor_from_deepinverse": "invreg.interop.deepinverse",
    "to_deepinverse": "invreg.interop.deepinverse",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'invreg.interop' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
