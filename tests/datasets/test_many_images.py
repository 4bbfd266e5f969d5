"""Training images that are too many for the memory: the same as in memory, prepared once, whole or not there."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Command

import invreg
from invreg import DataError, ImageDataset, StoredImages, TrainingImages, TrainingPairs, gather_images
from invreg.components import training_images
from invreg.computing import memory
from invreg.imaging import gathering
from invreg_datasets import folder as folder_module
from invreg_datasets.folder import ImageFolder
from invreg_datasets.pairs import MeasuredPairs
from invreg_datasets.stl10 import STL10


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of prepared images, which is empty; a few thousand bytes are too many for the memory."""
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gathering, "MOST_BYTES", 4000)
    return tmp_path / "cache" / "images"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Images of several sizes, some grey and some in colour."""
    (tmp_path / "pictures").mkdir()
    for number in range(14):
        random = np.random.default_rng(number)
        size = (24 + number, 40 - number)
        values = random.integers(0, 256, (*size, 3) if number % 3 == 2 else size, dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "pictures" / f"{number:02}.png")
    return tmp_path / "pictures"


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def is_stored(images: TrainingImages) -> bool:
    return isinstance(images._pixels, StoredImages)


def assert_same(dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = dataset.splits()
    assert is_stored(stored.train)
    assert stored.train.nbytes == 0
    again = dataset.splits()
    with monkeypatch.context() as patch:
        patch.setattr(gathering, "MOST_BYTES", 2**28)
        patch.setenv("INVREG_CACHE", str(Path(os.environ["INVREG_CACHE"]) / "none"))
        kept = dataset.splits()
    assert not is_stored(kept.train)
    assert stored.train._pixels.dtype == kept.train._pixels.dtype
    assert stored.fingerprint() == again.fingerprint() == kept.fingerprint()
    for step in range(12):
        batch = kept.train.batch(3, step, 8)
        assert torch.equal(stored.train.batch(3, step, 8), batch)
        assert torch.equal(stored.train.to("cpu").batch(3, step, 8, slice(2, 5)), batch[2:5])


@pytest.mark.parametrize(
    "parameters",
    [{}, {"color": "rgb"}, {"downsample": 2}, {"short_side": 20}, {"train_size": (8, 12)}],
    ids=lambda parameters: next(iter(parameters), "grey"),
)
def test_a_folder_trains_on_the_same_crops(
    parameters: dict[str, Any], pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(ImageFolder(pictures, image_size=10, **parameters), monkeypatch)
    assert len(entries(cache)) == 1


def test_images_that_are_all_grey_keep_eight_bits(pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in list(pictures.iterdir())[2::3]:
        Image.open(path).convert("L").save(path)
    for path in pictures.iterdir():
        if Image.open(path).mode != "L":
            path.unlink()
    dataset = ImageFolder(pictures, image_size=10)
    assert_same(dataset, monkeypatch)
    pixels = dataset.splits().train._pixels
    assert pixels.dtype == torch.uint8
    assert (cache / entries(cache)[0] / "values").stat().st_size == pixels.nbytes


@pytest.mark.filterwarnings("ignore:.*images instead of.*:UserWarning")
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_stl10(color: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("unlabeled_X.bin", 30), ("train_X.bin", 5), ("test_X.bin", 5)):
        random = np.random.default_rng(count + len(name))
        random.integers(0, 256, count * 3 * 96 * 96, dtype=np.uint8).tofile(tmp_path / name)
    assert_same(STL10(tmp_path, train=25, val=2, test=2, train_size=50, color=color), monkeypatch)
    assert_same(STL10(tmp_path, train=25, val=2, test=2, train_size=50, color=color, seed=1), monkeypatch)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("layout", ["in place", "other shapes", "table"])
def test_measured_pairs(layout: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rows = tmp_path / "pairs", ["truth,measurement,split"]
    for kind in ("truth", "measurement"):
        (folder / kind).mkdir(parents=True)
    for number in range(12):
        random = np.random.default_rng(number)
        shape = (20, 24) if layout == "other shapes" else (20 + number, 24)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / "truth" / f"{number:02}.png")
        for take in "ab" if layout == "table" else "a":
            ending = f"{number:02}{take}" if layout == "table" else f"{number:02}"
            z = random.random((2, *((7, 9) if layout == "other shapes" else shape)), dtype=np.float32) + 1
            np.save(folder / "measurement" / f"{ending}.npy", z)
            split = "val" if number == 0 else "test" if number == 1 else "train"
            rows.append(f"truth/{number:02}.png,measurement/{ending}.npy,{split}")
    parameters: dict[str, Any] = {} if layout == "other shapes" else {"image_size": 12}
    if layout == "table":
        (folder / "pairs.csv").write_text("\n".join(rows))
        parameters["table"] = "pairs.csv"
    dataset = MeasuredPairs(folder, **parameters)
    assert_same(dataset, monkeypatch)
    assert len(entries(cache)) == 2
    stored = dataset.splits().train
    monkeypatch.setattr(gathering, "MOST_BYTES", 2**28)
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "none"))
    kept = dataset.splits().train
    assert isinstance(stored, TrainingPairs)
    assert isinstance(kept, TrainingPairs)
    assert stored.measured_range == kept.measured_range
    for step in range(4):
        expected = kept.measured_batch(None, 0, step, 4, torch.Generator())  # type: ignore[arg-type]
        found = stored.measured_batch(None, 0, step, 4, torch.Generator())  # type: ignore[arg-type]
        assert all(map(torch.equal, found, expected))


def test_a_truth_in_two_splits_is_found_in_files(tmp_path: Path, cache: Path) -> None:
    for split, count in (("train", 8), ("val", 1), ("test", 1)):
        for kind in ("truth", "measurement"):
            (tmp_path / "pairs" / split / kind).mkdir(parents=True)
        for number in range(count):
            seed = 3 if split == "test" else number + 100 * (split == "val")
            values = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "pairs" / split / "truth" / f"{number}.png")
            np.save(tmp_path / "pairs" / split / "measurement" / f"{number}.npy", values / np.float32(255))
    for _ in range(2):
        with pytest.raises(DataError, match=r"the same scene is in train and in test: train/truth/3\.png"):
            MeasuredPairs(tmp_path / "pairs").splits()
    assert len(entries(cache)) == 2


def test_a_sixteenth_of_the_memory(pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_BYTES", 2**28)
    monkeypatch.setattr(memory, "_physical_memory", lambda: 16 * 4000)
    assert is_stored(TrainingImages(gather_images([np.zeros((1, 64, 64), np.uint8)], ["a"], {}), ["a"], (8, 8)))
    monkeypatch.setattr(memory, "_physical_memory", lambda: 16 * 5000)
    assert not is_stored(TrainingImages(gather_images([np.zeros((1, 64, 64), np.uint8)], ["b"], {1: 1}), ["b"], (8, 8)))


def test_images_are_decoded_once(pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ImageFolder(pictures, image_size=10, val=2, test=2)
    read = []
    true = folder_module.read_image
    monkeypatch.setattr(folder_module, "read_image", lambda path: read.append(path.name) or true(path))
    first = dataset.splits()
    assert len(read) == 14
    dataset.splits()
    assert sorted(read[14:]) == sorted([*first.val.names, *first.test.names])
    # The crop is not part of what is kept.
    ImageFolder(pictures, image_size=10, train_size=20, val=2, test=2).splits()
    assert len(entries(cache)) == 1
    with pytest.raises(DataError, match="smaller than the 30x30 crop"):
        ImageFolder(pictures, image_size=10, train_size=30, val=2, test=2).splits()


def test_changed_files_are_prepared_anew(pictures: Path, cache: Path) -> None:
    dataset = ImageFolder(pictures, image_size=10, val=2, test=2)
    before = dataset.splits()
    name = before.train.names[3]
    times = (pictures / name).stat()
    pixels = np.array(Image.open(pictures / name))
    Image.fromarray(255 - pixels).save(pictures / name)
    # Whoever sets the time back has changed the file nevertheless.
    os.utime(pictures / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = dataset.splits()
    assert torch.equal(before.train.image(2), after.train.image(2))
    assert not torch.equal(before.train.image(3), after.train.image(3))
    assert len(entries(cache)) == 2
    shutil.copytree(pictures, pictures.with_name("copy"))
    ImageFolder(pictures.with_name("copy"), image_size=10, val=2, test=2).splits()
    assert len(entries(cache)) == 3


@pytest.mark.parametrize("damage", ["truncated", "without values", "without content", "other content"])
def test_a_damaged_entry_is_prepared_anew(damage: str, pictures: Path, cache: Path) -> None:
    dataset = ImageFolder(pictures, image_size=10)
    expected = dataset.splits().fingerprint()
    place = cache / entries(cache)[0]
    if damage == "truncated":
        os.truncate(place / "values", 1000)
    elif damage == "without values":
        (place / "values").unlink()
    elif damage == "without content":
        (place / "images.json").unlink()
    else:
        (place / "images.json").write_text(json.dumps({"dtype": "uint8", "shapes": 3}))
    assert dataset.splits().fingerprint() == expected
    assert sorted(path.name for path in place.iterdir()) == ["images.json", "values"]


def test_a_deleted_cache_does_not_end_a_training(pictures: Path, cache: Path) -> None:
    train = ImageFolder(pictures, image_size=10).splits().train
    batch = train.batch(0, 0, 8)
    if os.name == "posix":
        shutil.rmtree(cache)
    assert torch.equal(train.batch(0, 0, 8), batch)


def test_a_cache_that_cannot_be_written_is_named(
    pictures: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written(.|\n)*INVREG_CACHE names another folder"):
        ImageFolder(pictures, image_size=10).splits()


def test_a_bad_file_leaves_nothing(pictures: Path, cache: Path) -> None:
    path = sorted(pictures.iterdir())[-1]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=path.name):
        ImageFolder(pictures, image_size=10, seed=1).splits()
    assert entries(cache) == []


def test_what_nobody_has_used_for_a_month_is_removed(pictures: Path, cache: Path) -> None:
    for seed in range(3):
        ImageFolder(pictures, image_size=10, seed=seed).splits()
        time.sleep(0.01)
    first, second, third = sorted(entries(cache), key=lambda name: (cache / name / "images.json").stat().st_mtime)
    long_ago = time.time() - 40 * 24 * 3600
    for name in (first, second):
        os.utime(cache / name / "images.json", (long_ago, long_ago))
    (cache / f".{second}.abcdefgh").mkdir()
    used = ImageFolder(pictures, image_size=10).splits()  # a use counts
    assert entries(cache) == sorted([first, second, third, f".{second}.abcdefgh"])
    ImageFolder(pictures, image_size=10, color="rgb").splits()
    assert {first, third} < set(entries(cache))
    assert len(entries(cache)) == 3
    assert used.train.batch(0, 0, 2).shape == (2, 1, 10, 10)


PREPARE = """
import os, sys
from invreg.imaging import gathering
from invreg_datasets import folder
from invreg_datasets.folder import ImageFolder

