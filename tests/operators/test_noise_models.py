"""Noise models: their distributions, and the same noise everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from invreg.components.noise import Noise
from invreg.computing.streams import generator
from invreg.errors import DataError, SpecError
from invreg.testing import check_noise
from invreg_operators.noise.correlated import CorrelatedNoise
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.no_noise import NoNoise
from invreg_operators.noise.poisson import PoissonNoise
from invreg_operators.noise.poisson_gaussian import PoissonGaussianNoise
from invreg_operators.noise.salt_and_pepper import SaltAndPepperNoise

MODELS = [
    NoNoise(),
    GaussianNoise(0.05),
    PoissonNoise(500.0),
    PoissonGaussianNoise(500.0, 0.05),
    SaltAndPepperNoise(0.1),
    CorrelatedNoise(0.05),
]


@pytest.fixture
def z() -> Tensor:
    return torch.rand(4, 2, 9, 7, generator=generator(1))


@pytest.mark.parametrize("noise", MODELS, ids=repr)
def test_noise_is_the_same_for_every_batch_size_and_order(noise: Noise, z: Tensor) -> None:
    keys = [5, 6, 7, 8]
    whole = noise.sample(z, keys)
    assert torch.equal(whole, torch.cat([noise.sample(z[i : i + 1], keys[i : i + 1]) for i in range(4)]))
    assert torch.equal(whole, noise.sample(z.flip(0), keys[::-1]).flip(0))


@pytest.mark.parametrize("noise", MODELS, ids=repr)
def test_noise_agrees_between_dtypes(noise: Noise, z: Tensor) -> None:
    double = noise.sample(z.double(), [1, 2, 3, 4])
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), noise.sample(z, [1, 2, 3, 4]))


@pytest.mark.parametrize("noise", MODELS, ids=repr)
def test_clean_measurement_is_neither_changed_nor_returned(noise: Noise, z: Tensor) -> None:
    before = z.clone()
    noise.draw(z, generator(0)).add_(1)
    noise.sample(z, [1, 2, 3, 4]).add_(1)
    assert torch.equal(z, before)


@pytest.mark.parametrize("noise", MODELS, ids=repr)
def test_empty_batches_pass(noise: Noise) -> None:
    assert noise.draw(torch.zeros(0, 1, 4, 4), generator(0)).shape == (0, 1, 4, 4)
    assert noise.sample(torch.zeros(0, 1, 4, 4), []).shape == (0, 1, 4, 4)


def test_no_noise(z: Tensor) -> None:
    assert torch.equal(NoNoise().draw(z, generator(0)), z)


def test_gaussian_noise_has_the_given_deviation_and_is_not_clamped() -> None:
    z = torch.zeros(1, 1, 300, 300)
    noisy = GaussianNoise(0.05).draw(z, generator(0))
    assert noisy.mean().item() == pytest.approx(0, abs=0.001)
    assert noisy.std().item() == pytest.approx(0.05, rel=0.02)
    assert noisy.min() < -0.1
    # Neighbours are independent.
    product = (noisy[..., 1:] * noisy[..., :-1]).mean().item()
    assert product == pytest.approx(0, abs=0.05**2 * 0.02)


def test_gaussian_noise_scales_with_its_deviation(z: Tensor) -> None:
    small, large = GaussianNoise(0.01).draw(z, generator(0)) - z, GaussianNoise(0.04).draw(z, generator(0)) - z
    torch.testing.assert_close(4 * small, large, atol=1e-6, rtol=1e-3)
    assert torch.equal(GaussianNoise(0.0).draw(z, generator(0)), z)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.9])
def test_poisson_noise_has_the_mean_and_the_variance_of_counts(level: float) -> None:
    noisy = PoissonNoise(200.0).draw(torch.full((1, 1, 300, 300), level), generator(0))
    assert noisy.mean().item() == pytest.approx(level, abs=1e-3)
    assert noisy.var().item() == pytest.approx(level / 200, rel=0.03, abs=1e-12)
    torch.testing.assert_close(noisy * 200, (noisy * 200).round(), atol=1e-3, rtol=0)


def test_poisson_noise_forgives_rounding_errors_below_zero() -> None:
    assert torch.equal(PoissonNoise().draw(torch.full((1, 1, 4, 4), -1e-7), generator(0)), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("bad", [-0.01, float("nan"), float("inf")])
def test_poisson_noise_refuses_what_is_no_intensity(bad: float) -> None:
    z = torch.rand(1, 1, 4, 4)
    z[0, 0, 2, 1] = bad
    with pytest.raises(DataError, match="finite values >= 0"):
        PoissonNoise().draw(z, generator(0))


@pytest.mark.parametrize("noise", MODELS[1:], ids=repr)
@pytest.mark.parametrize("dtype", [torch.long, torch.complex64])
def test_noise_refuses_other_numbers(noise: Noise, dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match="floating-point"):
        noise.draw(torch.ones(1, 1, 4, 4).to(dtype), generator(0))


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_impossible_parameters_are_refused(bad: float) -> None:
    with pytest.raises(SpecError, match=r"^GaussianNoise\.std: input should be .*\(given: "):
        GaussianNoise(bad)
    with pytest.raises(SpecError, match=r"^PoissonNoise\.photons: input should be .*\(given: "):
        PoissonNoise(bad)


def test_poisson_noise_needs_photons() -> None:
    with pytest.raises(SpecError, match=r"^PoissonNoise\.photons: .*greater than 0 \(given: 0\)"):
        PoissonNoise(0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("level", [1.0, 100.0])
def test_poisson_noise_in_half_precision(dtype: torch.dtype, level: float) -> None:
    z = torch.full((1, 1, 100, 100), level, dtype=dtype)
    noisy = PoissonNoise().draw(z, generator(0))
    assert noisy.dtype == dtype
    # The same counts as in float32, rounded once.
    assert torch.equal(noisy, PoissonNoise().draw(z.float(), generator(0)).to(dtype))
    assert noisy.float().std().item() == pytest.approx((level / 1000) ** 0.5, rel=0.3)


def test_gaussian_noise_in_half_precision_is_that_of_float32_rounded() -> None:
    z = torch.rand(1, 1, 50, 50, generator=generator(3)).half()
    noisy = GaussianNoise(0.05).draw(z, generator(0))
    assert noisy.dtype == torch.float16
    torch.testing.assert_close(noisy.float(), GaussianNoise(0.05).draw(z.float(), generator(0)), atol=2e-3, rtol=0)


@pytest.mark.parametrize("photons", [1e8, 1e-30])
def test_extreme_photons_are_right(photons: float) -> None:
    noisy = PoissonNoise(photons).draw(torch.full((1, 1, 200, 200), 0.5), generator(0))
    assert torch.isfinite(noisy).all()
    if photons > 1:
        assert noisy.mean().item() == pytest.approx(0.5, rel=1e-6)
        assert noisy.double().std().item() == pytest.approx((0.5 / photons) ** 0.5, rel=0.05)
    else:
        assert not noisy.any()  # so few photons that none arrives


@pytest.mark.parametrize(
    ("photons", "dtype", "said"),
    [
        (1e12, torch.float32, "expected photons"),
        (1e30, torch.float64, "expected photons"),
        (1e300, torch.float32, "expected photons"),
        (1e-39, torch.float32, "1 / photons"),
        (1e-6, torch.float16, "1 / photons"),
        (5e-324, torch.float64, "1 / photons"),
    ],
)
def test_photons_that_cannot_be_counted_are_refused(photons: float, dtype: torch.dtype, said: str) -> None:
    with pytest.raises(DataError, match=said):
        PoissonNoise(photons).draw(torch.full((1, 1, 4, 4), 0.5, dtype=dtype), generator(0))


@pytest.mark.parametrize(
    ("std", "dtype"), [(1e4, torch.float16), (1e38, torch.float32), (1e38, torch.float64), (1e300, torch.float64)]
)
def test_gaussian_noise_that_the_dtype_cannot_hold_is_refused(std: float, dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match="std = "):
        GaussianNoise(std).draw(torch.zeros(1, 1, 4, 4, dtype=dtype), generator(0))


@pytest.mark.parametrize(("std", "dtype"), [(1e3, torch.float16), (1e36, torch.float32), (1e36, torch.float64)])
def test_large_gaussian_noise_has_its_deviation(std: float, dtype: torch.dtype) -> None:
    noisy = GaussianNoise(std).draw(torch.zeros(1, 1, 64, 64, dtype=dtype), generator(0))
    assert (noisy.double() / std).std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("noise", MODELS, ids=repr)
def test_noise_keeps_what_noise_models_promise(noise: Noise) -> None:
    check_noise(noise)


def test_salt_and_pepper_replaces_a_share_of_the_values() -> None:
    z = torch.full((1, 1, 300, 300), 0.4)
    noisy = SaltAndPepperNoise(0.1, salt=0.3, low=-1.0, high=2.0).draw(z, generator(0))
    shares = {value: float((noisy == value).double().mean()) for value in (-1.0, 2.0)}
    assert shares[2.0] == pytest.approx(0.03, abs=0.003)
    assert shares[-1.0] == pytest.approx(0.07, abs=0.004)
    assert sum(shares.values()) + float((noisy == 0.4).double().mean()) == pytest.approx(1)
    assert torch.equal(SaltAndPepperNoise(0.0).draw(z, generator(0)), z)
    assert not SaltAndPepperNoise(1.0, salt=0.0).draw(z, generator(0)).any()
    assert SaltAndPepperNoise(1.0, salt=1.0).draw(z, generator(0)).all()
    with pytest.raises(DataError, match=r"high = 1e\+06 for measurements in float16"):
        SaltAndPepperNoise(high=1e6).draw(z.half(), generator(0))


@pytest.mark.parametrize("width", [0.8, 2.0])
def test_correlated_noise_has_its_deviation_and_correlation_up_to_the_edge(width: float) -> None:
    noise = CorrelatedNoise(0.05, width).draw(torch.zeros(4000, 1, 12, 10, dtype=torch.float64), generator(0))
    assert float(noise.mean()) == pytest.approx(0, abs=3e-3 * 0.05 * 10)
    deviations = noise.std(0)
    torch.testing.assert_close(deviations, torch.full_like(deviations, 0.05), rtol=0.06, atol=0)
    corner = noise[:, 0, 0, 0]
    for row, column in ((0, 1), (1, 1), (0, 3), (11, 9)):
        found = float((corner * noise[:, 0, row, column]).mean()) / 0.05**2
        expected = float(np.exp(-(row**2 + column**2) / (4 * width**2)))
        assert found == pytest.approx(expected, abs=0.06)
    # Against the same in SciPy: white noise of deviation 1, filtered.
    white = np.random.default_rng(0).normal(size=(400, 400))
    filtered = gaussian_filter(white, width, mode="wrap", truncate=4)
    ours = float((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean())
    theirs = float((filtered[:, 1:] * filtered[:, :-1]).mean() / (filtered**2).mean())
    assert ours == pytest.approx(theirs, abs=0.02)


def test_channels_of_correlated_noise_are_independent() -> None:
    noise = CorrelatedNoise(1.0, 2.0).draw(torch.zeros(200, 2, 8, 8), generator(0))
    assert float((noise[:, 0] * noise[:, 1]).mean()) == pytest.approx(0, abs=0.05)


def test_correlated_noise_needs_rows_and_columns() -> None:
    with pytest.raises(DataError, match="rows and columns"):
        CorrelatedNoise(0.1).draw(torch.zeros(3, 7), generator(0))
    with pytest.raises(DataError, match="std = "):
        CorrelatedNoise(1e38).draw(torch.zeros(1, 1, 4, 4), generator(0))


@pytest.mark.parametrize("level", [0.0, 0.6])
def test_poisson_gaussian_noise_has_both_variances(level: float) -> None:
    noisy = PoissonGaussianNoise(200.0, 0.03).draw(torch.full((1, 1, 300, 300), level), generator(0))
    assert noisy.mean().item() == pytest.approx(level, abs=1e-3)
    assert noisy.var().item() == pytest.approx(level / 200 + 0.03**2, rel=0.03)
    with pytest.raises(DataError, match="finite values >= 0"):
        PoissonGaussianNoise().draw(torch.full((1, 1, 2, 2), -0.5), generator(0))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: SaltAndPepperNoise(1.5), "probability"),
        (lambda: SaltAndPepperNoise(salt=-0.1), "salt"),
        (lambda: SaltAndPepperNoise(low=float("nan")), "low"),
        (lambda: CorrelatedNoise(-0.1), "std"),
        (lambda: CorrelatedNoise(0.1, 0.0), "width"),
        (lambda: PoissonGaussianNoise(0.0), "photons"),
        (lambda: PoissonGaussianNoise(std=-1.0), "std"),
    ],
)
def test_other_impossible_parameters_are_refused(build: Callable[[], Noise], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        build()
