"""Distances and similarities of images, with their conventions pinned.

Images are in [0, 1] and the data range is 1 for every image. Each function gives one
float64 value per image, `[B]`, for two batches of the same shape, of images `[B, C, H, W]` or of volumes
`[B, C, D, H, W]`, and raises a ShapeError otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from invreg.errors import ShapeError
from invreg.text import size_in_words

SSIM_WINDOW = 11
"""The side of the window of the structural similarity, in pixels: smaller images have none."""


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over the pixels and channels of (x_hat - x)²."""
    _same_shape(x_hat, x, "mse")
    return (x_hat.double() - x.double()).square().flatten(1).mean(1)


def peak_signal_to_noise_ratio(x_hat: Tensor, x: Tensor) -> Tensor:
    """-10 log10(MSE), in dB; the peak is 1. Infinite for equal images."""
    _same_shape(x_hat, x, "psnr")
    return -10 * torch.log10(mean_squared_error(x_hat, x))


def structural_similarity(x_hat: Tensor, x: Tensor) -> Tensor:
    """SSIM with a Gaussian window (standard deviation 1.5, 11x11, no sample covariance), by scikit-image.

    The mean over the channels. The window of volumes has three axes, 11x11x11.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004. Images need at least 11 pixels on each axis.
    """
    from skimage import metrics

    _same_shape(x_hat, x, "ssim")
    if min(x.shape[2:]) < SSIM_WINDOW:
        raise ShapeError(
            f"images of {size_in_words(x.shape[2:])}",
            where="ssim",
            expected=f"at least {'x'.join([str(SSIM_WINDOW)] * (x.dim() - 2))}",
        )
    pairs = zip(x_hat.detach().double().cpu().numpy(), x.detach().double().cpu().numpy(), strict=True)
    values = [
        metrics.structural_similarity(
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


def _same_shape(x_hat: Tensor, x: Tensor, name: str) -> None:
    if x_hat.shape != x.shape:
        raise ShapeError(
            f"reconstructions {tuple(x_hat.shape)} against truths {tuple(x.shape)}",
            where=name,
            expected="the same shape",
        )
