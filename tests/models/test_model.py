"""Models reconstruct measurements as people have them, and say what was done and what is proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import invreg
from invreg import (
    CertificateError,
    DataError,
    Model,
    Problem,
    ReconstructsWithBound,
    Registry,
    ShapeError,
    SpecError,
    StoreError,
)


@pytest.fixture(scope="module")
def model(run_folder: Path) -> Model:
    return invreg.load_model(run_folder, "net", device="cpu")


@pytest.fixture(scope="module")
def z(model: Model) -> torch.Tensor:
    x = torch.rand(3, 1, 20, 31, generator=torch.Generator().manual_seed(1))
    return model.problem.measure(x, seed=0)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


# -- loading


def test_the_model_is_the_method_of_the_run(run_folder: Path, model: Model, z: torch.Tensor) -> None:
    method = invreg.load(run_folder, device="cpu").methods["net"].reconstructor
    assert torch.equal(model.reconstruct(z, prove=False).image, method(z).detach())
    assert model.image_shape == (1, 32, 32)
    assert model.certificate is not None
    assert not any(weight.requires_grad for weight in model.reconstructor.parameters())
    assert "explicit" in repr(model).lower()


def test_a_method_has_to_be_named_where_there_are_several(run_folder: Path) -> None:
    with pytest.raises(SpecError, match="net, unet"):
        invreg.load_model(run_folder)
    with pytest.raises(StoreError, match="did you mean 'unet'"):
        invreg.load_model(run_folder, "unett")


def test_what_is_neither_a_run_nor_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        invreg.load_model(tmp_path)
    with pytest.raises(StoreError):
        invreg.load_model(tmp_path / "missing")


# -- layout


@pytest.mark.parametrize("shape", [(20, 31), (1, 20, 31), (2, 1, 20, 31)])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_images_come_back_as_measurements_were_given(
    model: Model, z: torch.Tensor, shape: tuple[int, ...], kind: str
) -> None:
    given: Any = z[:2].reshape(-1)[: int(np.prod(shape))].reshape(shape)
    expected = model.reconstructor(given.reshape(-1, 1, 20, 31)).reshape(shape)
    found = model.reconstruct(given.numpy() if kind == "numpy" else given)
    assert isinstance(found.image, np.ndarray if kind == "numpy" else torch.Tensor)
    assert torch.allclose(torch.as_tensor(found.image), expected, atol=1e-5)
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_colours_and_channels_that_come_last(model: Model, z: torch.Tensor, kind: str) -> None:
    given: Any = z[:, 0].permute(1, 2, 0)  # [H, W, 3]
    expected = model.reconstructor(z)[:, 0].permute(1, 2, 0)
    found = model.reconstruct(given.numpy() if kind == "numpy" else given)
    assert found.image.shape == (20, 31, 3)
    assert torch.allclose(torch.as_tensor(found.image), expected, atol=1e-5)
    assert "channels came last" in found.notes[0]
    assert "colours was reconstructed alone" in found.notes[1]
    batch = model.reconstruct(given[None].repeat(2, 1, 1, 1))
    assert batch.image.shape == (2, 20, 31, 3)
    assert torch.allclose(batch.image[1], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(20,), (5, 20, 31), (1, 2, 20, 31), (1, 1, 1, 20, 31), (20, 31, 4), (0, 1, 20, 31)])
def test_other_shapes_are_refused(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected: "):
        model.reconstruct(np.zeros(shape, np.float32))


def test_alpha_is_named(model: Model) -> None:
    with pytest.raises(ShapeError, match="alpha"):
        model.reconstruct(np.zeros((20, 31, 4), np.float32))


def test_images_that_are_too_small_are_refused_by_the_network(model: Model) -> None:
    with pytest.raises(ShapeError, match=r"^model 'net': images of 2x2(.|\n)*more than 2 pixels") as error:
        model.reconstruct(np.zeros((2, 2), np.float32))
    assert error.value.hint is None, "its padding is what it was trained with"


def test_measurements_that_are_not_images(registry: Registry) -> None:
    operator = registry.build("operator", {"name": "radon", "angles": 6})
    problem = Problem(operator, registry.build("noise", {"name": "gaussian", "std": 0.01}))
    fbp = registry.build("reconstructor", "fbp")
    fbp.setup(problem, (1, 16, 16))
    model = Model("fbp", fbp, problem, (1, 16, 16))
    z = problem.measure(torch.rand(2, 1, 16, 16), seed=0)
    assert model.reconstruct(z).image.shape == (2, 1, 16, 16)
    assert model.reconstruct(z[0]).image.shape == (1, 16, 16)
    assert model.reconstruct(z[0, 0].numpy()).image.shape == (16, 16)
    with pytest.raises(ShapeError, match="Radon"):
        model.reconstruct(torch.rand(1, 1, 16, 16))


# -- values


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_whole_numbers_of_images_are_scaled(model: Model, z: torch.Tensor, dtype: type, white: int) -> None:
    whole = (z[0, 0].clip(0, 1) * white).round().numpy().astype(dtype)
    found = model.reconstruct(whole)
    scaled = model.reconstruct((whole / white).astype(np.float32))
    assert found.image.dtype == np.float32
    assert np.array_equal(found.image, scaled.image)
    assert str(white) in found.notes[0]
    assert found.residual == scaled.residual


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((20, 31), np.int32), "white"),
        (np.zeros((20, 31), bool), "type bool"),
        (np.zeros((20, 31), complex), "complex"),
        (torch.zeros(20, 31, dtype=torch.complex64), "complex"),
        (np.full((20, 31), np.nan, np.float32), "finite"),
        (np.full((20, 31), 200.0, np.float32), "divide by the value of white"),
        ([[0.0, 1.0]], "np.asarray"),
        ("image.png", "an instance of str"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_a_measurement_is_refused(model: Model, bad: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        model.reconstruct(bad)


def test_arrays_of_other_orders_and_types_are_taken(model: Model, z: torch.Tensor) -> None:
    plain = z[0, 0].numpy()
    expected = model.reconstruct(plain).image
    frozen = plain.copy()
    frozen.setflags(write=False)
    for given in (plain[::-1][::-1], np.asfortranarray(plain), plain.astype(">f4"), frozen):
        assert np.array_equal(model.reconstruct(given).image, expected)
    assert np.allclose(model.reconstruct(plain.astype(np.float64)).image, expected, atol=1e-6)
    half = model.reconstruct(plain.astype(np.float16))
    assert np.allclose(half.image, expected, atol=0.02)
    assert "float16" in half.notes[0]


def test_the_measurement_is_not_changed_and_no_gradient_is_asked_for(model: Model, z: torch.Tensor) -> None:
    given = z.clone().requires_grad_()
    assert not model.reconstruct(given).image.requires_grad
    assert torch.equal(given, z)


# -- residuals and proofs


def test_the_residual_stands_beside_that_of_the_noise(model: Model, z: torch.Tensor) -> None:
    found = model.reconstruct(z)
    by_hand = (model.problem.operator(found.image) - z).square().mean().sqrt()
    assert found.residual == pytest.approx(float(by_hand), rel=1e-5)
    assert found.expected_residual == pytest.approx(0.02, rel=0.1)


def test_proven_distances_hold_against_float64(model: Model, z: torch.Tensor, run_folder: Path) -> None:
    exact = invreg.load_model(run_folder, "net", device="cpu").reconstructor.double()
    for given in (z[:1], z, z[:, 0]):
        found = model.reconstruct(given)
        batch = given.reshape(-1, 1, 20, 31)
        errors = (found.image.reshape(batch.shape).double() - exact(batch.double())).square().sum((1, 2, 3))
        error = float(errors.sum().sqrt() if given.ndim == 3 else errors.max().sqrt())
        assert found.distance is not None
        assert error <= found.distance < 0.05


def test_a_data_error_widens_the_distance(model: Model, z: torch.Tensor) -> None:
    assert model.certificate is not None
    bound = model.certificate.reconstruction_lipschitz
    assert bound is not None
    for given in (z[:1], z[:, 0]):
        found = model.reconstruct(given, data_error=0.5)
        near = given + 0.5 * torch.nn.functional.normalize(torch.randn(z.shape).reshape(-1), dim=0)[
            : given.numel()
        ].reshape(given.shape)
        other = model.reconstruct(near).image
        assert found.distance is not None
        assert found.data_distance is not None
        assert float((found.image - other).norm()) <= found.data_distance
        assert found.data_distance == pytest.approx(found.distance + 0.5 * bound, rel=0.05)
    assert model.reconstruct(z).data_distance is None


def test_methods_without_proofs_say_so(run_folder: Path, z: torch.Tensor) -> None:
    unet = invreg.load_model(run_folder, "unet", device="cpu")
    assert not isinstance(unet.reconstructor, ReconstructsWithBound)
    found = unet.reconstruct(z)
    assert (found.distance, found.data_distance) == (None, None)
    assert found.residual is not None
    with pytest.raises(CertificateError, match="proves nothing"):
        unet.reconstruct(z, data_error=0.1)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "x", [0.1]])
def test_distances_that_are_none_are_refused(model: Model, z: torch.Tensor, wrong: Any) -> None:
    for name in ("data_error", "tolerance"):
        with pytest.raises(SpecError, match=rf"^{name}: "):
            model.reconstruct(z, **{name: wrong})
    with pytest.raises(SpecError, match=r"^prove: a data error without proofs"):
        model.reconstruct(z, data_error=0.1, prove=False)


def test_warnings_become_notes(model: Model, z: torch.Tensor) -> None:
    found = model.reconstruct(z, tolerance=1e-12)
    assert any("not proven to be within its tolerance" in note for note in found.notes)
    assert found.distance is not None
    assert found.distance > 1e-12


def test_images_that_are_too_large_are_reconstructed_in_tiles(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.rand(1, 1, 200, 40, generator=torch.Generator().manual_seed(2))
    whole = model.reconstruct(z)
    per_pixel = model.reconstructor.memory_per_pixel
    assert per_pixel is not None
    monkeypatch.setattr("invreg.models.model.MOST_MEMORY", per_pixel * 100 * 40)
    monkeypatch.setattr("invreg.models.model._MEMORY_OF_PROOF", 1)
    tiled = model.reconstruct(z)
    assert whole.distance is not None
    assert tiled.distance is None
    assert any("nothing is proven" in note for note in tiled.notes)
    assert any("tiles" in note for note in tiled.notes)
    assert torch.allclose(tiled.image, whole.image, atol=1e-4)
