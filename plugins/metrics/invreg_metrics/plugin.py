"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_metrics.metrics import MSE, PSNR, SSIM


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"psnr": PSNR, "ssim": SSIM, "mse": MSE}
