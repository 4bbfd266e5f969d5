"""Phase retrieval: against NumPy's Fourier transform, and what it cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invreg import Registry
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.fourier.phase_retrieval import PhaseRetrieval


def image(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_magnitudes_are_those_of_the_coded_transform(size: tuple[int, int]) -> None:
    operator, x = PhaseRetrieval(3), image(2, 2, *size)
    codes = operator.patterns(x).numpy()
    np.testing.assert_allclose(np.abs(codes), 1)
    # Where pixels are counted from does not matter to magnitudes, up to the order of the frequencies.
    spectra = np.abs(np.fft.fft2(codes * x.numpy()[:, :, None], norm="ortho"))
    expected = np.fft.fftshift(spectra, (-2, -1)).reshape(2, 6, *size)
    np.testing.assert_allclose(operator(x).numpy(), expected, atol=1e-13)


def test_energy_is_kept_and_the_sign_is_lost() -> None:
    operator, x = PhaseRetrieval(5), image(1, 1, 9, 8)
    assert float(operator(x).norm()) == pytest.approx(5**0.5 * float(x.norm()))
    torch.testing.assert_close(operator(-x), operator(x))
    torch.testing.assert_close(operator.jvp(x, x), operator(x))


def test_codes_follow_the_seed() -> None:
    x = image(1, 1, 6, 6)
    assert torch.equal(PhaseRetrieval()(x), PhaseRetrieval()(x))
    assert not torch.allclose(PhaseRetrieval()(x), PhaseRetrieval(seed=1)(x))


def test_the_derivative_at_zero_is_zero() -> None:
    operator, zero = PhaseRetrieval(2), torch.zeros(1, 1, 5, 6, dtype=torch.float64)
    assert not operator.jvp(zero, image(1, 1, 5, 6)).any()
    assert not operator.vjp(zero, image(1, 2, 5, 6)).any()


@pytest.mark.parametrize("codes", [1, 3])
def test_it_keeps_what_operators_promise(codes: int) -> None:
    check_operator(PhaseRetrieval(codes), image_shape=(1, 8, 7))


def test_what_does_not_fit_is_refused() -> None:
    operator, x = PhaseRetrieval(2), image(1, 1, 5, 6)
    with pytest.raises(ShapeError, match="v of shape"):
        operator.vjp(x, x)
    with pytest.raises(ShapeError, match="the same shape"):
        operator.jvp(x, image(1, 1, 6, 5))
    with pytest.raises(SpecError, match="codes"):
        Registry.installed().build("operator", {"name": "phase_retrieval", "codes": 0})


def test_no_images_have_no_measurements() -> None:
    assert PhaseRetrieval(2)(torch.zeros(0, 3, 4, 5)).shape == (0, 6, 4, 5)
