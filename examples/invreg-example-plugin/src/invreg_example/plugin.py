"""Registration of the components."""

from __future__ import annotations

from collections.abc import Mapping

import invreg
from invreg_example.analyses import EdgeErrors
from invreg_example.operators import MovingAverage
from invreg_example.reconstructors import Landweber


@invreg.hookimpl
def invreg_interface() -> int:
    return 1


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"moving_average": MovingAverage, "landweber": Landweber, "edge_errors": EdgeErrors}
