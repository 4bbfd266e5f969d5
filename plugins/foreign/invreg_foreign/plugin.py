"""Registration of this plugin's operators."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_foreign.deepinv_physics import DeepInversePhysics
from invreg_foreign.pylops_operator import PyLopsOperator
from invreg_foreign.scipy_matrix import ScipyMatrix


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"deepinv": DeepInversePhysics, "pylops": PyLopsOperator, "scipy_matrix": ScipyMatrix}
