"""What trackers take from a run: numbers with a step, and the settings of the spec in flat form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def step_of(epoch: int, values: Mapping[str, Any]) -> int:
    """The axis of a training: optimizer steps where they are given (an epoch may have several rows)."""
    step = values.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else epoch


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, without the axes."""
    return {
        str(key): float(value)
        for key, value in values.items()
        if key not in ("step", "epoch") and is_number(value) and math.isfinite(value)
    }


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python or NumPy, and not a boolean."""
    if isinstance(value, bool | str | bytes):
        return False
    return isinstance(value, int | float) or getattr(value, "ndim", None) == 0


def flat(content: Any, prefix: str = "") -> dict[str, str | int | float | bool]:
    """The leaves of a spec by their dotted paths."""
    if isinstance(content, Mapping):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list) and any(isinstance(value, Mapping | list) for value in content):
        items = [(str(index), value) for index, value in enumerate(content)]
    elif isinstance(content, bool | int | float | str):
        return {prefix: content}
    else:
        return {prefix: "" if content is None else str(content)}
    leaves: dict[str, str | int | float | bool] = {}
    for key, value in items:
        leaves.update(flat(value, f"{prefix}.{key}" if prefix else key))
    return leaves
