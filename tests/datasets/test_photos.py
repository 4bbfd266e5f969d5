"""The bundled photographs: what is in which split, and how they are prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from invreg import Registry, SpecError, spec_of
from invreg.components.dataset import Splits
from invreg.errors import DataError
from invreg_datasets import photos as module
from invreg_datasets.photos import SHORTEST_SIDE, Photos

WEIGHTS = np.array([0.2125, 0.7154, 0.0721])


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Photos().splits()


def halved(path: Path) -> torch.Tensor:
    """The reference: grey by the luminance weights in float64, then the mean of 2 x 2 blocks."""
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255 @ WEIGHTS
    height, width = (side // 2 * 2 for side in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return torch.from_numpy(blocks.mean(axis=(1, 3)))


def test_names_and_shapes(splits: Splits) -> None:
    assert splits.train.names == [
        *("astronaut", "china", "motorcycle_left", "motorcycle_right", "coins", "brick", "grass", "gravel")
    ]
    assert splits.train.crop_shape == (1, 96, 96)
    grids = {"camera": (2, 2), "chelsea": (1, 2), "flower": (2, 3)}
    assert list(splits.test.names) == [
        f"{name}[{row},{column}]"
        for name, (rows, columns) in grids.items()
        for row in range(rows)
        for column in range(columns)
    ]
    assert len(splits.val) == 12
    assert {name.partition("[")[0] for name in splits.val.names} == {"coffee", "rocket"}
    assert splits.val.image_shape == splits.test.image_shape == (1, 96, 96)


def test_pixels_are_block_means_of_the_luminance(splits: Splits) -> None:
    for number, name in enumerate(splits.train.names):
        expected = halved(module._location(name))
        assert torch.allclose(splits.train.image(number)[0].double(), expected, atol=1e-6, rtol=0), name


def test_patches_lie_in_a_centred_grid(splits: Splits) -> None:
    for stack in (splits.val, splits.test):
        for name, patch in zip(stack.names, stack.images, strict=True):
            photograph, _, place = name.rstrip("]").partition("[")
            row, column = map(int, place.split(","))
            whole = halved(module._location(photograph))
            top, left = (whole.shape[0] % 96) // 2 + row * 96, (whole.shape[1] % 96) // 2 + column * 96
            assert torch.allclose(patch[0].double(), whole[top : top + 96, left : left + 96], atol=1e-6, rtol=0), name


def best_match(window: torch.Tensor, image: torch.Tensor) -> float:
    """Largest normalised cross-correlation of a window with any window of an image, in all eight orientations."""
    image = image[None]
    template = window - window.mean()
    template = template / template.norm()
    kernels = torch.stack([t for turns in range(4) for t in (template.rot90(turns), template.rot90(turns).T)])[:, None]
    area = window.numel()
    mean = functional.avg_pool2d(image, window.shape[0], 1)
    variance = (functional.avg_pool2d(image**2, window.shape[0], 1) - mean**2).clamp_min(1e-6)
    return float((functional.conv2d(image, kernels) / (variance * area).sqrt()).max())


def structure(images: torch.Tensor) -> torch.Tensor:
    """Small versions `[N, 1, h, w]` without their slowly varying part (all skies resemble each other)."""
    small = functional.avg_pool2d(images, 4)
    return small - functional.avg_pool2d(functional.pad(small, (2, 2, 2, 2), mode="reflect"), 5, 1)


@pytest.mark.slow
def test_no_scene_is_in_two_splits(splits: Splits) -> None:
    train = [structure(splits.train.image(number)[None])[0] for number in range(len(splits.train.names))]
    val, test = structure(splits.val.images), structure(splits.test.images)
    matches = [best_match(patch[0, 2:22, 2:22], image) for patch in (*val, *test) for image in train]
    matches += [best_match(patch[0, 2:22, 2:22], other) for patch in val for other in test]
    assert max(matches) < 0.7
    # The measure sees what it should: the same scene from beside.
    left, right = (train[splits.train.names.index(f"motorcycle_{side}")] for side in ("left", "right"))
    assert best_match(left[0, 30:50, 30:50], right) > 0.9


@pytest.mark.slow
def test_splits_import_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from invreg_datasets.photos import Photos\n"
        "Photos().splits()\n"
        "print([name for name in ('skimage', 'sklearn', 'scipy', 'matplotlib', 'pandas') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_building_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_image", lambda path: pytest.fail(f"read {path}"))
    Photos()


def test_sizes_and_colours() -> None:
    splits = Photos(image_size=64, train_size=48, downsample=1, color="rgb").splits()
    assert splits.train.crop_shape == (3, 48, 48)
    assert splits.train._pixels.dtype == torch.uint8, "no pixel changed: eight bits are enough"
    assert splits.test.image_shape == (3, 64, 64)
    coins = splits.train.image(splits.train.names.index("coins"))
    assert torch.equal(coins[0], coins[2]), "a grey photograph has equal channels"
    astronaut = splits.train.image(0)
    assert not torch.equal(astronaut[0], astronaut[2])


def test_the_shortest_side_is_right() -> None:
    sides = [min(Image.open(module._location(name)).size) for name in (*module._TRAIN, *module._VAL, *module._TEST)]
    assert min(sides) == SHORTEST_SIDE
    largest = Photos(image_size=SHORTEST_SIDE // 3, downsample=3).splits()
    assert {name.partition("[")[0] for name in largest.test.names} == {"camera", "chelsea", "flower"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 151}, "^Photos.image_size: 151 pixels.*\n.*at most 150"),
        ({"train_size": 200}, "train_size: 200 pixels"),
        ({"image_size": 48, "downsample": 8}, "at most 37"),
        ({"image_size": 0}, r"image_size: .*equal to 1 \(given: 0\)"),
        ({"downsample": -2}, r"downsample: .*equal to 1 \(given: -2\)"),
        ({"downsample": 1000, "image_size": 1}, r"downsample: .*equal to 300 \(given: 1000\)"),
        ({"color": "gray"}, "color: input should be 'grey' or 'rgb'"),
    ],
)
def test_impossible_parameters(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Photos(**parameters)  # type: ignore[arg-type]


def test_a_missing_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Emptied:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(module, "find_spec", lambda name: Emptied)
    with pytest.raises(DataError, match=r"astronaut\.png: photograph 'astronaut' is missing\n.*scikit-image"):
        Photos().splits()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="scikit-image is not installed"):
        Photos().splits()


def test_in_a_spec() -> None:
    registry = Registry.installed()
    built = registry.build("dataset", {"name": "photos", "train_size": 48})
    assert (built.image_size, built.train_size, built.downsample) == (96, 48, 2)
    assert spec_of(built) == {"name": "photos", "image_size": 96, "train_size": 48, "downsample": 2, "color": "grey"}
    assert registry.build("dataset", "photos").train_size == 96
    for wrong in ({"train_size": 0}, {"downsample": 2.5}, {"color": "gray"}, {"image_size": None}):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            registry.build("dataset", {"name": "photos", **wrong})
