"""The usual measures of image quality as components."""

from __future__ import annotations

from torch import Tensor

from invreg import Metric, mean_squared_error, peak_signal_to_noise_ratio, structural_similarity


class MSE(Metric):
    """Mean squared error over the pixels and channels of each image."""

    higher_is_better = False

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return mean_squared_error(x_hat, x)


class PSNR(Metric):
    """Peak signal-to-noise ratio, -10 log10(MSE), in dB; the peak is 1. Infinite for equal images."""

    higher_is_better = True
    unit = "dB"

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return peak_signal_to_noise_ratio(x_hat, x)


class SSIM(Metric):
    """Structural similarity with a Gaussian window (standard deviation 1.5, 11x11, no sample covariance).

    The window of volumes has three axes, 11x11x11.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004; computed by scikit-image. Images need at least 11 pixels on each axis.
    """

    higher_is_better = True

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return structural_similarity(x_hat, x)
