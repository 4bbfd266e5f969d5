"""Downsampling: against SciPy, scikit-image, torch and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.transform import downscale_local_mean

from invreg import Registry
from invreg.components.operator import LinearOperator
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.convolution import downsampling
from invreg_operators.convolution.downsampling import Downsampling, Filter
from invreg_operators.shared.boundary import Boundary


def photograph(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_the_box_is_the_mean_of_blocks(factor: int) -> None:
    x = photograph(12, 24)
    expected = np.stack([downscale_local_mean(image, (factor, factor)) for image in x[:, 0].numpy()])
    np.testing.assert_allclose(Downsampling(factor, "box")(x)[:, 0].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("boundary", ["symmetric", "zero", "replicate", "circular", "reflect"])
def test_the_gaussian_is_that_of_scipy_at_the_middle_of_blocks(boundary: str) -> None:
    modes = {
        "symmetric": "reflect",
        "zero": "constant",
        "replicate": "nearest",
        "circular": "wrap",
        "reflect": "mirror",
    }
    x = photograph(15, 21)
    # For an odd factor a pixel lies in the middle of its block.
    expected = np.stack([gaussian_filter(image, 1.5, mode=modes[boundary])[1::3, 1::3] for image in x[:, 0].numpy()])
    np.testing.assert_allclose(Downsampling(3, boundary=boundary)(x)[:, 0].numpy(), expected, atol=1e-14)


def test_an_even_factor_is_the_sum_that_is_documented() -> None:
    x, std = photograph(12, 8), 0.8
    # 4 std = 3.2 pixels from the middle of a block: three before it and three after it.
    weights = np.exp(-((np.arange(-3, 5) - 0.5) ** 2) / (2 * std**2))
    weights /= weights.sum()
    padded = np.pad(x[0, 0].numpy(), 3, mode="symmetric")
    expected = np.array(
        [[weights @ padded[2 * i : 2 * i + 8, 2 * j : 2 * j + 8] @ weights for j in range(4)] for i in range(6)]
    )
    found = Downsampling(2, std=std)(x)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_is_that_of_programs_that_resize_images(factor: int) -> None:
    x = photograph(48, 64)
    found = Downsampling(factor, "bicubic")(x)
    expected = torch.nn.functional.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
    # At the edge they leave out what is beyond; here the image goes on.
    torch.testing.assert_close(found[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["box", "gaussian", "bicubic"])
def test_flat_images_stay_flat(kind: str) -> None:
    z = Downsampling(4, kind)(torch.full((1, 3, 16, 24), 0.3, dtype=torch.float64))
    torch.testing.assert_close(z, torch.full((1, 3, 4, 6), 0.3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["box", "gaussian", "bicubic"])
def test_it_keeps_what_operators_promise(kind: str) -> None:
    check_operator(Downsampling(2, kind), image_shape=(1, 14, 10))


@pytest.mark.parametrize("kind", ["box", "gaussian", "bicubic"])
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("boundary", ["symmetric", "zero", "circular", "replicate", "reflect"])
def test_large_images_are_filtered_alike(
    kind: Filter, factor: int, boundary: Boundary, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, x = Downsampling(factor, kind, boundary=boundary), photograph(18, 24)
    z = operator(x)
    back = operator.adjoint(z)
    monkeypatch.setattr(downsampling, "_DENSE", 0)
    torch.testing.assert_close(operator(x), z)
    torch.testing.assert_close(operator.adjoint(z), back)
    torch.testing.assert_close(torch.func.vmap(lambda one: operator.adjoint(one[None])[0])(z), back)
    assert operator.norm((1, 18, 24)).value == pytest.approx(LinearOperator.norm(operator, (1, 18, 24)).value)


def test_filters_that_are_as_wide_as_the_image_work() -> None:
    x = photograph(300, 300)[:1]
    operator = Downsampling(100, std=82.5)
    assert operator(x).shape == (1, 1, 3, 3)
    y = photograph(3, 3)[:1]
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()))


def test_the_norm_is_about_one_over_the_factor() -> None:
    operator = Downsampling(4)
    assert operator.norm((1, 32, 32)).value == pytest.approx(1 / 4, rel=0.02)
    assert LinearOperator.norm(operator, (1, 16, 12)).value == pytest.approx(operator.norm((1, 16, 12)).value)
    assert Downsampling(3, "box").norm((1, 9, 6)).value == pytest.approx(1 / 3)


def test_sides_that_are_no_multiples_are_refused_with_those_that_are() -> None:
    with pytest.raises(ShapeError, match=r"30x35 pixels") as caught:
        Downsampling(4)(torch.zeros(1, 1, 30, 35))
    assert "multiples of the factor 4" in str(caught.value)
    assert "28x32" in str(caught.value)
    with pytest.raises(ShapeError, match="height >= 6 and width >= 6"):
        Downsampling(4).range_shape((1, 4, 8))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"factor": 0}, "factor"),
        ({"factor": 1.5}, "factor"),
        ({"filter": "lanczos"}, "filter"),
        ({"filter": "box", "std": 1.0}, "only the filter gaussian"),
        ({"std": -1.0}, "std"),
        ({"boundary": "periodic"}, "boundary"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", {"name": "downsampling", **parameters})
