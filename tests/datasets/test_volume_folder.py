"""Volumes from files: TIFF stacks and arrays, their values, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from invreg import DataError, Registry, SpecError, read_volume
from invreg.testing import check_dataset
from invreg_datasets.phantoms import Phantoms
from invreg_datasets.prepare import reduce_by
from invreg_datasets.volumes import VolumeFolder

SIDES = (6, 7, 8)


def values(dtype: str = "uint8", seed: int = 0) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed).random(SIDES)
    return random.astype(dtype) if dtype.startswith("float") else (random * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pages_are_slices(tmp_path: Path, dtype: str, compression: str | None) -> None:
    stored = values(dtype)
    path = tmp_path / "stack.tif"
    if compression == "lzw":  # tifffile has no encoder of its own
        first, *others = map(Image.fromarray, stored)
        first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    else:
        tifffile.imwrite(path, stored, compression=compression, photometric="minisblack")
    found = read_volume(path)
    assert (found.depth, found.layout) == (dtype, "DHW")
    expected = stored if dtype == "uint8" else stored / (65_535 if dtype == "uint16" else 1)
    assert np.allclose(found.pixels[0], expected, atol=1e-7)


def test_stacks_of_imagej_and_ome(tmp_path: Path) -> None:
    stored = values("uint16")
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"axes": "ZYX", "spacing": 0.2})
    tifffile.imwrite(tmp_path / "b.ome.tif", stored, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "c.tif", stored, imagej=True, metadata={"axes": "TYX"})
    colours = np.stack([stored, stored // 2, stored // 4], -1)
    tifffile.imwrite(tmp_path / "d.tif", colours, photometric="rgb")
    for name in ("a.tif", "b.ome.tif", "c.tif"):
        assert np.allclose(read_volume(tmp_path / name).pixels[0], stored / 65_535)
    assert read_volume(tmp_path / "d.tif").pixels.shape == (3, *SIDES)
    two = np.stack([stored, stored], 1)
    tifffile.imwrite(tmp_path / "e.tif", two, imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(tmp_path / "f.ome.tif", two, metadata={"axes": "ZCYX"})
    for name in ("e.tif", "f.ome.tif"):
        with pytest.raises(DataError, match="2 channels"):
            read_volume(tmp_path / name)


def test_arrays(tmp_path: Path) -> None:
    stored = values("float32")
    np.save(tmp_path / "a.npy", stored)
    np.savez(tmp_path / "b.npz", stored[None])
    np.save(tmp_path / "c.npy", values("uint16") // 16)
    assert np.array_equal(read_volume(tmp_path / "a.npy").pixels[0], stored)
    assert read_volume(tmp_path / "b.npz").layout == "CDHW"
    assert np.allclose(read_volume(tmp_path / "c.npy", white=4095).pixels[0], values("uint16") // 16 / 4095)


def test_what_is_no_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    tifffile.imwrite(tmp_path / "sizes.tif", np.zeros((4, 4), np.uint8))
    tifffile.imwrite(tmp_path / "sizes.tif", np.zeros((5, 4), np.uint8), append=True)
    tifffile.imwrite(tmp_path / "cut.tif", values())
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "flat.png")
    for name, match in (
        ("flat.npy", r"shape \[4, 4\]"),
        ("sizes.tif", "pages of different kinds: 1 x 4 x 4 of uint8, and 1 x 5 x 4"),
        ("cut.tif", "truncated|points behind its own end"),
        ("flat.png", "flat image"),
        ("none.tif", "no such file"),
    ):
        with pytest.raises(DataError, match=match):
            read_volume(tmp_path / name)


def folder_of_volumes(folder: Path, count: int = 5) -> Path:
    for index in range(count):
        np.save(folder / f"{index}.npy", values("float32", index))
    return folder


def test_the_splits_of_a_folder(tmp_path: Path) -> None:
    tifffile.imwrite(folder_of_volumes(tmp_path) / "x.tif", values("uint8"))
    data = Registry.installed().build(
        "dataset", {"name": "volume_folder", "path": str(tmp_path), "volume_size": [4, 5, 6], "train_size": 3}
    )
    splits = data.splits()
    assert splits.train.crop_shape == (1, 3, 3, 3)
    assert splits.test.image_shape == splits.val.image_shape == (1, 4, 5, 6)
    assert len({*splits.train.names, *splits.val.names, *splits.test.names}) == 6
    (name,) = splits.test.names
    whole = values("float32", int(name[0])) if name.endswith(".npy") else values("uint8") / 255
    assert torch.allclose(splits.test.images[0, 0], torch.tensor(whole[1:5, 1:6, 1:7]).float())


def test_cubes_are_averaged(tmp_path: Path) -> None:
    volume = values("float32")[None]
    expected = volume[:, :6, :6, :8].reshape(1, 3, 2, 3, 2, 4, 2).mean((2, 4, 6))
    assert np.allclose(reduce_by(volume, 2), expected, atol=1e-6)
    splits = VolumeFolder(folder_of_volumes(tmp_path), volume_size=(3, 3, 4), downsample=2).splits()
    assert splits.test.image_shape == (1, 3, 3, 4)


def test_volumes_that_cannot_be_used(tmp_path: Path) -> None:
    folder_of_volumes(tmp_path)
    with pytest.raises(DataError, match=r"(?s)6x7x8 voxels, smaller than a 7x7x7.*at least 7x7x7"):
        VolumeFolder(tmp_path, volume_size=7).splits()
    with pytest.raises(DataError, match=r"(?s)3x3x4 voxels after downsampling by 2.*at least 8x2x2"):
        VolumeFolder(tmp_path, volume_size=(4, 1, 1), downsample=2).splits()
    np.save(tmp_path / "large.npy", 5 * values("float32"))
    with pytest.raises(DataError, match=r"(?s)large.npy.*values from .* to 4\.9.*white"):
        VolumeFolder(tmp_path, volume_size=2, downsample=2, val=3, test=2).splits()
    assert VolumeFolder(tmp_path, volume_size=4, white=5.0).splits().test.image_shape == (1, 4, 4, 4)
    (tmp_path / "large.npy").unlink()
    np.save(tmp_path / "two.npy", np.stack([values("float32")] * 2))
    with pytest.raises(DataError, match=r"channels|C = 1|C = 2"):
        VolumeFolder(tmp_path, volume_size=4, val=3, test=2).splits()
    with pytest.raises(SpecError, match="volume_size"):
        VolumeFolder(tmp_path, volume_size=(4, 4))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such folder"):
        VolumeFolder(tmp_path / "nowhere").splits()


def test_data_sets_of_volumes_keep_what_data_sets_promise(tmp_path: Path) -> None:
    check_dataset(VolumeFolder(folder_of_volumes(tmp_path), volume_size=(4, 5, 6), train_size=3))
    check_dataset(Phantoms(image_size=(8, 9, 10), train=2, val=1, test=1))
