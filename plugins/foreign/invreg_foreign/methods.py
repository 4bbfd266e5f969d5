"""Registration of this plugin's methods: apart from its operators, as one of each has the same name."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_foreign.deepinv_model import DeepInverseModel


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"deepinv": DeepInverseModel}
