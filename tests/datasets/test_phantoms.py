"""Random ellipse phantoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invreg import Registry, SpecError, spec_of
from invreg.computing import memory
from invreg_datasets.phantoms import Phantoms, _ellipse, draw_phantom


def test_shapes_and_names() -> None:
    splits = Phantoms(image_size=33, train=5, val=2, test=3).splits()
    assert splits.train.crop_shape == splits.val.image_shape == splits.test.image_shape == (1, 33, 33)
    assert len(splits.train) == 5
    assert list(splits.test.names) == ["test-0", "test-1", "test-2"]


def test_images_lie_in_the_disc_and_in_the_unit_interval() -> None:
    size = 64
    images = np.stack([draw_phantom(key, size, 12) for key in range(60)])
    assert images.dtype == np.float32
    assert images.min() == 0
    assert 0.5 < images.max() <= 1
    grid = (2 * np.arange(size) + 1) / size - 1
    outside = np.hypot(grid[:, None], grid) > 1 + 1 / size
    assert outside.any()
    assert (images[:, 0, outside] == 0).all()
    assert all(len(np.unique(image)) > 20 for image in images), "there is something to see in each"


def test_each_image_has_its_own_random_numbers() -> None:
    few, many = (Phantoms(image_size=24, train=count, val=count, test=count, seed=4).splits() for count in (2, 6))
    assert torch.equal(few.test.images, many.test.images[:2])
    assert torch.equal(few.train.image(1), many.train.image(1))
    other = Phantoms(image_size=24, train=2, val=2, test=2, seed=5).splits()
    everything = torch.cat([many.val.images, many.test.images, few.train.image(0)[None], other.test.images])
    assert len(everything.flatten(1).unique(dim=0)) == len(everything)


@pytest.mark.parametrize("radii", [(0.5, 0.3), (0.8, 0.8), (0.12, 0.4)])
def test_pixels_are_means_over_their_area(radii: tuple[float, float]) -> None:
    size, fine, turn, x, y = 32, 16, 0.7, 0.1, -0.05
    coverage = np.zeros((size, size))
    window, values = _ellipse(x, y, np.array(radii), turn, size)
    coverage[window] = values
    grid = (2 * np.arange(size * fine) + 1) / (size * fine) - 1
    across, down = grid[None, :] - x, grid[:, None] - y
    u = (np.cos(turn) * across + np.sin(turn) * down) / radii[0]
    v = (np.cos(turn) * down - np.sin(turn) * across) / radii[1]
    means = (u**2 + v**2 <= 1).reshape(size, fine, size, fine).mean(axis=(1, 3))
    assert np.abs(coverage - means).max() < 0.15
    assert coverage.sum() * (2 / size) ** 2 == pytest.approx(np.pi * radii[0] * radii[1], rel=0.02)


def test_the_same_scene_at_every_resolution() -> None:
    for key in range(5):
        large = torch.from_numpy(draw_phantom(key, 128, 8))
        small = torch.from_numpy(draw_phantom(key, 64, 8))
        assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 5e-3


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_tiny_images(size: int) -> None:
    splits = Phantoms(image_size=size, train=3, val=1, test=1, ellipses=1).splits()
    assert splits.test.images.shape == (1, 1, size, size)


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"train": 0}, {"test": -1}, {"ellipses": 0}])
def test_impossible_parameters(wrong: dict[str, int]) -> None:
    name = next(iter(wrong))
    with pytest.raises(SpecError, match=rf"^Phantoms\.{name}: .*equal to 1( or a list)? \(given: {wrong[name]}\)"):
        Phantoms(**wrong)
    with pytest.raises(SpecError, match=name):
        Registry.installed().build("dataset", {"name": "phantoms", **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 10**9}, r"^Phantoms\.image_size: .*equal to 16384"),
        ({"train": 10**12}, r"^Phantoms\.train: .*equal to 10000000"),
        ({"ellipses": 10**9}, r"^Phantoms\.ellipses: .*equal to 10000"),
        (
            {"image_size": 16_384, "train": 10**7},
            r"^Phantoms\.image_size: 10,000,048 images of 16384x16384 pixels would take 20,000,096\.0 GiB of memory",
        ),
    ],
)
def test_sizes_that_no_machine_has(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Phantoms(**wrong)


def test_more_than_this_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_physical_memory", lambda: 2**26)
    message = r"image_size: 1,048 images of 96x96 pixels would take 0\.1 GiB of memory(.|\n)*less than the 0\.1 GiB"
    with pytest.raises(SpecError, match=message):
        Phantoms()
    Phantoms(train=500)


def test_in_a_spec() -> None:
    built = Registry.installed().build("dataset", {"name": "phantoms", "image_size": 64})
    assert spec_of(built) == {
        "name": "phantoms", "image_size": 64, "train": 1000, "val": 16, "test": 32, "ellipses": 10, "seed": 0
    }  # fmt: skip


def test_volumes_of_ellipsoids() -> None:
    splits = Phantoms(image_size=(24, 20, 28), train=2, val=1, test=2).splits()
    x = splits.test.images
    assert x.shape == (2, 1, 24, 20, 28)
    assert splits.train.crop == (24, 20, 28)
    assert float(x.max()) <= 1
    assert not torch.equal(x[0], x[1])
    again = Phantoms(image_size=(24, 20, 28), train=1, val=1, test=3).splits()
    assert torch.equal(again.test.images[:2], x)
    grid = torch.meshgrid(*(2 * (torch.arange(n) + 0.5) / n - 1 for n in (24, 20, 28)), indexing="ij")
    outside = sum(axis**2 for axis in grid) > 1.3
    assert (x[:, 0, outside] == 0).all()
    assert 0.1 < float((x > 0.05).float().mean()) < 0.6


def test_voxels_are_means_over_their_volume() -> None:
    from invreg_datasets.ellipsoids import draw_volume

    for key in (1, 2):
        large = torch.from_numpy(draw_volume(key, (64, 64, 64), 6))
        small = torch.from_numpy(draw_volume(key, (32, 32, 16), 6))
        means = torch.nn.functional.avg_pool3d(large, (2, 2, 4))
        assert (means - small).abs().mean() < 6e-3


def test_tiny_volumes() -> None:
    assert Phantoms(image_size=(1, 2, 3), train=1, val=1, test=1).splits().test.images.shape == (1, 1, 1, 2, 3)


def test_crops_of_volumes() -> None:
    small = {"train": 1, "val": 1, "test": 1}
    assert Phantoms(image_size=(8, 9, 10), train_size=4, **small).splits().train.crop == (4, 4, 4)
    assert Phantoms(image_size=(8, 9, 10), train_size=(2, 9, 5), **small).splits().train.crop == (2, 9, 5)
    assert Phantoms(image_size=8, train_size=(3, 5), **small).splits().train.crop == (3, 5)
    assert Phantoms(image_size=8, **small).splits().train.crop == (8, 8)
    for wrong in (9, (4, 4), (9, 9, 10)):
        with pytest.raises(SpecError, match="train_size"):
            Phantoms(image_size=(8, 9, 10), train_size=wrong)
    assert "train_size" not in spec_of(Phantoms(**small))
