"""Image quality: the usual measures with their conventions pinned.

Images are in [0, 1] and the data range is 1, whatever the extreme values of an image are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from invreg.component import Component
from invreg.errors import ShapeError
from invreg.hookspecs import hookimpl


class Metric(Component, ABC):
    """A measure of the distance or similarity between reconstructions and true images."""

    #: Whether a larger value is a better one.
    higher_is_better: ClassVar[bool]

    #: The unit of its values, as figures and tables show it; empty for a pure number.
    unit: ClassVar[str] = ""

    @abstractmethod
    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """One value per image, `[B]`, for reconstructions and truths of the same shape `[B, C, H, W]`."""


def _same_shape(x_hat: Tensor, x: Tensor, name: str) -> None:
    if x_hat.shape != x.shape:
        raise ShapeError(
            f"reconstructions {tuple(x_hat.shape)} against truths {tuple(x.shape)}",
            where=name,
            expected="the same shape",
        )


class MSE(Metric):
    """Mean squared error over the pixels and channels of each image."""

    higher_is_better = False

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        _same_shape(x_hat, x, "mse")
        return (x_hat.double() - x.double()).square().flatten(1).mean(1)


class PSNR(Metric):
    """Peak signal-to-noise ratio, -10 log10(MSE), in dB; the peak is 1. Infinite for equal images."""

    higher_is_better = True
    unit = "dB"

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        _same_shape(x_hat, x, "psnr")
        return -10 * torch.log10(MSE()(x_hat, x))


class SSIM(Metric):
    """Structural similarity with a Gaussian window (standard deviation 1.5, 11x11, no sample covariance).

    Source: Wang, Bovik, Sheikh, Simoncelli 2004; computed by scikit-image. Images need at least 11x11 pixels.
    """

    higher_is_better = True

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        from skimage.metrics import structural_similarity

        _same_shape(x_hat, x, "ssim")
        if min(x.shape[-2:]) < 11:
            raise ShapeError(f"images of {x.shape[-2]}x{x.shape[-1]} pixels", where="ssim", expected="at least 11x11")
        pairs = zip(x_hat.detach().double().cpu().numpy(), x.detach().double().cpu().numpy(), strict=True)
        values = [
            structural_similarity(
                a,
                b,
                channel_axis=0,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in pairs
        ]
        return torch.tensor(values, dtype=torch.float64, device=x.device)


@hookimpl
def invreg_interface() -> int:
    return 1


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"psnr": PSNR, "ssim": SSIM, "mse": MSE}
