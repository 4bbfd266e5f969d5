"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_stable.averaged_pnp import AveragedPlugAndPlay
from invreg_stable.crr import ConvexRidgeRegularizer
from invreg_stable.deq import DeepEquilibrium
from invreg_stable.wcrr import WeaklyConvexRidgeRegularizer


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "crr": ConvexRidgeRegularizer,
        "wcrr": WeaklyConvexRidgeRegularizer,
        "averaged_pnp": AveragedPlugAndPlay,
        "deq": DeepEquilibrium,
    }
