"""Several coils: against the discrete Fourier transform written out, and what maps have to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from invreg import Registry
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.fourier.fourier_sampling import FourierSampling
from invreg_operators.fourier.multicoil_fourier import MulticoilFourier


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def transform(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The unitary transform of columns and of rows, pixels and frequencies counted from the one in the middle."""
    places = [np.arange(side) - side // 2 for side in size]
    return tuple(np.exp(-2j * np.pi * np.outer(p, p) / len(p)) / np.sqrt(len(p)) for p in places)  # type: ignore[return-value]


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@pytest.mark.parametrize("image", ["real", "complex"])
def test_each_coil_has_its_spectrum(size: tuple[int, int], image: str) -> None:
    operator = MulticoilFourier(3, image=image, acceleration=2, pattern="random")
    x = random(2, 4, *size)
    maps, mask = operator.maps(x).numpy(), operator.mask(*size).numpy()
    channels = x[:, 0::2].numpy() + 1j * x[:, 1::2].numpy() if image == "complex" else x.numpy()
    down, across = transform(size)
    expected = down @ (channels[:, :, None] * maps) @ across.T * mask
    found = operator(x).unflatten(1, (channels.shape[1], 3, 2)).numpy()
    np.testing.assert_allclose(found[:, :, :, 0] + 1j * found[:, :, :, 1], expected, atol=1e-13)


@pytest.mark.parametrize("image", ["real", "complex"])
def test_everything_measured_gives_the_image_back(image: str) -> None:
    operator, x = MulticoilFourier(5, image=image, acceleration=1), random(2, 2, 9, 12)
    torch.testing.assert_close(operator.adjoint(operator(x)), x)
    assert operator.norm((2, 9, 12)).value == pytest.approx(1)
    assert MulticoilFourier(5, image=image, acceleration=3).norm((2, 9, 12)).value < 1


def test_coils_on_the_ring_see_different_places() -> None:
    maps = MulticoilFourier(4).maps(random(1, 1, 20, 20))
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(20, 20, dtype=torch.float64))
    # On the right, above, on the left, below: where each sees most.
    brightest = [divmod(int(each.abs().argmax()), 20) for each in maps]
    assert brightest[0][1] == 19
    assert brightest[1][0] == 0
    assert brightest[2][1] == 0
    assert brightest[3][0] == 19
    assert maps.to(torch.complex64).dtype == MulticoilFourier(4).maps(torch.zeros(1, 1, 20, 20)).dtype


def test_one_coil_that_sees_alike_is_fourier_sampling(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.ones((1, 10, 12)))
    one, x = MulticoilFourier(maps=tmp_path / "maps.npy"), random(2, 3, 10, 12)
    assert one.coils == 1
    torch.testing.assert_close(one(x), FourierSampling()(x))


def test_maps_of_a_file_are_used_as_they_are(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 6, 8, 2)).view(np.complex128)[..., 0].astype(np.complex64)
    np.save(tmp_path / "maps.npy", maps)
    operator = Registry.installed().build("operator", {"name": "multicoil_fourier", "maps": str(tmp_path / "maps.npy")})
    np.testing.assert_array_equal(operator.maps(random(1, 1, 6, 8)).numpy(), maps)
    check_operator(operator, image_shape=(1, 6, 8))
    with pytest.raises(ShapeError, match=r"8x8 pixels\n.*expected: 6x8, the size of the maps in .*maps.npy") as caught:
        operator(torch.zeros(1, 1, 8, 8))
    assert "try: data of 6x8 pixels, for training, too, where crops count; or other maps" in str(caught.value)


def spoilt(kind: str) -> np.ndarray:
    maps = np.ones((3, 4, 5), complex)
    if kind == "silent":
        maps[1] = 0
    elif kind == "unseen":
        maps[:, 1, 2:4] = 0
    elif kind == "nan":
        maps[0, 0, 0] = np.nan
    return {"flat": maps[0], "integers": np.ones((3, 4, 5), int), "empty": maps[:0]}.get(kind, maps)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("silent", "the map of coil 1 is zero everywhere"),
        ("unseen", "all maps vanish at 2 of 20 pixels, which no coil sees"),
        ("nan", "NaN or infinite"),
        ("flat", r"complex128 of shape \[4, 5\]"),
        ("integers", "int64 of shape"),
        ("empty", r"shape \[0, 4, 5\]"),
    ],
)
def test_maps_that_cannot_be_are_refused(kind: str, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", spoilt(kind))
    with pytest.raises(SpecError, match=match) as caught:
        MulticoilFourier(maps=tmp_path / "maps.npy")
    assert caught.value.where == "MulticoilFourier.maps"


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not an array")
    np.savez(tmp_path / "several.npz", a=np.ones(3), b=np.ones(3))
    for name, match in (("none.npy", "cannot be read"), ("text.npy", "cannot be read"), ("several.npz", "several")):
        with pytest.raises(SpecError, match=match):
            MulticoilFourier(maps=tmp_path / name)


@pytest.mark.parametrize(("image", "shape"), [("real", (1, 8, 11)), ("complex", (2, 8, 11))])
def test_it_keeps_what_operators_promise(image: str, shape: tuple[int, ...]) -> None:
    check_operator(MulticoilFourier(2, image=image, acceleration=3), image_shape=shape)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="even number"):
        MulticoilFourier(image="complex")(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match="8 coils x channels"):
        MulticoilFourier().adjoint(torch.zeros(1, 17, 8, 8))
    with pytest.raises(SpecError, match="center_fraction"):
        MulticoilFourier(acceleration=16, center_fraction=0.5)


def test_no_images_have_no_measurements() -> None:
    operator = MulticoilFourier(3)
    z = operator(torch.zeros(0, 2, 8, 10))
    assert z.shape == (0, 12, 8, 10)
    assert operator.adjoint(z).shape == (0, 2, 8, 10)
