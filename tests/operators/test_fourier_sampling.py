"""Sampling of frequencies: against the discrete Fourier transform, and the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invreg import Registry
from invreg.components.operator import LinearOperator
from invreg.errors import ShapeError, SpecError
from invreg_operators.fourier.fourier_sampling import FourierSampling

PATTERNS = ("lines", "random", "radial")


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5), (1, 6)])
def test_everything_measured_is_the_unitary_transform(size: tuple[int, int]) -> None:
    operator = FourierSampling(acceleration=1)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    z = operator(x).unflatten(1, (3, 2))
    # The sum over pixels, counted from the one in the middle.
    rows, columns = (np.arange(side) - side // 2 for side in size)
    down = np.exp(-2j * np.pi * np.outer(rows, rows) / size[0])
    across = np.exp(-2j * np.pi * np.outer(columns, columns) / size[1])
    expected = down @ x.numpy() @ across.T / np.sqrt(size[0] * size[1])
    np.testing.assert_allclose(z[:, :, 0].numpy(), expected.real, atol=1e-12)
    np.testing.assert_allclose(z[:, :, 1].numpy(), expected.imag, atol=1e-12)
    torch.testing.assert_close(operator.adjoint(operator(x)), x)
    assert float(z.norm()) == pytest.approx(float(x.norm()))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [(32, 32), (33, 40)])
def test_masks_hold_one_in_so_many(pattern: str, size: tuple[int, int]) -> None:
    operator = FourierSampling(acceleration=4, pattern=pattern)
    mask = operator.mask(*size)
    assert mask.shape == size
    assert mask[size[0] // 2, size[1] // 2]
    # A spoke or a column more or less.
    assert float(mask.double().mean()) == pytest.approx(1 / 4, abs=1.5 / min(size))
    assert torch.equal(mask, FourierSampling(acceleration=4, pattern=pattern).mask(*size))
    assert not torch.equal(mask, FourierSampling(acceleration=4, pattern=pattern, seed=1).mask(*size))
    z = operator(torch.rand(1, 1, *size)).unflatten(1, (1, 2))
    assert not z[..., ~mask].any()
    assert z[..., mask].abs().sum(2).all()


def test_lines_are_whole_columns_with_the_centre() -> None:
    mask = FourierSampling(acceleration=4, center_fraction=0.1).mask(20, 40)
    assert torch.equal(mask.any(0), mask.all(0))
    assert int(mask.any(0).sum()) == 10
    assert mask[:, 18:22].all()


def test_density_gathers_the_choice_near_the_centre() -> None:
    def spread(density: float) -> float:
        mask = FourierSampling(acceleration=6, pattern="random", center_fraction=0, density=density).mask(48, 48)
        return float((mask.nonzero() - 24.0).square().sum(1).mean())

    assert spread(4) < 0.6 * spread(0)


def test_masks_cannot_be_changed_from_outside() -> None:
    operator = FourierSampling()
    operator.mask(8, 8).zero_()
    assert operator.mask(8, 8).any()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_known_norm_is_that_of_lanczos(pattern: str) -> None:
    operator = FourierSampling(acceleration=5, pattern=pattern)
    shape = (1, 12, 10)
    assert LinearOperator.norm(operator, shape).value == pytest.approx(operator.norm(shape).value, rel=1e-6)


def test_no_images_have_no_measurements() -> None:
    operator = FourierSampling()
    z = operator(torch.zeros(0, 3, 8, 10))
    assert z.shape == (0, 6, 8, 10)
    assert operator.adjoint(z).shape == (0, 3, 8, 10)


def test_half_precision_is_kept() -> None:
    x = torch.rand(1, 1, 12, 10)
    operator = FourierSampling()
    assert operator(x.bfloat16()).dtype == torch.bfloat16
    assert operator.adjoint(operator(x).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"acceleration": 0.5}, "acceleration"),
        ({"acceleration": float("inf")}, "acceleration"),
        ({"center_fraction": 1.5}, "center_fraction"),
        ({"acceleration": 16, "center_fraction": 0.08}, "at most 0.0625"),
        ({"pattern": "spiral"}, "pattern"),
        ({"density": -1.0}, "density"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", {"name": "fourier_sampling", **parameters})
    with pytest.raises(SpecError, match=match):
        FourierSampling(**parameters)


def test_measurements_without_imaginary_parts_are_refused() -> None:
    with pytest.raises(ShapeError, match="imaginary"):
        FourierSampling().adjoint(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match="2 C"):
        FourierSampling().adjoint(torch.zeros(8, 8))
