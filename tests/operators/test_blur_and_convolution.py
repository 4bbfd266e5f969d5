"""Gaussian blur and convolution against other libraries, and their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from invreg.components.operator import LinearOperator
from invreg.errors import SpecError
from invreg_metrics.metrics import PSNR
from invreg_operators.convolution.convolution import Convolution
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.shared.boundary import fold, pad, smallest_size

SCIPY = {"symmetric": "reflect", "zero": "constant", "circular": "wrap", "replicate": "nearest", "reflect": "mirror"}
NUMPY = {"symmetric": "symmetric", "zero": "constant", "circular": "wrap", "replicate": "edge", "reflect": "reflect"}
KERNEL = [[0.1, -0.2, 0.3, 0.0, 0.5], [1.0, 0.0, 0.25, -0.7, 0.2], [0.05, 0.6, 0.0, 0.3, -0.4]]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("boundary", SCIPY)
@pytest.mark.parametrize("radii", [(0, 0), (1, 3), (4, 2)])
def test_pad_is_that_of_numpy_and_fold_its_adjoint(boundary: str, radii: tuple[int, int]) -> None:
    shape = tuple(smallest_size(radius, boundary) for radius in radii)
    for height, width in (shape, (shape[0] + 1, shape[1] + 5)):
        x = noise(height, width)
        padded = pad(x, radii, boundary)
        expected = np.pad(x.numpy(), [(radii[0],) * 2, (radii[1],) * 2], mode=NUMPY[boundary])
        np.testing.assert_array_equal(padded.numpy(), expected)
        y = noise(*padded.shape, seed=1)
        assert torch.sum(padded * y).item() == pytest.approx(torch.sum(x * fold(y, radii, boundary)).item(), rel=1e-12)


@pytest.mark.parametrize("boundary", SCIPY)
@pytest.mark.parametrize("shape", [(6, 6), (24, 17), (300, 20)])
def test_blur_is_that_of_scipy(boundary: str, shape: tuple[int, int]) -> None:
    x = noise(2, 1, *shape)
    blurred = GaussianBlur(boundary=boundary)(x)
    for i in range(2):
        expected = ndimage.gaussian_filter(x[i, 0].numpy(), 5 / 3, mode=SCIPY[boundary], radius=5)
        np.testing.assert_allclose(blurred[i, 0].numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("boundary", SCIPY)
@pytest.mark.parametrize("shape", [(3, 3), (9, 14)])
def test_convolution_is_that_of_scipy(boundary: str, shape: tuple[int, int]) -> None:
    x = noise(1, 2, *shape)
    convolved = Convolution(KERNEL, boundary)(x)
    for c in range(2):
        expected = ndimage.convolve(x[0, c].numpy(), np.array(KERNEL), mode=SCIPY[boundary])
        np.testing.assert_allclose(convolved[0, c].numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("boundary", ["zero", "replicate"])
@pytest.mark.parametrize(("rows", "columns"), [(31, 3), (3, 41), (23, 47)])
def test_kernels_beyond_the_image_are_folded_to_it(boundary: str, rows: int, columns: int) -> None:
    kernel, x, y = noise(rows, columns), noise(1, 1, 6, 9, seed=1), noise(1, 1, 6, 9, seed=2)
    convolution = Convolution(kernel.tolist(), boundary)
    expected = ndimage.convolve(x[0, 0].numpy(), kernel.numpy(), mode=SCIPY[boundary])
    np.testing.assert_allclose(convolution(x)[0, 0].numpy(), expected, atol=1e-12)
    adjoint = convolution.adjoint(y)
    assert torch.sum(convolution(x) * y).item() == pytest.approx(torch.sum(x * adjoint).item(), rel=1e-11)


@pytest.mark.parametrize("boundary", SCIPY)
def test_kernels_of_many_entries_are_applied_by_fourier_transforms(boundary: str) -> None:
    kernel, x, y = noise(33, 35), noise(2, 2, 34, 37, seed=1), noise(2, 2, 34, 37, seed=2)
    convolution = Convolution(kernel.tolist(), boundary)
    expected = ndimage.convolve(x[1, 0].numpy(), kernel.numpy(), mode=SCIPY[boundary])
    np.testing.assert_allclose(convolution(x)[1, 0].numpy(), expected, atol=1e-11)
    adjoint = convolution.adjoint(y)
    assert torch.sum(convolution(x) * y).item() == pytest.approx(torch.sum(x * adjoint).item(), rel=1e-10)
    assert convolution(x.half()).dtype == torch.float16
    assert convolution(x[:0]).shape == x[:0].shape


@pytest.mark.parametrize("sides", [(11, 11, 11), (3, 15, 5)])
def test_large_kernels_of_volumes(sides: tuple[int, int, int]) -> None:
    kernel, x, y = noise(*sides), noise(1, 1, 4, 6, 5, seed=1), noise(1, 1, 4, 6, 5, seed=2)
    convolution = Convolution(kernel.tolist(), "replicate")
    expected = ndimage.convolve(x[0, 0].numpy(), kernel.numpy(), mode="nearest")
    np.testing.assert_allclose(convolution(x)[0, 0].numpy(), expected, atol=1e-11)
    adjoint = convolution.adjoint(y)
    assert torch.sum(convolution(x) * y).item() == pytest.approx(torch.sum(x * adjoint).item(), rel=1e-10)


def test_convolution_maps_a_bright_pixel_to_the_kernel() -> None:
    x = torch.zeros(1, 1, 7, 9, dtype=torch.float64)
    x[0, 0, 3, 4] = 1
    torch.testing.assert_close(Convolution(KERNEL)(x)[0, 0, 2:5, 2:7], torch.tensor(KERNEL, dtype=torch.float64))


@pytest.mark.parametrize("boundary", SCIPY)
def test_blur_is_a_convolution(boundary: str) -> None:
    blur, x = GaussianBlur(kernel_size=5, std=0.8, boundary=boundary), noise(2, 1, 11, 8)
    profile = np.exp(-((np.arange(-2, 3) / 0.8) ** 2) / 2)
    kernel = np.outer(profile, profile) / profile.sum() ** 2
    convolution = Convolution(kernel.tolist(), boundary)
    torch.testing.assert_close(blur(x), convolution(x))
    torch.testing.assert_close(blur.adjoint(x), convolution.adjoint(x))


@pytest.mark.parametrize("boundary", SCIPY)
def test_large_images_go_another_way_to_the_same_place(boundary: str) -> None:
    blur, x = GaussianBlur(boundary=boundary), noise(1, 1, 256, 20)
    far = torch.cat([x, torch.zeros(1, 1, 1, 20, dtype=torch.float64)], 2)
    torch.testing.assert_close(blur(far)[:, :, 10:240], blur(x)[:, :, 10:240], atol=1e-14, rtol=0)
    y = noise(1, 1, 300, 270, seed=1)
    forward, x = blur(y), noise(1, 1, 300, 270, seed=2)
    assert torch.sum(forward * x).item() == pytest.approx(torch.sum(y * blur.adjoint(x)).item(), rel=1e-10)


@pytest.mark.parametrize("boundary", ["symmetric", "zero", "circular"])
def test_blur_is_self_adjoint(boundary: str) -> None:
    blur, x = GaussianBlur(boundary=boundary), noise(1, 1, 30, 21)
    torch.testing.assert_close(blur(x), blur.adjoint(x), atol=1e-14, rtol=0)


@pytest.mark.parametrize("boundary", ["symmetric", "circular", "replicate", "reflect"])
def test_blur_keeps_constants(boundary: str) -> None:
    ones = torch.ones(1, 1, 20, 13, dtype=torch.float64)
    torch.testing.assert_close(GaussianBlur(boundary=boundary)(ones), ones)


@pytest.mark.parametrize("boundary", SCIPY)
def test_norm_of_the_blur(boundary: str) -> None:
    blur = GaussianBlur(boundary=boundary)
    norm = blur.norm((1, 48, 30)).value
    assert norm == pytest.approx(LinearOperator.norm(blur, (1, 48, 30)).value, rel=1e-6)
    if boundary in ("symmetric", "circular"):
        assert norm == 1
    else:
        assert (norm < 1) == (boundary == "zero")


def test_norm_of_the_blur_of_large_images() -> None:
    # The eigenvalues of a tridiagonal Toeplitz matrix are known.
    side = math.exp(-0.5)
    centre, side = 1 / (1 + 2 * side), side / (1 + 2 * side)
    expected = (centre + 2 * side * math.cos(math.pi / 301)) * (centre + 2 * side * math.cos(math.pi / 3))
    assert GaussianBlur(kernel_size=3, std=1, boundary="zero").norm((1, 300, 2)).value == pytest.approx(expected)


def test_blur_with_a_kernel_of_one_pixel_is_the_identity() -> None:
    x = noise(1, 1, 1, 3)
    torch.testing.assert_close(GaussianBlur(kernel_size=1)(x), x)


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("symmetric", 23.65), ("replicate", 23.68), ("reflect", 23.61), ("circular", 23.03), ("zero", 21.83)],
)
def test_blurred_photographs(photographs: Tensor, boundary: str, expected: float) -> None:
    psnr = PSNR()(GaussianBlur(boundary=boundary)(photographs), photographs).mean().item()
    assert psnr == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        (
            {"kernel_size": 10},
            r"^GaussianBlur\.kernel_size: .* odd, such as 11: .* \(given: 10\)\n.*entries",
        ),
        ({"kernel_size": 0}, r"^GaussianBlur\.kernel_size: .* greater than or equal to 1 \(given: 0\)"),
        ({"kernel_size": -3}, r"^GaussianBlur\.kernel_size: .* greater than or equal to 1 \(given: -3\)"),
        ({"std": 0.0}, r"^GaussianBlur\.std: .* greater than 0 \(given: 0\.0\)"),
        ({"std": float("nan")}, r"^GaussianBlur\.std: .* finite number \(given: nan\)"),
        (
            {"boundary": "mirror"},
            r"^GaussianBlur\.boundary: .*'symmetric', 'zero', .* \(given: 'mirror'\)",
        ),
    ],
)
def test_impossible_blurs_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        GaussianBlur(**parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kernel", "match"),
    [
        ([[1.0, 2.0]], "1 x 2 entries"),
        ([[1.0], [2.0]], "2 x 1 entries"),
        ([[1.0, 2.0, 3.0], [1.0], [1.0]], r"rows of lengths \[1, 3\]"),
        ([], "rows of lengths"),
        ([[]], "1 x 0 entries"),
        ([1.0, 2.0, 3.0], r"kernel\.0: input should be a list \(given: 1\.0\)\n  expected: rows of k"),
        (3.0, r"kernel: input should be a list \(given: 3\.0\)\n  expected: rows of k"),
        ([["a"]], r"kernel\.0\.0: input should be a valid number or a list \(given: 'a'\)\n  expected: rows of k"),
        ([[float("nan")]], r"kernel\.0\.0: input should be a finite number"),
        ([[0.0]], "at least one entry that is not zero"),
    ],
)
def test_impossible_kernels_are_refused(kernel: object, match: str) -> None:
    with pytest.raises(SpecError, match=match) as caught:
        Convolution(kernel)  # type: ignore[arg-type]
    assert "Convolution.kernel" in str(caught.value)


def test_convolution_with_an_unknown_boundary_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^Convolution\.boundary: .*'zero'.* \(given: 'mirror'\)"):
        Convolution([[1.0]], "mirror")  # type: ignore[arg-type]
