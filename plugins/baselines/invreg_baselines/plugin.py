"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_baselines.adjoint import Adjoint
from invreg_baselines.conv_resnet import ConvResNet
from invreg_baselines.diffnet import DiffNet
from invreg_baselines.fbp import FilteredBackProjection
from invreg_baselines.observation import Observation
from invreg_baselines.tikhonov import Tikhonov
from invreg_baselines.unet import UNet
from invreg_baselines.wiener import Wiener


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "observation": Observation,
        "adjoint": Adjoint,
        "fbp": FilteredBackProjection,
        "tikhonov": Tikhonov,
        "wiener": Wiener,
        "unet": UNet,
        "conv_resnet": ConvResNet,
        "diffnet": DiffNet,
    }
