"""Inpainting: drawn masks, masks in files, and what is no mask."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from invreg import Registry, spec_of, write_image
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.pointwise.inpainting import Inpainting

REGISTRY = Registry.installed()


@pytest.mark.parametrize("mask", ["random", "blocks"])
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.75])
def test_drawn_masks_lack_the_share_that_is_asked_for(mask: str, missing: float) -> None:
    operator = Inpainting(mask, missing, block_size=5)
    measured = operator.measured(24, 30)
    assert int((~measured).sum()) == round(missing * 24 * 30)
    assert torch.equal(measured, Inpainting(mask, missing, block_size=5).measured(24, 30))
    assert missing == 0 or not torch.equal(measured, Inpainting(mask, missing, 5, seed=1).measured(24, 30))
    x = torch.rand(2, 3, 24, 30, dtype=torch.float64)
    np.testing.assert_array_equal(operator(x).numpy(), x.numpy() * measured.numpy())


def test_blocks_are_squares() -> None:
    lacking = ~Inpainting("blocks", missing=0.04, block_size=6).measured(60, 60).numpy()
    pieces, count = label(lacking)
    assert count <= 5
    sizes = np.bincount(pieces.ravel())[1:]
    assert max(sizes) >= 36
    # Single pixels are scattered.
    assert label(~Inpainting(missing=0.04).measured(60, 60).numpy())[1] > 100


def test_at_least_one_pixel_is_measured() -> None:
    operator = Inpainting(missing=0.99)
    assert int(operator.measured(3, 3).sum()) == 1
    assert operator.measured(1, 1).all()
    assert operator.norm((1, 3, 3)).value == 1


@pytest.mark.parametrize("name", ["mask.npy", "mask.png", "bool.npy", "large.npy"])
def test_masks_come_from_files(name: str, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((9, 14)) < 0.6
    values = {"mask.npy": mask.astype(np.float32), "bool.npy": mask, "large.npy": mask.astype(np.int64) * 7}
    if name == "mask.png":
        write_image(tmp_path / name, mask[None].astype(np.uint8) * 255)
    else:
        np.save(tmp_path / name, values[name])
    operator = REGISTRY.build("operator", {"name": "inpainting", "mask": str(tmp_path / name)})
    assert torch.equal(operator.measured(9, 14), torch.from_numpy(mask))
    check_operator(operator, image_shape=(1, 9, 14))
    with pytest.raises(ShapeError, match=r"14x9 pixels\n.*expected: 9x14, the size of the mask in .*" + name) as caught:
        operator(torch.zeros(1, 1, 14, 9))
    assert "try: data of 9x14 pixels, for training, too, where crops count; or another mask" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.linspace(0, 1, 20).reshape(4, 5), "20 values from 0"),
        (np.zeros((4, 5)), "zeros only"),
        (np.full((4, 5), np.nan), "values from nan"),
        (np.array([[1, 2], [2, 1]]), "2 values from 1 to 2"),
        (np.array([[-1, 0], [0, 0]]), "values from -1"),
        (np.ones(5), r"shape \[5\]"),
        (np.random.default_rng(0).random((3, 4, 5)) > 0.5, r"shape \[3, 4, 5\]"),
        (np.ones((4, 5)) * 1j, "complex128"),
    ],
    ids=["grey", "zeros", "nan", "no zero", "negative", "line", "channels that differ", "complex"],
)
def test_what_is_no_mask_is_refused(values: np.ndarray, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", values)
    with pytest.raises(SpecError, match=match) as caught:
        Inpainting(tmp_path / "mask.npy")
    assert caught.value.where == "Inpainting.mask"


@pytest.mark.parametrize("mask", ["randm", "~nobody-of-this-name/mask.npy", "no/such.png", "no/such.npy"])
def test_names_that_are_neither_drawn_nor_files_are_refused(mask: str) -> None:
    with pytest.raises(SpecError, match=r"operator\.mask: .*") as caught:
        REGISTRY.build("operator", {"name": "inpainting", "mask": mask}, "operator")
    assert "expected: random, blocks, or the file of a mask" in str(caught.value)


def test_files_that_hold_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SpecError, match="mask"):
        Inpainting(tmp_path / "mask.npy")


@pytest.mark.parametrize("operator", [Inpainting(), Inpainting("blocks", 0.3, 4)], ids=repr)
def test_it_keeps_what_operators_promise(operator: Inpainting) -> None:
    check_operator(operator, image_shape=(1, 14, 11))


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.npy"
    np.save(file, np.eye(4))
    told = spec_of(REGISTRY.build("operator", {"name": "inpainting", "mask": str(file)}), REGISTRY)
    assert told["mask"] == {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert torch.equal(REGISTRY.build("operator", told).measured(4, 4), torch.eye(4).bool())
    np.save(file, np.eye(5))
    with pytest.raises(SpecError, match=r"^operator\.mask: .*its content has changed"):
        REGISTRY.build("operator", told, "operator")
    assert spec_of(REGISTRY.build("operator", {"name": "inpainting", "mask": str(file)}), REGISTRY) != told
    file.unlink()
    with pytest.raises(SpecError, match="no such file"):
        REGISTRY.build("operator", told)


@pytest.mark.parametrize(
    "mask", [3, {"sha256": "0" * 64}, {"path": "m.npy", "hash": "x"}, {"path": "m.npy", "sha256": "short"}, {"path": 1}]
)
def test_what_names_no_file_is_refused(mask: object) -> None:
    with pytest.raises(SpecError, match="mask"):
        REGISTRY.build("operator", {"name": "inpainting", "mask": mask})


def test_missing_all_is_refused() -> None:
    with pytest.raises(SpecError, match="missing"):
        Inpainting(missing=1.0)
