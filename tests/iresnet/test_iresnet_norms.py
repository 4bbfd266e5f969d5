"""Norms of convolutions: against dense matrices, through autograd, with their factors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from iresnet_helpers import grid_factor, grid_norm
from torch import Tensor

from invreg_iresnet.norms.grid_norms import amplification, most_amplified_waves


def norm(kernels: Tensor, points: int, *, shifted: bool = False) -> Tensor:
    return amplification(kernels, most_amplified_waves(kernels, points, shifted=shifted))


def symbol_norm(kernel: Tensor, points: int, shift: float = 0.0) -> Tensor:
    """The maximum over the whole grid by dense singular values, differentiable: slow and obvious."""
    axis = 2 * math.pi * (torch.arange(points, dtype=torch.float64) + shift) / points
    taps = torch.arange(kernel.shape[-1], dtype=torch.float64)
    waves = torch.exp(-1j * axis[:, None] * taps)
    symbols = torch.einsum("oiab,ua,vb->uvoi", kernel.to(torch.complex128), waves, waves)
    return torch.linalg.matrix_norm(symbols, ord=2).max()


def dense_norm(kernel: Tensor, height: int, width: int) -> float:
    """The norm of the zero-padded convolution of images of one size, as a matrix."""
    channels = kernel.shape[1]
    basis = torch.eye(channels * height * width, dtype=torch.float64).view(-1, channels, height, width)
    matrix = F.conv2d(basis, kernel, padding=kernel.shape[-1] // 2).flatten(1)
    return float(torch.linalg.matrix_norm(matrix, ord=2))


@pytest.mark.parametrize("shape", [(3, 4, 2, 5, 5), (2, 2, 5, 3, 3), (2, 1, 1, 7, 7), (1, 6, 6, 5, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_norm_is_the_largest_singular_value_on_the_grid(shape: tuple[int, ...], shifted: bool) -> None:
    kernels = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([symbol_norm(kernel, 16, 0.5 * shifted) for kernel in kernels])
    torch.testing.assert_close(norm(kernels, 16, shifted=shifted), expected, rtol=3e-3, atol=0)
    # It may choose a frequency that is a little worse than the best, but never exceeds the maximum.
    assert (norm(kernels, 16, shifted=shifted) <= expected * (1 + 1e-12)).all()


def test_norm_of_1x1_convolutions_is_exact() -> None:
    kernels = torch.randn(5, 4, 7, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(norm(kernels, 1), torch.linalg.matrix_norm(kernels[..., 0, 0], ord=2), rtol=1e-6, atol=0)


def test_norm_with_nearly_equal_singular_values() -> None:
    kernels = torch.diag(torch.tensor([1.0, 1 - 1e-4, 1 - 1e-3, 0.5], dtype=torch.float64))[None, :, :, None, None]
    torch.testing.assert_close(norm(kernels, 1), torch.ones(1, dtype=torch.float64), rtol=1e-6, atol=0)


def test_float32_is_accurate_over_many_magnitudes() -> None:
    kernels = torch.randn(3, 8, 4, 5, 5) * torch.tensor([1e-8, 1.0, 1e8]).view(3, 1, 1, 1, 1)
    expected = torch.tensor([grid_norm(kernel, 16) for kernel in kernels])
    torch.testing.assert_close(norm(kernels, 16), expected, rtol=3e-3, atol=0)


def test_kernels_of_zeros_have_norm_zero_and_finite_gradients() -> None:
    kernels = torch.zeros(2, 3, 3, 5, 5, requires_grad=True)
    value = norm(kernels, 16)
    assert value.tolist() == [0, 0]
    assert torch.isfinite(torch.autograd.grad(value.sum(), kernels)[0]).all()


def test_gradient_is_that_of_the_dense_singular_value() -> None:
    kernels = torch.randn(3, 4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    (ours,) = torch.autograd.grad(norm(kernels, 16) @ weights, kernels)
    (dense,) = torch.autograd.grad(torch.stack([symbol_norm(k, 16) for k in kernels]) @ weights, kernels)
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.sampled_from([3, 5]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    smooth=st.booleans(),
)
def test_dense_norm_never_exceeds_the_grid_norm_times_its_factor(
    seed: int, channels: tuple[int, int], size: int, height: int, width: int, smooth: bool
) -> None:
    kernel = torch.randn(*channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    kernel = kernel.cumsum(-1).cumsum(-2) if smooth else kernel
    for points in (8 * (size // 2), 32 * (size // 2)):
        bound = grid_norm(kernel, points) * grid_factor(size, points)
        assert dense_norm(kernel, height, width) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_grid_norm_is_reached_by_large_images(seed: int) -> None:
    kernel = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert dense_norm(kernel, 20, 20) >= 0.95 * grid_norm(kernel, 64)


def test_factor_between_grids() -> None:
    assert [round(grid_factor(5, n), 4) for n in (16, 24, 32, 64, 128)] == [1.1716, 1.0718, 1.0396, 1.0097, 1.0024]
    assert grid_factor(1, 1) == 1
    assert grid_factor(5, 4) == math.inf
    kernel = torch.randn(3, 3, 5, 5, dtype=torch.float64)
    finest = grid_norm(kernel, 128)
    for points in (8, 16, 32):
        assert finest <= grid_norm(kernel, points) * grid_factor(5, points)


def test_grids_of_inference_mode_can_be_trained_with() -> None:
    with torch.inference_mode():
        most_amplified_waves(torch.randn(1, 2, 2, 3, 3), 10)
    kernels = torch.randn(1, 2, 2, 3, 3, requires_grad=True)
    norm(kernels, 10).sum().backward()
    assert kernels.grad is not None
