"""Random crops: where they come from, how they are turned, and that they are a function of (seed, step)."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from invreg.components.training_images import TrainingImages
from invreg.errors import DataError


def coded(heights_widths: list[tuple[int, int]], channels: int = 1) -> list[Tensor]:
    """Images in which every pixel of every image has a value of its own, so that a crop tells where it is from."""
    total = sum(channels * height * width for height, width in heights_widths)
    values = torch.randperm(total, generator=torch.Generator().manual_seed(0)).float() / total
    assert len(values.unique()) == total
    sizes = [channels * height * width for height, width in heights_widths]
    return [
        flat.reshape(channels, height, width)
        for flat, (height, width) in zip(values.split(sizes), heights_widths, strict=True)
    ]


def orientations(window: Tensor) -> list[Tensor]:
    """The dihedral images of a window: four without exchanging the axes, four with it."""
    turned = [window.rot90(turns, (1, 2)) for turns in range(4)]
    return turned + [image.flip(2) for image in turned]


def find(crop: Tensor, images: list[Tensor]) -> tuple[int, int, int, int]:
    """Image, top, left and orientation of a crop of coded images; fails if the crop is no window of any."""
    for number, image in enumerate(images):
        places = (image[0] == crop[0].min()).nonzero()
        if len(places) == 0:
            continue
        row, column = places[0].tolist()
        height, width = crop.shape[1:]
        for top in range(max(0, row - height + 1), min(row, image.shape[1] - height) + 1):
            for left in range(max(0, column - width + 1), min(column, image.shape[2] - width) + 1):
                window = image[:, top : top + height, left : left + width]
                for orientation, turned in enumerate(orientations(window)):
                    if turned.shape == crop.shape and torch.equal(turned, crop):
                        return number, top, left, orientation
    raise AssertionError("the crop is no window of any image")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("crop", "expected"), [((4, 4), set(range(8))), ((3, 5), {0, 2, 4, 6})])
def test_crops_are_oriented_windows(crop: tuple[int, int], expected: set[int], channels: int) -> None:
    images = coded([(9, 7), (8, 12), (5, 5)], channels)
    training = TrainingImages(images, ["a", "b", "c"], crop)
    found = [find(one, images) for step in range(40) for one in training.batch(seed=3, step=step, batch_size=8)]
    assert {orientation for *_, orientation in found} == expected
    assert {number for number, *_ in found} == {0, 1, 2}
    height, width = crop
    for number, image in enumerate(images):
        tops = {top for chosen, top, _, _ in found if chosen == number}
        lefts = {left for chosen, _, left, _ in found if chosen == number}
        assert tops == set(range(image.shape[1] - height + 1)), "not every row is reached"
        assert lefts == set(range(image.shape[2] - width + 1)), "not every column is reached"


def test_orientations_are_equally_frequent() -> None:
    images = coded([(6, 6)])
    training = TrainingImages(images, ["a"], (6, 6))
    crops = torch.cat([training.batch(0, step, 64) for step in range(50)])
    counts = torch.tensor([(crops == turned).flatten(1).all(1).sum() for turned in orientations(images[0])])
    assert counts.sum() == 3200
    # 400 expected each, standard deviation 19
    assert counts.min() > 300
    assert counts.max() < 500


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    images = coded([(20, 30), (25, 20)])
    training, again = (TrainingImages(images, ["a", "b"], (8, 8)) for _ in range(2))
    batch = training.batch(5, 17, 6)
    training.batch(1, 2, 3)
    torch.rand(7)
    assert torch.equal(training.batch(5, 17, 6), batch)
    assert torch.equal(again.batch(5, 17, 6), batch)
    assert not torch.equal(training.batch(6, 17, 6), batch)
    assert not torch.equal(training.batch(5, 18, 6), batch)
    before = torch.random.get_rng_state()
    training.batch(0, 0, 4)
    assert torch.equal(torch.random.get_rng_state(), before), "the global random numbers were touched"


def test_parts_are_slices_of_the_whole_batch() -> None:
    training = TrainingImages(coded([(20, 30), (25, 20)], channels=3), ["a", "b"], (8, 8))
    whole = training.batch(0, 9, 10)
    for part in (slice(0, 4), slice(4, 10), slice(1, None, 2), slice(3, 3)):
        assert torch.equal(training.batch(0, 9, 10, part), whole[part])


def test_every_epoch_visits_everything() -> None:
    images = coded([(9, 13), (4, 4), (8, 8)])
    training = TrainingImages(images, ["a", "b", "c"], (4, 4))
    assert len(training) == 2 * 3 + 1 + 4
    stream = (find(crop, images)[0] for step in range(100) for crop in training.batch(1, step, 3))
    orders = []
    for _ in range(4):
        epoch = list(islice(stream, len(training)))
        assert [epoch.count(number) for number in range(3)] == [6, 1, 4]
        orders.append(epoch)
    assert orders[0] != orders[1]


def test_a_batch_larger_than_an_epoch() -> None:
    training = TrainingImages(coded([(4, 4)]), ["a"], (4, 4))
    assert training.batch(0, 0, 5).shape == (5, 1, 4, 4)
    assert training.steps_per_epoch(5) == 1


def test_steps_per_epoch() -> None:
    training = TrainingImages(coded([(8, 20)]), ["a"], (4, 4))
    assert [training.steps_per_epoch(size) for size in (1, 3, 5, 10, 99)] == [10, 4, 2, 1, 1]


def test_uint8_is_kept_and_scaled_on_the_way_out() -> None:
    values = torch.randint(0, 256, (3, 12, 15), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stored = TrainingImages([values], ["a"], (5, 5))
    floats = TrainingImages([values.float() / 255], ["a"], (5, 5))
    assert stored._pixels.dtype == torch.uint8
    assert stored.batch(0, 0, 4).dtype == torch.float32
    assert torch.equal(stored.batch(0, 0, 4), floats.batch(0, 0, 4))
    assert torch.equal(stored.image(0), values.float() / 255)


def test_whole_images_come_back() -> None:
    images = coded([(5, 9), (7, 4)], channels=3)
    training = TrainingImages(images, ["a", "b"], (4, 4))
    assert training.names == ["a", "b"]
    assert training.crop_shape == (3, 4, 4)
    for number, image in enumerate(images):
        assert torch.equal(training.image(number), image)


def test_to_moves_a_copy() -> None:
    training = TrainingImages(coded([(9, 9)]), ["a"], (4, 4))
    moved = training.to("meta")
    assert (training.device.type, moved.device.type) == ("cpu", "meta")
    assert moved.batch(0, 0, 3).shape == (3, 1, 4, 4)
    assert torch.equal(training.to("cpu").batch(0, 0, 3), training.batch(0, 0, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_changes_no_crop() -> None:
    training = TrainingImages(coded([(20, 30), (25, 20)], channels=3), ["a", "b"], (8, 8))
    assert torch.equal(training.to("cuda").batch(0, 3, 16).cpu(), training.batch(0, 3, 16))


class Steps(Dataset[Tensor]):
    """The batches of the first steps, as a map-style data set."""

    def __init__(self, images: TrainingImages, steps: int) -> None:
        self.images = images
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Tensor:
        return self.images.batch(0, step, 4)


@pytest.mark.slow
def test_workers_make_the_same_batches() -> None:
    training = TrainingImages(coded([(20, 30), (25, 20)]), ["a", "b"], (8, 8))
    loaded = list(DataLoader(Steps(training, 12), batch_size=None, num_workers=2))
    assert len(loaded) == 12
    for step, batch in enumerate(loaded):
        assert torch.equal(batch, training.batch(0, step, 4))


NAN = torch.full((1, 8, 8), float("nan"))


@pytest.mark.parametrize(
    ("images", "crop", "message"),
    [
        ([], (4, 4), "no training images"),
        ([torch.zeros(1, 8, 8), torch.zeros(1, 8, 3)], (4, 4), "'b': 8x3 pixels, smaller than the 4x4 crop"),
        ([torch.zeros(1, 8, 8), torch.zeros(3, 8, 8)], (4, 4), r"'b': shape \(3, 8, 8\)"),
        ([torch.zeros(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8)], (4, 4), "'b'.*uint8"),
        ([torch.zeros(8, 8)], (4, 4), r"'a': shape \(8, 8\)"),
        ([torch.zeros(1, 8, 8, dtype=torch.float64)], (4, 4), "'a'.*float64"),
        ([torch.zeros(1, 8, 8), NAN], (4, 4), "'b'.*NaN"),
        ([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 255.0)], (4, 4), "'b': values from 255 to 255"),
        ([torch.full((1, 8, 8), -0.5)], (4, 4), "'a': values from -0.5"),
        ([torch.zeros(1, 8, 8)], (0, 4), "crops of 0x4"),
    ],
)
def test_unusable_images_are_named(images: list[Tensor], crop: tuple[int, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TrainingImages(images, "abcdef"[: len(images)], crop)


def test_a_name_for_each_image() -> None:
    with pytest.raises(DataError, match="1 names for 2 images"):
        TrainingImages([torch.zeros(1, 4, 4)] * 2, ["a"], (4, 4))


def test_crops_of_volumes_are_windows_whose_slices_stay_slices() -> None:
    """Sixteen orientations: those of images, in each slice alike, and the order of the slices."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randperm(370, generator=generator).float() / 370
    images = [values[:210].view(1, 5, 6, 7), values[210:].view(1, 4, 8, 5)]
    training = TrainingImages(images, ["a", "b"], (3, 4, 4))
    assert training.crop_shape == (1, 3, 4, 4)
    assert len(training) == 3
    assert torch.equal(training.image(1), images[1])
    seen, corners = set(), set()
    for step in range(20):
        for crop in training.batch(seed=1, step=step, batch_size=8):
            number = int(not (images[0] == crop.min()).any())
            windows = images[number].unfold(1, 3, 1).unfold(2, 4, 1).unfold(3, 4, 1)[0]
            turned = {
                (flipped, orientation): volume
                for flipped, base in ((False, crop[0]), (True, crop[0].flip(0)))
                for orientation, volume in enumerate(orientations(base))
            }
            found = [(key, (windows == one).all(-1).all(-1).all(-1).nonzero()) for key, one in turned.items()]
            ((key, places),) = [(key, places) for key, places in found if len(places)]
            seen.add(key)
            corners.add((number, *places[0].tolist()))
    assert len(seen) == 16
    for number, image in enumerate(images):
        for axis, (side, length) in enumerate(zip(image.shape[1:], (3, 4, 4), strict=True), start=1):
            assert {corner[axis] for corner in corners if corner[0] == number} == set(range(side - length + 1))
    oblong = TrainingImages(images, ["a", "b"], (2, 3, 4))
    assert oblong.batch(0, 0, 5).shape == (5, 1, 2, 3, 4)


def test_volumes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="4x4x4 voxels, smaller than the 5x2x2 crop"):
        TrainingImages([torch.zeros(1, 4, 4, 4)], ["a"], (5, 2, 2))
    with pytest.raises(DataError, match=r"expected: \[C, D, H, W\]"):
        TrainingImages([torch.zeros(1, 4, 4)], ["a"], (2, 2, 2))
    with pytest.raises(DataError, match=r"expected: \[C, H, W\]"):
        TrainingImages([torch.zeros(1, 4, 4, 4)], ["a"], (2, 2))
    with pytest.raises(DataError, match="at least 1x1x1"):
        TrainingImages([torch.zeros(1, 4, 4, 4)], ["a"], (2, 0, 2))
