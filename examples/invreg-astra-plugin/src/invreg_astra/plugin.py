"""Registration of the component."""

from __future__ import annotations

from collections.abc import Mapping

import invreg
from invreg_astra.operators import AstraParallelBeam


@invreg.hookimpl
def invreg_interface() -> int:
    return 1


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"astra_parallel": AstraParallelBeam}
