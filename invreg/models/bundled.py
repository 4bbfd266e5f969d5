"""The models that come with invreg."""

from __future__ import annotations

from pathlib import Path

from invreg.errors import StoreError, did_you_mean, nothing_computed
from invreg.specs.starting import BUNDLED


def bundled_models() -> list[str]:
    """The names of the models that come with invreg."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))


def bundled_model(name: str) -> Path:
    """The folder of a model that comes with invreg.

    Raises:
        StoreError: if there is none of this name.
    """
    if name not in (names := bundled_models()):
        raise nothing_computed(
            StoreError(
                f"there is no model {name!r}", expected=f"one of {', '.join(names)}", hint=did_you_mean(name, names)
            )
        )
    return BUNDLED / name
