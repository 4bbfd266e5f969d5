"""STL-10 from its official binary files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from invreg import (
    DataError,
    ImageDataset,
    ImageStack,
    Pixels,
    Splits,
    TrainingImages,
    file_identity,
    gather_images,
    generator,
    stream_key,
)
from invreg_datasets.parameters import Color, Folder, SplitSeed
from invreg_datasets.prepare import to_color, to_stack

#: The folder in the official archive.
FOLDER = "stl10_binary"
#: Height and width of the images.
SIDE = 96
#: Images in each official file, and the file of each split: training needs more than the labelled images.
OFFICIAL = {"unlabeled_X.bin": 100_000, "train_X.bin": 5_000, "test_X.bin": 8_000}
SOURCES = {"train": "unlabeled_X.bin", "val": "train_X.bin", "test": "test_X.bin"}

_SHAPE = (3, SIDE, SIDE)
_BYTES = 3 * SIDE * SIDE
#: Images converted at a time.
_CHUNK = 512


class STL10(ImageDataset):
    """STL-10: 96 x 96 photographs (Coates, Lee, Ng, AISTATS 2011), in the sizes of Arndt & Nickel 2024, section 4.

    Training images are drawn from the unlabelled images, validation images from the labelled training images, test
    images from the test images; which ones, the paper does not say: `seed` decides. Images that occur twice are
    taken once, so no image is in two splits. Grey values are rounded to 8 bits, which is how they are stored.

    The files must be there: `python -m invreg_datasets.stl10_download FOLDER` (2.6 GB) fetches them. They are
    memory-mapped: only the chosen images are read, and training images that are too many for the memory are read
    crop by crop.
    """

    def __init__(
        self,
        root: Annotated[
            Folder,
            Field(
                description="folder that holds stl10_binary, the unpacked archive, or stl10_binary itself; ~ is the "
                "home directory, a relative path starts at the current directory",
                examples=["~/data/stl10"],
            ),
        ],
        train: Annotated[
            int, Field(ge=1, le=OFFICIAL[SOURCES["train"]], description="number of training images, unlabelled ones")
        ] = 16_284,
        val: Annotated[int, Field(ge=1, le=OFFICIAL[SOURCES["val"]], description="number of validation images")] = 64,
        test: Annotated[int, Field(ge=1, le=OFFICIAL[SOURCES["test"]], description="number of test images")] = 128,
        train_size: Annotated[
            int | None,
            Field(
                ge=1,
                le=SIDE,
                description="height and width of the random training crops; none: whole images",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        color: Color = "grey",
        seed: SplitSeed = 0,
    ) -> None:
        self.root = root
        self.counts = {"test": test, "val": val, "train": train}
        self.train_size = train_size or SIDE
        self.color = color
        self.seed = seed

    def splits(self) -> Splits:
        """The three splits; reads the chosen images. Those for training are prepared once if they are too many for the
        memory.

        Raises:
            DataError: if a file is missing, truncated or holds too few images.
        """
        folder = self._folder()
        files = {split: folder / SOURCES[split] for split in self.counts}
        sizes = {split: len(open_images(path)) for split, path in files.items()}
        seen: set[bytes] = set()
        names, images = {}, {}
        for split, count in self.counts.items():
            chosen = self._choose(split, files[split], sizes[split], count, seen)
            stem = SOURCES[split].removesuffix("_X.bin")
            names[split] = [f"{stem}-{index}" for index in chosen]
            images[split] = self._converted(files[split], chosen)
        source = files["train"]
        identity = {
            "file": os.path.realpath(source),
            "state": file_identity(source),
            "images": names["train"],
            "color": self.color,
        }
        train = gather_images(images["train"], names["train"], identity)
        return Splits(
            TrainingImages(train, names["train"], (self.train_size, self.train_size)),
            ImageStack(to_stack(list(images["val"])), names["val"]),
            ImageStack(to_stack(list(images["test"])), names["test"]),
        )

    def _folder(self) -> Path:
        try:
            root = self.root.expanduser()
        except RuntimeError as error:  # ~name of a user that does not exist
            raise DataError(str(error), where=str(self.root), expected="the folder that holds stl10_binary") from error
        return root / FOLDER if (root / FOLDER).is_dir() else root

    def _choose(self, split: str, path: Path, size: int, count: int, seen: set[bytes]) -> list[int]:
        order = torch.randperm(size, generator=generator(stream_key(self.seed, "stl10", split)))
        chosen: list[int] = []
        for indices in _chunks(order.tolist()):
            images = _mapped(path)
            for index in indices:
                digest = blake2b(images[index].tobytes(), digest_size=16).digest()
                if digest not in seen:
                    seen.add(digest)
                    chosen.append(index)
                if len(chosen) == count:
                    return sorted(chosen)
        raise DataError(
            f"holds {size} images, {len(chosen)} of them not in another split",
            where=str(path),
            expected=f"{split} = {count} different images",
            hint=f"the complete file, or a smaller {split}",
        )

    def _converted(self, path: Path, chosen: list[int]) -> Iterator[Pixels]:
        """The chosen images `[C, 96, 96]`, uint8, read a few at a time."""
        for indices in _chunks(chosen):
            for image in _mapped(path)[indices]:
                pixels = to_color(image, self.color)
                yield pixels if pixels.dtype == np.uint8 else np.rint(pixels * np.float32(255)).astype(np.uint8)


def holds_images(path: Path) -> bool:
    """Whether the file exists and holds a whole number of images."""
    return path.is_file() and path.stat().st_size > 0 and path.stat().st_size % _BYTES == 0


def open_images(path: Path) -> NDArray[np.uint8]:
    """A memory map of the images in an official file, `[N, 3, 96, 96]`, uint8.

    The file holds image after image, channel after channel, column after column.

    Raises:
        DataError: if the file is missing, or its size is no multiple of an image's.
    """
    official = OFFICIAL[path.name] * _BYTES
    folder = path.absolute().parent
    hint = f"python -m invreg_datasets.stl10_download {folder.parent if folder.name == FOLDER else folder}"
    if not path.is_file():
        raise DataError(
            "is missing",
            where=str(path.absolute()),
            expected=f"the STL-10 file {path.name} of {official} bytes",
            hint=hint,
        )
    size = path.stat().st_size
    if not holds_images(path):
        raise DataError(
            f"has {size} bytes, no whole number of images: it is truncated, or no STL-10 file",
            where=str(path.absolute()),
            expected=f"{official} bytes ({_BYTES} for each image)",
            hint=hint,
        )
    if size != official:
        warnings.warn(
            f"{path}: {size // _BYTES} images instead of {official // _BYTES}, so the choice of images "
            "differs from that of the complete file",
            stacklevel=2,
        )
    return _mapped(path)


def _mapped(path: Path) -> NDArray[np.uint8]:
    # Made anew for every part of the images: a map that is kept would fill the process with pages.
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, *_SHAPE).transpose(0, 1, 3, 2)


def _chunks(indices: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), _CHUNK):
        yield indices[start : start + _CHUNK]
