"""Metrics of volumes, against scikit-image."""

import pytest
import torch
from skimage import metrics

from invreg import ShapeError
from invreg_metrics.metrics import MSE, PSNR, SSIM


def pair(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return x, (x + 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def test_values_are_those_of_scikit_image() -> None:
    x, x_hat = pair((2, 1, 11, 13, 12))
    for index in range(2):
        a, b = x[index, 0].double().numpy(), x_hat[index, 0].double().numpy()
        assert MSE()(x_hat, x)[index] == pytest.approx(metrics.mean_squared_error(a, b))
        assert PSNR()(x_hat, x)[index] == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=1))
        expected = metrics.structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert SSIM()(x_hat, x)[index] == pytest.approx(expected)


def test_the_window_has_three_axes() -> None:
    """Slices alone are more alike than their neighbourhood in the volume, and the other way round."""
    x, x_hat = pair((1, 1, 11, 12, 13))
    slices = SSIM()(x_hat[0, 0][:, None], x[0, 0][:, None]).mean()
    assert abs(float(SSIM()(x_hat, x)) - float(slices)) > 1e-3


def test_small_volumes_have_no_window() -> None:
    x = torch.zeros(1, 1, 6, 16, 16)
    assert float(MSE()(x, x)) == 0
    with pytest.raises(ShapeError, match=r"(?s)6x16x16 voxels.*11x11x11"):
        SSIM()(x, x)
