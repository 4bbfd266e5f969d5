"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_tv.reconstructor import TotalVariation


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"tv": TotalVariation}