gathering.MOST_BYTES = 4000
pictures, log, last = sys.argv[1:]
true, calls = folder.read_image, 0

def read(path):
    global calls
    calls += 1
    if calls == int(last):
        print("half-way", flush=True)
        os.kill(os.getpid(), 9)
    with open(log, "a") as file:
        file.write(path.name + os.linesep)
    return true(path)

folder.read_image = read
print(ImageFolder(pictures, image_size=10, val=1, test=1).splits().fingerprint()["pixels"])
"""


def _prepare(pictures: Path, tmp_path: Path, last: int = 0) -> Command:
    (tmp_path / "prepare.py").write_text(PREPARE)
    return Command(tmp_path / "prepare.py", pictures, tmp_path / "log", str(last))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as on Linux")
def test_a_kill_half_way_leaves_nothing_wrong(pictures: Path, tmp_path: Path, cache: Path) -> None:
    killed = _prepare(pictures, tmp_path, last=9).finish()
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = entries(cache)
    assert leftover.startswith(".")
    whole = ImageFolder(pictures, image_size=10, val=1, test=1).splits()
    assert len(entries(cache)) == 1
    assert f".{entries(cache)[0]}." in leftover
    shutil.rmtree(cache)
    assert ImageFolder(pictures, image_size=10, val=1, test=1).splits().fingerprint() == whole.fingerprint()


@pytest.mark.slow
def test_two_processes_at_once(pictures: Path, tmp_path: Path, cache: Path) -> None:
    commands = [_prepare(pictures, tmp_path) for _ in range(2)]
    ended = [command.finish() for command in commands]
    assert [one.returncode for one in ended] == [0, 0], ended
    assert len({one.stdout for one in ended}) == 1
    assert len(entries(cache)) == 1
    # One of them has decoded all training images, the other at most those that tell it that they are too many.
    decoded = (tmp_path / "log").read_text().split()
    assert len(decoded) < 2 * 14


def test_a_run_gives_the_same_numbers(pictures: Path, tmp_path: Path, cache: Path, monkeypatch: Any) -> None:
    spec = {
        "data": {"name": "image_folder", "path": str(pictures), "image_size": 16, "val": 2, "test": 2},
        "operator": {"name": "gaussian_blur", "kernel_size": 3},
        "noise": {"name": "gaussian", "std": 0.02},
        "methods": {
            "net": {
                "reconstructor": {"name": "conv_resnet", "subnetworks": 2, "channels": 2, "hidden": 2},
                "trainer": {"name": "reconstruction", "steps": 4, "batch_size": 4, "validations": 2},
            }
        },
        "analyses": [],
    }
    stored = invreg.run(spec, output=tmp_path / "stored", progress=False)
    assert len(entries(cache)) == 1
    monkeypatch.setattr(gathering, "MOST_BYTES", 2**28)
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "none"))
    kept = invreg.run(spec, output=tmp_path / "kept", progress=False)
    for name in ("methods/net/weights.safetensors", "run.json"):
        assert (stored.folder / name).read_bytes() == (kept.folder / name).read_bytes()
    columns = ["method", "image", "psnr", "ssim"]
    assert stored.metrics[columns].equals(kept.metrics[columns])


def stored(tmp_path: Path, values: list[np.ndarray]) -> StoredImages:
    flat = np.concatenate([one.reshape(-1) for one in values])
    path = tmp_path / f"values-{len(list(tmp_path.iterdir()))}"
    flat.tofile(path)
    shapes = [one.shape for one in values]
    return StoredImages(path, flat.dtype.name, shapes, float(flat.min()), float(flat.max()))


def test_a_sequence_in_a_file(tmp_path: Path) -> None:
    values = [np.random.default_rng(n).random((1, 4 + n, 5), np.float32) for n in range(4)]
    images = stored(tmp_path, values)
    assert (len(images), images.dtype, images.nbytes) == (4, torch.float32, 4 * 5 * (4 + 5 + 6 + 7))
    for got, image in zip(images, values, strict=True):
        assert np.array_equal(got, image)
    assert np.array_equal(images[-1], values[-1])
    assert [one.shape for one in images[1:3]] == [(1, 5, 5), (1, 6, 5)]
    with pytest.raises(IndexError):
        images[4]
    flat = np.concatenate([one.reshape(-1) for one in values])
    assert np.array_equal(images.take(torch.tensor([[3, 0], [50, 7]])), flat[[[3, 0], [50, 7]]])
    assert np.array_equal(images.load(torch.device("cpu")), flat)
    assert np.array_equal(copy.deepcopy(images)[2], values[2])
    with pytest.raises(ValueError, match="440 bytes instead of 80"):
        StoredImages(images.path, "float32", [(1, 4, 5)], 0, 1)


def test_values_that_are_unusable_are_named(tmp_path: Path) -> None:
    values = [np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 2, np.float32)]
    with pytest.raises(DataError, match="'b': values from 2 to 2"):
        TrainingImages(stored(tmp_path, values), ["a", "b"], (4, 4))
    values[1][0, 3, 3] = np.nan
    with pytest.raises(DataError, match="'b': values that are NaN"):
        TrainingImages(stored(tmp_path, values), ["a", "b"], (4, 4))
    fine = torch.zeros(1, 8, 8)
    with pytest.raises(DataError, match="NaN or infinite"):
        TrainingPairs([fine, fine], ["a", "b"], (4, 4), stored(tmp_path, values))


@pytest.mark.parametrize("shape", [(2, 9, 9), (3, 4)])
def test_pairs(shape: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = [random.random((1, 9, 9), np.float32) for _ in range(5)]
    z = [random.standard_normal(shape, np.float32) for _ in range(5)]
    names, crop = list("abcde"), (4, 4) if len(shape) == 3 else (9, 9)
    kept = TrainingPairs([*map(torch.from_numpy, x)], names, crop, [*map(torch.from_numpy, z)])
    pairs = TrainingPairs(stored(tmp_path, x), names, crop, stored(tmp_path, z))
    assert pairs.nbytes == 0
    for step in range(3):
        expected = kept.measured_batch(None, 0, step, 4, torch.Generator())  # type: ignore[arg-type]
        found = pairs.measured_batch(None, 0, step, 4, torch.Generator())  # type: ignore[arg-type]
        assert all(map(torch.equal, found, expected))

    found, expected = (torch.cat([one.flatten() for one in train.contents]) for train in (pairs, kept))
    assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_gpu_gives_the_same_crops(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_images, "_SHARE_OF_GPU", share)
    values = [np.random.default_rng(n).integers(0, 256, (1, 30 + n, 40), np.uint8) for n in range(4)]
    images = TrainingImages(stored(tmp_path, values), list("abcd"), (8, 8))
    moved = images.to("cuda")
    assert is_stored(moved) == (share == 0)
    assert moved.batch(0, 3, 16).device.type == "cuda"
    assert torch.equal(moved.batch(0, 3, 16).cpu(), images.batch(0, 3, 16))
