"""Pairs of truth and measurement in files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invreg import DataError, ImageStack, MeasuredStack, Registry, SpecError, Splits, TrainingPairs, write_image
from invreg.testing import CheckFailure, check_dataset
from invreg_datasets.pairs import MeasuredPairs


def scene(number: int, size: tuple[int, int] = (12, 15), channels: int = 1) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (channels, *size), dtype=np.uint8)


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        Image.fromarray(pixels[0].astype(np.uint16)).save(path)
    else:
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(path)


def fill(folder: Path, names: Iterable[str], ending: str = ".npy", size: tuple[int, int] = (12, 15)) -> Path:
    """Truth in 8 bits, and twice the truth plus one as its measurement."""
    for number, name in enumerate(names):
        put(folder / "truth" / f"{name}.png", scene(number, size))
        put(folder / "measurement" / f"{name}{ending}", 2 * (scene(number, size) / np.float32(255)) + 1)
    return folder


def numbered(count: int, before: str = "") -> list[str]:
    return [f"{before}{number:03}" for number in range(count)]


def stacks(dataset: MeasuredPairs) -> tuple[TrainingPairs, MeasuredStack, MeasuredStack]:
    splits = dataset.splits()
    assert isinstance(splits.train, TrainingPairs)
    assert isinstance(splits.val, MeasuredStack)
    assert isinstance(splits.test, MeasuredStack)
    return splits.train, splits.val, splits.test


def test_two_folders(tmp_path: Path) -> None:
    train, val, test = stacks(MeasuredPairs(fill(tmp_path, numbered(20))))
    assert (len(train.names), len(val), len(test)) == (16, 2, 2)
    assert sorted([*train.names, *val.names, *test.names]) == numbered(20)
    assert test.image_shape == (1, 12, 15)
    for stack in (val, test):
        for name, x, z in zip(stack.names, stack.images, stack.measurements, strict=True):
            assert torch.equal(x, torch.from_numpy(scene(int(name)) / np.float32(255)))
            assert torch.allclose(z, 2 * x + 1, atol=1e-6)
    x, z = train.measured_batch(None, 0, 0, 8, torch.Generator())  # type: ignore[arg-type]
    assert x.shape == (8, 1, 12, 15)
    assert torch.allclose(z, 2 * x + 1, atol=1e-6)


@pytest.mark.parametrize("layout", ["{kind}/{split}/{name}", "{split}/{kind}/{name}"])
def test_folders_of_the_splits_are_taken_whole(tmp_path: Path, layout: str) -> None:
    counts = {"train": 5, "Validation": 40, "test": 37}
    number = 0
    for split, count in counts.items():
        for name in numbered(count):
            number += 1
            for kind in ("truth", "measurement"):
                put(tmp_path / f"{layout.format(kind=kind, split=split, name=name)}.png", scene(number, (5, 5)))
    train, val, test = stacks(MeasuredPairs(tmp_path))
    assert (len(train.names), len(val), len(test)) == (5, 40, 37)
    assert all(name.startswith("Validation/") for name in val.names)
    train, val, test = stacks(MeasuredPairs(tmp_path, val=3, test=4))
    assert (len(train.names), len(val), len(test)) == (5, 3, 4)


def test_crops_are_cut_at_the_same_place(tmp_path: Path) -> None:
    train, val, test = stacks(
        MeasuredPairs(fill(tmp_path, numbered(6)), image_size=(7, 9), train_size=5, val=1, test=2)
    )
    assert test.image_shape == (1, 7, 9)
    assert torch.allclose(test.measurements, 2 * test.images + 1, atol=1e-6)
    whole = scene(int(val.names[0]))[:, 2:9, 3:12]
    assert torch.equal(val.images[0], torch.from_numpy(whole / np.float32(255)))
    assert train.crop_shape == (1, 5, 5)
    for step in range(5):
        x, z = train.measured_batch(None, 0, step, 4, torch.Generator())  # type: ignore[arg-type]
        assert torch.allclose(z, 2 * x + 1, atol=1e-6)


def test_images_of_several_sizes(tmp_path: Path) -> None:
    fill(tmp_path, numbered(6))
    fill(tmp_path, numbered(6, "tall"), size=(18, 9))
    with pytest.raises(DataError, match=r"images of 2 sizes, (.|\n)*image_size: \[12, 9\]"):
        MeasuredPairs(tmp_path, val=3, test=6).splits()
    train, _, test = stacks(MeasuredPairs(tmp_path, image_size=(12, 9), val=3, test=6))
    assert test.image_shape == (1, 12, 9)
    assert {tuple(train.image(i).shape) for i in range(3)} <= {(1, 12, 15), (1, 18, 9)}


def test_measurements_of_another_shape_are_used_whole(tmp_path: Path) -> None:
    for number, name in enumerate(numbered(8)):
        put(tmp_path / "truth" / f"{name}.png", scene(number))
        put(tmp_path / "measurement" / f"{name}.npy", np.full((30, 4), number, np.float32))
    train, _, test = stacks(MeasuredPairs(tmp_path, turns=True))
    assert train.measurement_shape == (1, 30, 4)
    assert not train.turns
    x, z = train.measured_batch(None, 0, 0, 6, torch.Generator())  # type: ignore[arg-type]
    for one, measured in zip(x, z, strict=True):
        assert torch.equal(one, torch.from_numpy(scene(int(measured[0, 0, 0])) / np.float32(255)))
    assert [float(z[0, 0, 0]) for z in test.measurements] == [int(name) for name in test.names]
    with pytest.raises(DataError, match=r"image_size or train_size, where measurements of shape \(1, 30, 4\)"):
        MeasuredPairs(tmp_path, train_size=8).splits()


def test_types_and_white_points(tmp_path: Path) -> None:
    for number, name in enumerate(numbered(5)):
        put(tmp_path / "truth" / f"{name}.png", scene(number, channels=3))
        put(tmp_path / "measurement" / f"{name}.tif", scene(number).astype(np.uint16) * 16)
    _, _, test = stacks(MeasuredPairs(tmp_path, measured_white=4080))
    assert torch.allclose(
        test.measurements[0], torch.from_numpy(scene(int(test.names[0])) / np.float32(255)), atol=1e-6
    )
    assert test.images.shape[1] == 1
    _, _, colour = stacks(MeasuredPairs(tmp_path, color="rgb"))
    assert colour.image_shape == (3, 12, 15)
    assert colour.measurements.shape[1] == 3, "as the truth, if the file is an image"
    for name in numbered(5):
        put(tmp_path / "measurement" / f"{name}.png", scene(0, channels=3))
        (tmp_path / "measurement" / f"{name}.tif").unlink()
    _, _, bright = stacks(MeasuredPairs(tmp_path, measured_white=100))
    grey = np.tensordot([0.2125, 0.7154, 0.0721], scene(0, channels=3) / 100, 1)
    assert np.allclose(bright.measurements[0, 0], grey, atol=1e-5), "measurements may exceed white"
    with pytest.raises(DataError, match=r"values from \S+ to 2.55"):
        MeasuredPairs(tmp_path, white=100).splits()


def table(folder: Path, text: str) -> Path:
    (folder / "pairs.csv").write_text(text, encoding="utf-8-sig")
    return folder


def test_a_table(tmp_path: Path) -> None:
    rows = ["image, camera ,split"]
    for number in range(7):
        put(tmp_path / "a" / f"{number}.png", scene(number))
        put(tmp_path / "b" / f"shot {number}.png", scene(number))
        rows.append(
            f"a/{number}.png,b/shot {number}.png,{'train' if number < 3 else 'valid' if number < 5 else 'Test'}"
        )
    table(tmp_path, "\n".join(rows))
    train, val, test = stacks(MeasuredPairs(tmp_path, truth="image", measurement="camera", table="pairs.csv"))
    assert (len(train.names), len(val), len(test)) == (3, 2, 2)
    assert test.names == ["b/shot 5.png", "b/shot 6.png"]
    assert torch.equal(test.measurements, test.images)


def test_pairs_of_a_scene_are_drawn_together(tmp_path: Path) -> None:
    rows = ["truth,measurement,scene"]
    for number in range(24):
        put(tmp_path / f"x{number}.png", scene(number))
        put(tmp_path / f"z{number}.png", scene(number))
        rows.append(f"x{number}.png,z{number}.png,{number // 4}")
    train, val, test = stacks(MeasuredPairs(table(tmp_path, "\n".join(rows)), table="pairs.csv", val=1, test=2))
    assert (len(train.names), len(val), len(test)) == (12, 4, 8)
    scenes = [{int(Path(name).stem[1:]) // 4 for name in names} for names in (train.names, val.names, test.names)]
    assert sum(map(len, scenes)) == len(set.union(*scenes)) == 6


def test_one_truth_with_several_measurements(tmp_path: Path) -> None:
    rows = ["truth,measurement"]
    for number in range(5):
        put(tmp_path / f"x{number}.png", scene(number))
        for again in "ab":
            put(tmp_path / f"z{number}{again}.png", scene(number))
            rows.append(f"x{number}.png,z{number}{again}.png")
    train, val, test = stacks(MeasuredPairs(table(tmp_path, "\n".join(rows)), table="pairs.csv"))
    assert (len(train.names), len(val), len(test)) == (6, 2, 2)
    assert test.names[0][:-5] == test.names[1][:-5]


def test_names_that_do_not_match(tmp_path: Path) -> None:
    fill(tmp_path, numbered(5))
    (tmp_path / "measurement" / "003.npy").rename(tmp_path / "measurement" / "3.npy")
    (tmp_path / "truth" / "004.png").unlink()
    with pytest.raises(DataError) as caught:
        MeasuredPairs(tmp_path).splits()
    message = str(caught.value)
    assert "4 files of truth and 5 measurements do not match" in message
    assert "1 in 'truth' without a partner in 'measurement' (003)" in message
    assert "2 in 'measurement' without a partner in 'truth' (004, 3)" in message


def test_accents_may_be_encoded_in_two_ways(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "truth" / f"caf\u00e9 {number}.b.png", scene(number))
        put(tmp_path / "measurement" / f"cafe\u0301 {number}.b.npy", scene(number))
    _, _, test = stacks(MeasuredPairs(tmp_path))
    assert test.names[0].startswith("caf\u00e9 ")
    assert test.names[0].endswith(".b")
    assert torch.equal(test.images, test.measurements)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    fill(tmp_path, numbered(3))
    put(tmp_path / "truth" / "001.tif", scene(1))
    with pytest.raises(DataError, match=r"'truth/001.png' and 'truth/001.tif' have the same name up to the ending"):
        MeasuredPairs(tmp_path).splits()


@pytest.mark.parametrize(("name", "which"), [("stray.png", "neither"), ("truth/measurement/x.png", "both")])
def test_files_beside_the_folders(tmp_path: Path, name: str, which: str) -> None:
    fill(tmp_path, numbered(3))
    put(tmp_path / name, scene(1))
    with pytest.raises(DataError, match=f"'{name}' is in {which} of the two folders"):
        MeasuredPairs(tmp_path).splits()


def test_shapes_that_do_not_match(tmp_path: Path) -> None:
    fill(tmp_path, numbered(4))
    put(tmp_path / "measurement" / "002.npy", np.zeros((12, 14), np.float32))
    with pytest.raises(DataError, match=re.escape("measurement/002.npy has the shape (1, 12, 14)")) as caught:
        MeasuredPairs(tmp_path).splits()
    assert "truth/002.png (1, 12, 15)" in str(caught.value)
    for name in numbered(4):
        put(tmp_path / "measurement" / f"{name}.npy", np.zeros((3, 7 + (name == "003")), np.float32))
    with pytest.raises(DataError, match=r"measurement/003.npy has the shape(.|\n)*one shape for all measurements"):
        MeasuredPairs(tmp_path).splits()


def test_the_same_scene_in_two_splits(tmp_path: Path) -> None:
    for split, number in (("train", 0), ("train", 1), ("val", 2), ("test", 1)):
        for kind in ("truth", "measurement"):
            put(tmp_path / kind / split / f"{number}.png", scene(number))
    with pytest.raises(
        DataError, match=r"the same scene is in train and in test: truth/train/1.png and truth/test/1.png"
    ):
        MeasuredPairs(tmp_path).splits()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("truth,measured\nx.png,z.png\n", "has no column 'measurement'"),
        ("truth,measurement,truth\nx.png,z.png,y.png\n", "has 2 columns 'truth'"),
        ("truth,measurement\n", "has no rows"),
        ("", "has no column 'truth'"),
        ("truth,measurement\nx.png\n", "line 2 has fewer values"),
        ("truth,measurement\nx.png,z.png,train\n", "line 2 has more values"),
        ("truth,measurement\nx.png,z.png\nx.png,\n", "line 3 has no measurement"),
        ("truth,measurement\nx.png,z.png\ny.png,z.png\n", "line 3 names the measurement 'z.png' a second time"),
        ("truth,measurement,split\nx.png,z.png,train\ny.png,w.png,later\n", "line 3 has the split 'later'"),
        ("truth,measurement,split\nx.png,z.png,test\n", "no row has the split train"),
        (
            "truth,measurement,split\nx.png,z.png,train\nx.png,w.png,test\n",
            "the same scene is in train and in test: x.png",
        ),
        (
            "truth,measurement,scene,split\nx.png,z.png,7,train\ny.png,w.png,7,val\n",
            "the same scene is in train and in val: 7",
        ),
        ("truth,measurement\n" + "".join(f"x{i}.png,z{i}.png\n" for i in range(4)), r"x\d.png: no such file"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    table(tmp_path, text)
    with pytest.raises(DataError, match=message):
        MeasuredPairs(tmp_path, table="pairs.csv").splits()


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs.csv: cannot be read: No such file"):
        MeasuredPairs(tmp_path, table="pairs.csv").splits()
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not a table"):
        MeasuredPairs(tmp_path, table="pairs.csv").splits()


def test_parameters(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="both are called 'x'"):
        MeasuredPairs(tmp_path, truth="x", measurement="x")
    registry = Registry.installed()
    built = registry.build("dataset", {"name": "measured_pairs", "path": str(tmp_path), "image_size": [20, 30]})
    assert built.image_size == (20, 30)
    for wrong in ({"image_size": [1, 2, 3]}, {"image_size": 0}, {"white": 0}, {"val": 0}):
        given: dict[str, Any] = {"name": "measured_pairs", "path": "x", **wrong}
        with pytest.raises(SpecError, match=next(iter(wrong))):
            registry.build("dataset", given)
    fill(tmp_path, numbered(3))
    with pytest.raises(DataError, match=r"has 12x15 pixels(.|\n)*at least image_size, 20x30"):
        built.splits()


def test_the_checks_of_every_data_set(tmp_path: Path) -> None:
    check_dataset(MeasuredPairs(fill(tmp_path, numbered(5)), image_size=8))


def test_floating_point_tiff(tmp_path: Path) -> None:
    for number, name in enumerate(numbered(3)):
        put(tmp_path / "truth" / f"{name}.png", scene(number))
        path = tmp_path / "measurement" / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        write_image(path, scene(number) / np.float32(255), depth="float32")
    _, _, test = stacks(MeasuredPairs(tmp_path))
    assert torch.allclose(test.measurements, test.images, atol=1e-7)


class Forgets(MeasuredPairs):
    """A data set that gives no measurements for its test images."""

    def splits(self) -> Splits:
        found = super().splits()
        return Splits(found.train, found.val, ImageStack(found.test.images, found.test.names))


def test_the_checks_find_what_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(CheckFailure, match=r"test is of the type ImageStack(.|\n)*invreg.MeasuredStack"):
        check_dataset(Forgets(fill(tmp_path, numbered(5)), image_size=8))
