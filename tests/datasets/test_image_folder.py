"""A folder of images: which files count, how they are split, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from invreg import DataError, Registry, SpecError, find_images, read_image, spec_of, to_unit
from invreg.computing import memory
from invreg_datasets.files import deal
from invreg_datasets.folder import ImageFolder
from invreg_datasets.patches import centre_crop
from invreg_datasets.prepare import reduce_by, to_color

BSDS = Path(__file__).resolve().parents[2] / "../shared/data/bsds500"
needs_bsds = pytest.mark.skipif(not BSDS.is_dir(), reason="BSDS500 is not there")


def pixels(name: str, size: tuple[int, int], channels: int = 1) -> np.ndarray:
    """Random pixels that depend on the name of their file."""
    generator = np.random.default_rng(list(name.encode()))
    return generator.integers(0, 256, (*size, 3) if channels == 3 else size, dtype=np.uint8)


def fill(folder: Path, names: Iterable[str], size: tuple[int, int] = (24, 30), channels: int = 1) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(name, size, channels)).save(path)
    return folder


def numbered(count: int, folder: str = "") -> list[str]:
    return [f"{folder}{number:03d}.png" for number in range(count)]


def test_what_counts_as_an_image(tmp_path: Path) -> None:
    wanted = [
        "B.PNG",
        "a.jpg",
        "a.png",
        "deep/er/c.TIFF",
        "deep/d.bmp",
        "e.JPeG",
        "f.webp",
        "g.tif",
        "h.gif",
        "i.pbm",
        "with space/ä.png",
    ]
    fill(tmp_path, wanted)
    fill(tmp_path, [".hidden.png", ".cache/x.png", "deep/._d.bmp"])
    (tmp_path / "README.txt").write_text("no image")
    (tmp_path / "png").write_text("no image either")
    assert find_images(tmp_path) == sorted(wanted)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", ["a.png"])
    folder = fill(tmp_path / "folder", ["b.png"])
    try:
        (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (folder / "loop").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    assert find_images(folder) == ["b.png", "linked/a.png"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="special files as on Linux")
def test_special_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "folder.png/b.png"])
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing.png")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    directory = os.open(tmp_path, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:  # its path must be short
        listener.bind(f"/proc/self/fd/{directory}/socket.png")
    os.close(directory)
    with pytest.warns(UserWarning, match="not an image") as caught:
        found = find_images(tmp_path)
    assert found == ["a.png", "folder.png/b.png", "linked.png"]
    said = {str(warning.message).removeprefix(f"{tmp_path}/") for warning in caught}
    assert {text for text in said if "link that cannot be followed" not in text} == {
        "pipe.png is a named pipe, not an image: it is left out",
        "socket.png is a socket, not an image: it is left out",
        "device.png is a device, not an image: it is left out",
        "folder.png is a folder, not an image; images in it are read like those of any folder",
    }
    assert len(said) == 6
    with pytest.raises(DataError, match=r"pipe\.png: is a named pipe, not an image"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.skipif(os.name != "posix", reason="names are text here")
def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    fill(tmp_path, numbered(4))
    (tmp_path / "000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.png"))
    with pytest.raises(DataError, match=r"x\\xff\.png: its name is not UTF-8(.|\n)*rename it") as caught:
        ImageFolder(tmp_path, image_size=8).splits()
    str(caught.value).encode()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="every file can be read here")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    fill(tmp_path, numbered(4))
    (tmp_path / "002.png").chmod(0)
    with pytest.raises(DataError, match=r"002\.png: cannot be opened: permission denied"):
        ImageFolder(tmp_path, image_size=8).splits()


def test_too_many_validation_images_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, numbered(9), size=(100, 100))
    monkeypatch.setattr(memory, "_physical_memory", lambda: 2 * 35_000)
    with pytest.raises(SpecError, match=r"^data: 4 of 7 images would take 0\.0 GiB of memory(.|\n)*of this machine"):
        ImageFolder(tmp_path, image_size=100, val=7, test=1).splits()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is measured by Linux")
def test_memory_of_a_large_image(tmp_path: Path) -> None:
    """79 kB of file, 81 MB of pixels: decoding takes a small multiple of the latter."""
    Image.new("L", (9000, 9000)).save(tmp_path / "a.png")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from invreg_datasets.folder import ImageFolder\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "folder = Path(sys.argv[1])\n"
        "stack = ImageFolder(folder, downsample=2)._crops(folder, ['a.png'], 'test')\n"
        "assert stack.images.shape == (1, 1, 96, 96)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) * 1024 < 4 * 81e6


@pytest.mark.parametrize("parameters", [{"downsample": 1}, {"downsample": 3}, {"color": "rgb"}, {"downsample": 2}])
def test_only_the_middle_is_converted(tmp_path: Path, parameters: dict[str, object]) -> None:
    fill(tmp_path, numbered(2), size=(61, 74), channels=3)
    folder = ImageFolder(tmp_path, image_size=17, **parameters)  # type: ignore[arg-type]
    stack = folder._crops(tmp_path, numbered(2), "test")
    for name, image in zip(numbered(2), stack.images, strict=True):
        whole = reduce_by(to_color(read_image(tmp_path / name).pixels, folder.color), folder.downsample)
        assert torch.equal(image, torch.from_numpy(to_unit(centre_crop(whole, 17))))


def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        ImageFolder("photgraphs").splits()
    assert str(tmp_path / "photgraphs") in str(caught.value)
    assert "no such folder" in str(caught.value)
    (tmp_path / "file.png").write_text("")
    with pytest.raises(DataError, match="is a file, not a folder"):
        ImageFolder("file.png").splits()
    with pytest.raises(SpecError, match=r"^ImageFolder\.path: the path is empty"):
        ImageFolder("")


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    fill(tmp_path, [".hidden/a.png"])
    with pytest.raises(DataError, match=r"holds no images(.|\n)*\.bmp, \.gif, \.jpeg, \.jpg, \.pbm(.|\n)*\.webp"):
        ImageFolder(tmp_path).splits()


def test_volumes_are_sent_to_the_data_set_for_them(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "a.npy", np.zeros((3, 4, 5)))
    with pytest.raises(DataError, match=r"holds no images(.|\n)*try: arrays, such as a\.npy, are for volume_folder"):
        ImageFolder(tmp_path / "arrays").splits()
    (tmp_path / "stacks").mkdir()
    for name in "abc":
        tifffile.imwrite(tmp_path / "stacks" / f"{name}.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match=r"has 3 pages(.|\n)*try: the data set volume_folder"):
        ImageFolder(tmp_path / "stacks", image_size=8).splits()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="every folder can be read here")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "locked/b.png"])
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(DataError, match="locked: cannot be read"):
            find_images(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "images", numbered(4))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(ImageFolder("~/images", image_size=16).splits().train.names) == 2
    with pytest.raises(DataError, match="nobody_of_this_name"):
        ImageFolder("~nobody_of_this_name/images").splits()


def test_relative_paths_start_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "images", numbered(4))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert len(ImageFolder("../images", image_size=16).splits().train.names) == 2


def test_a_random_split_is_a_partition(tmp_path: Path) -> None:
    names = numbered(40)
    splits = deal(names, val=5, test=7, seed=0, where="")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (28, 5, 7)
    assert sorted([*splits.train, *splits.val, *splits.test]) == names
    assert deal(names[::-1], 5, 7, 0, "") == splits, "the order of the files does not matter"
    assert deal(names, 5, 7, 1, "") != splits


def test_adding_a_file_moves_few_others() -> None:
    before = deal(numbered(40), 5, 7, 0, "")
    after = deal([*numbered(40), "new.png"], 5, 7, 0, "")
    assert len(set(before.test) - set(after.test)) <= 1
    assert len(set(before.val) - set(after.val)) <= 2


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, (1, 1, 1)), (20, (16, 2, 2)), (100, (80, 10, 10)), (999, (935, 32, 32))]
)
def test_default_sizes(count: int, sizes: tuple[int, int, int]) -> None:
    splits = deal(numbered(count), None, None, 0, "")
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes


def test_folders_of_the_splits_are_obeyed() -> None:
    names = [*numbered(9, "Train/"), *numbered(4, "validation/deep/"), *numbered(50, "test/")]
    splits = deal(names, None, None, 0, "")
    assert all(name.startswith("Train/") for name in splits.train)
    assert len(splits.train) == 9
    assert len(splits.val) == 4
    assert list(splits.test) == numbered(50, "test/"), "all that were set aside for testing are tested"
    few = deal(names, 2, 3, 0, "")
    assert set(few.val) < set(splits.val)
    assert set(few.test) < set(splits.test)
    assert (len(few.train), len(few.val), len(few.test)) == (9, 2, 3), "what is not tested is not trained on either"


def test_without_a_test_folder_val_is_shared() -> None:
    names = [*numbered(200, "train/"), *numbered(100, "val/")]
    splits = deal(names, None, None, 0, "")
    assert list(splits.train) == numbered(200, "train/")
    assert (len(splits.val), len(splits.test)) == (70, 30), "all that were set aside for validation are used"
    assert {*splits.val, *splits.test} == set(numbered(100, "val/"))
    assert not {*splits.val} & {*splits.test}


def test_a_folder_for_validation_is_taken_whole() -> None:
    names = [*numbered(9, "train/"), *numbered(40, "val/"), *numbered(50, "test/")]
    splits = deal(names, None, None, 0, "")
    assert list(splits.val) == numbered(40, "val/")
    assert list(splits.test) == numbered(50, "test/")
    assert len(splits.train) == 9


def test_images_that_are_not_square(tmp_path: Path) -> None:
    fill(tmp_path, numbered(6), size=(40, 60))
    splits = ImageFolder(tmp_path, image_size=(10, 28), train_size=(7, 9), downsample=2).splits()
    assert splits.test.image_shape == (1, 10, 28)
    assert splits.train.batch(0, 0, 2).shape == (2, 1, 7, 9)
    whole = ImageFolder(tmp_path, image_size=(20, 30), train_size=5, downsample=2).splits().test
    for name, image, all_of_it in zip(splits.test.names, splits.test.images, whole.images, strict=True):
        assert name in whole.names
        assert torch.equal(image, all_of_it[:, 5:15, 1:29])
    with pytest.raises(
        DataError, match=r"20x30 after downsampling by 2, smaller than a 21x30 (.|\n)*at least 42x60 pix"
    ):
        ImageFolder(tmp_path, image_size=(21, 30), train_size=5, downsample=2).splits()
    with pytest.raises(DataError, match=r"20x30 pixels after shrinking, smaller than a 20x31 (test|validation) image"):
        ImageFolder(tmp_path, image_size=(20, 31), train_size=5, short_side=20).splits()


def test_without_a_val_folder_training_images_are_used() -> None:
    splits = deal([*numbered(30, "train/"), *numbered(10, "test/")], None, None, 0, "")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (26, 4, 10)
    assert all(name.startswith("train/") for name in splits.val)


@pytest.mark.parametrize(
    ("names", "val", "test", "message"),
    [
        (numbered(2), None, None, "none is left for training"),
        (numbered(1), None, None, "val = 1, but only 0"),
        (numbered(10), 4, 6, "10 images, of which none is left"),
        (numbered(10), 4, 11, "test = 11, but only 10"),
        (numbered(10), 8, 3, "val = 8, but only 7"),
        ([*numbered(5, "train/"), *numbered(1, "val/")], None, None, "val = 1, but only 0"),
        ([*numbered(5, "train/"), *numbered(5, "val/")], 4, 2, "val = 4, but only 3"),
        ([*numbered(5, "train/"), "stray.png", "other/x.png"], None, None, "2 images are beside .*'stray.png'"),
        (numbered(5, "val/"), None, None, "has a folder for val and none for training"),
    ],
)
def test_too_few_images(names: list[str], val: int | None, test: int | None, message: str) -> None:
    with pytest.raises(DataError, match=f"somewhere: .*{message}"):
        deal(names, val, test, 0, "somewhere")


def test_evaluation_images_are_centre_crops(tmp_path: Path) -> None:
    fill(tmp_path, numbered(6), size=(25, 30))
    splits = ImageFolder(tmp_path, image_size=16).splits()
    assert splits.train.crop_shape == (1, 16, 16)
    for stack in (splits.val, splits.test):
        for name, image in zip(stack.names, stack.images, strict=True):
            expected = pixels(name, (25, 30))[4:20, 7:23].astype(np.float32) / 255
            assert np.array_equal(image[0], expected)
    for number, name in enumerate(splits.train.names):
        assert torch.equal(splits.train.image(number)[0] * 255, torch.from_numpy(pixels(name, (25, 30))).float())


def test_eight_bits_are_kept_while_nothing_changes_them(tmp_path: Path) -> None:
    grey, rgb = fill(tmp_path / "grey", numbered(5)), fill(tmp_path / "rgb", numbered(5), channels=3)
    mixed = fill(fill(tmp_path / "mixed", numbered(9)), numbered(9, "c"), channels=3)

    def stored(folder: Path, **parameters: object) -> torch.dtype:
        return ImageFolder(folder, image_size=8, **parameters).splits().train._pixels.dtype  # type: ignore[arg-type]

    assert stored(grey) == torch.uint8
    assert stored(rgb, color="rgb") == torch.uint8
    assert stored(grey, color="rgb") == torch.uint8
    assert stored(rgb) == torch.float32
    assert stored(grey, downsample=2) == torch.float32
    assert stored(mixed) == torch.float32


def test_colours(tmp_path: Path) -> None:
    fill(tmp_path, numbered(4), channels=3)
    grey = ImageFolder(tmp_path, image_size=24).splits()
    rgb = ImageFolder(tmp_path, image_size=24, color="rgb").splits()
    assert rgb.test.image_shape == (3, 24, 24)
    weights = torch.tensor([0.2125, 0.7154, 0.0721]).view(1, 3, 1, 1)
    assert torch.allclose(grey.test.images, (rgb.test.images * weights).sum(1, keepdim=True), atol=1e-6)


def test_white_stays_white(tmp_path: Path) -> None:
    for name in numbered(4):
        Image.new("RGB", (40, 40), "white").save(tmp_path / name)
    for parameters in ({}, {"downsample": 3}, {"short_side": 13}):
        test = ImageFolder(tmp_path, image_size=8, **parameters).splits().test
        assert float(test.images.max()) <= 1
        assert float(test.images.min()) > 1 - 1e-6


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_downsampling_averages_blocks(tmp_path: Path, factor: int) -> None:
    fill(tmp_path, numbered(4), size=(37, 41))
    splits = ImageFolder(tmp_path, image_size=7, downsample=factor).splits()
    for number, name in enumerate(splits.train.names):
        height, width = 37 // factor, 41 // factor
        source = pixels(name, (37, 41))[: height * factor, : width * factor] / 255
        expected = source.reshape(height, factor, width, factor).mean(axis=(1, 3))
        assert np.allclose(splits.train.image(number)[0], expected, atol=1e-6)


def test_the_shorter_side(tmp_path: Path) -> None:
    fill(tmp_path, numbered(3), size=(40, 60))
    fill(tmp_path, numbered(3, "tall"), size=(100, 25))
    splits = ImageFolder(tmp_path, image_size=20, short_side=20).splits()
    shapes = {name[:4]: tuple(splits.train.image(number).shape) for number, name in enumerate(splits.train.names)}
    assert set(shapes.values()) <= {(1, 20, 30), (1, 80, 20)}
    # A linear ramp stays the same ramp, sampled at the middles of the larger pixels.
    ramp = np.tile(np.arange(120, dtype=np.uint8), (60, 1))
    for name in numbered(4):
        (tmp_path / "ramps").mkdir(exist_ok=True)
        Image.fromarray(ramp).save(tmp_path / "ramps" / name)
    image = ImageFolder(tmp_path / "ramps", image_size=20, short_side=20).splits().train.image(0)[0]
    assert np.allclose(image[:, 1:-1] * 255, (3 * np.arange(40) + 1)[1:-1], atol=1e-3)


def test_images_are_never_enlarged(tmp_path: Path) -> None:
    fill(tmp_path, numbered(4), size=(24, 30))
    with pytest.raises(DataError, match=r"000\.png: 24x30 pixels(.|\n)*at least 25(.|\n)*never enlarged"):
        ImageFolder(tmp_path, image_size=8, short_side=25).splits()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"short_side": 96, "downsample": 2}, r"^ImageFolder\.short_side: short_side = 96 and downsample = 2"),
        ({"short_side": 48}, "short_side = 48, smaller than crops of 96"),
        ({"short_side": 96, "train_size": 128}, "smaller than crops of 128"),
        ({"image_size": 0}, r"^ImageFolder\.image_size: .*equal to 1 or a list \(given: 0\)"),
        ({"val": 0}, r"^ImageFolder\.val: .*equal to 1 \(given: 0\)"),
        ({"test": -1}, r"^ImageFolder\.test: .*equal to 1 \(given: -1\)"),
        ({"image_size": 10**9}, r"^ImageFolder\.image_size: .*equal to 16384 or a list \(given: 1000000000\)"),
        ({"color": "L"}, r"^ImageFolder\.color: input should be 'grey' or 'rgb' \(given: 'L'\)"),
    ],
)
def test_impossible_parameters(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ImageFolder("anywhere", **parameters)  # type: ignore[arg-type]


def test_small_images_are_named(tmp_path: Path) -> None:
    fill(tmp_path, numbered(6), size=(40, 40))
    fill(tmp_path, ["narrow.png"], size=(60, 30))
    with pytest.raises(DataError, match=r"narrow\.png: 60x30 pixels, smaller than a 32x32") as caught:
        ImageFolder(tmp_path, image_size=32).splits()
    assert "smaller image_size" in str(caught.value)
    with pytest.raises(DataError, match=r"40x40 pixels, 20x20 after downsampling by 2, smaller(.|\n)*at least 64"):
        ImageFolder(tmp_path, image_size=32, downsample=2).splits()
    with pytest.raises(DataError, match=r"40x40 pixels, 0x0 after downsampling by 50"):
        ImageFolder(tmp_path, image_size=1, downsample=50).splits()


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    fill(tmp_path, numbered(12))
    whole = (tmp_path / "007.png").read_bytes()
    (tmp_path / "007.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"007\.png: cannot be decoded"):
        ImageFolder(tmp_path, image_size=16).splits()


def test_the_same_twice(tmp_path: Path) -> None:
    fill(tmp_path, numbered(12))
    one, two = (ImageFolder(tmp_path, image_size=16).splits() for _ in range(2))
    assert one.train.names == two.train.names
    assert torch.equal(one.train.batch(0, 3, 8), two.train.batch(0, 3, 8))
    assert torch.equal(one.test.images, two.test.images)


def test_in_a_spec(tmp_path: Path) -> None:
    registry = Registry.installed()
    given = {"name": "image_folder", "path": str(tmp_path), "short_side": 96, "test": 5}
    built = registry.build("dataset", given)
    spec = spec_of(built)
    assert given.items() <= spec.items()
    assert spec_of(ImageFolder(Path("somewhere")))["path"] == "somewhere"
    for wrong in ({"path": 3}, {"val": 0}, {"val": 1.5}, {"short_side": -1}, {"seed": -1}, {"dowsample": 2}):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            registry.build("dataset", given | wrong)
    with pytest.raises(SpecError, match="path"):
        registry.build("dataset", "image_folder")


def test_it_takes_every_parameter_of_photos() -> None:
    """So that `--set data.name=image_folder --set data.path=...` works on a spec that was written for photos."""
    registry = Registry.installed()
    photos, folder = (registry.parameters("dataset", name).model_fields for name in ("photos", "image_folder"))
    assert set(photos) <= set(folder)
    for name in photos:
        assert photos[name].description == folder[name].description
    resolved = spec_of(registry.build("dataset", {"name": "photos", "train_size": 48}))
    given = resolved | {"name": "image_folder", "path": "anywhere"}
    built = registry.build("dataset", given)
    assert (built.train_size, built.downsample) == (48, 2)


@pytest.mark.slow
@needs_bsds
def test_a_real_collection() -> None:
    splits = ImageFolder(BSDS, downsample=2, train_size=48).splits()
    assert len(splits.train.names) == 200
    assert all(name.startswith("train/") for name in splits.train.names)
    assert splits.test.image_shape == (1, 96, 96)
    assert (len(splits.val), len(splits.test)) == (70, 30)
    pixels = np.asarray(Image.open(BSDS / splits.test.names[0]).convert("RGB"), np.float64) / 255
    grey = pixels @ np.array([0.2125, 0.7154, 0.0721])
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    small = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    top, left = (height - 96) // 2, (width - 96) // 2
    assert np.allclose(splits.test.images[0, 0], small[top : top + 96, left : left + 96], atol=1e-6)
