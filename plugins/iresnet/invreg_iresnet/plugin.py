"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_iresnet.explicit_iresnet import ExplicitIResNet, MultiscaleExplicitIResNet
from invreg_iresnet.iresnet import IResNet, MultiscaleIResNet


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "iresnet": IResNet,
        "explicit_iresnet": ExplicitIResNet,
        "multiscale_iresnet": MultiscaleIResNet,
        "multiscale_explicit_iresnet": MultiscaleExplicitIResNet,
    }
