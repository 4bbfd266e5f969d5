"""Any folder of volumes as a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from invreg import (
    DataError,
    ImageDataset,
    ImageStack,
    Pixels,
    Splits,
    TrainingImages,
    file_identity,
    find_images,
    gather_images,
    read_volume,
)
from invreg_datasets.files import deal
from invreg_datasets.parameters import LARGEST_SIDE, Folder, Side, SplitSeed
from invreg_datasets.prepare import load_all, load_each, reduce_by, to_stack

#: One number for cubes, or depth, height and width.
_Size = Side | tuple[Side, Side, Side]


class VolumeFolder(ImageDataset):
    """The volumes `[C, D, H, W]` in a folder, at any depth: TIFF files whose pages are slices, and NPY and NPZ files.

    Arrays are `[D, H, W]` or `[C, D, H, W]`; whole numbers of 8 and 16 bits become values in [0, 1], and floating-point
    values lie there already, or are divided by `white`. Training takes random pieces of whole volumes; validation and
    testing take the middle of each volume. All volumes have the same number of channels.

    Volumes are split by file, as [`ImageFolder`][invreg_datasets.folder.ImageFolder] splits images.
    """

    def __init__(
        self,
        path: Annotated[
            Folder,
            Field(
                description="folder of volumes, searched at any depth; ~ is the home directory, a relative path starts "
                "at the current directory"
            ),
        ],
        volume_size: Annotated[
            _Size,
            Field(
                description="size of the validation and test volumes: [depth, height, width], or one number for cubes",
                json_schema_extra={"unit": "voxels"},
            ),
        ] = 64,
        train_size: Annotated[
            _Size | None,
            Field(
                description="size of the random pieces in training; none: as large as the test volumes",
                json_schema_extra={"unit": "voxels"},
            ),
        ] = None,
        downsample: Annotated[
            int,
            Field(ge=1, le=LARGEST_SIDE, description="volumes are first reduced by this factor, by averaging cubes"),
        ] = 1,
        white: Annotated[
            float | None,
            Field(
                gt=0,
                description="stored value that becomes 1; none: the largest of 8 or 16 bits, and 1 for floating-point "
                "values",
            ),
        ] = None,
        val: Annotated[
            int | None,
            Field(
                ge=1, description="number of validation volumes; none: the folder val, or a tenth of all, from 1 to 32"
            ),
        ] = None,
        test: Annotated[
            int | None,
            Field(ge=1, description="number of test volumes; none: the folder test, or a tenth of all, from 1 to 32"),
        ] = None,
        seed: SplitSeed = 0,
    ) -> None:
        self.path = path
        self.volume_size = _sides(volume_size)
        self.train_size = _sides(train_size or volume_size)
        self.downsample = downsample
        self.white = white
        self.val = val
        self.test = test
        self.seed = seed

    def splits(self) -> Splits:
        """The three splits; reads all volumes, those for training once if they are too many for the memory.

        Raises:
            DataError: if the folder or a volume is missing, unreadable or too small, or there are too few volumes.
        """
        folder = self._folder()
        dealt = deal(find_images(folder, arrays=True), self.val, self.test, self.seed, str(folder.absolute()))
        train = load_each(lambda name: self._read(folder / name, self.train_size, "training piece"), dealt.train)
        identity = {
            "folder": os.path.realpath(folder),
            "files": {name: file_identity(folder / name) for name in dealt.train},
            "volumes": True,
            "downsample": self.downsample,
            "white": self.white,
        }
        return Splits(
            TrainingImages(gather_images(train, dealt.train, identity), dealt.train, self.train_size),
            self._middles(folder, dealt.val, "validation volume"),
            self._middles(folder, dealt.test, "test volume"),
        )

    def _folder(self) -> Path:
        try:
            return self.path.expanduser()
        except RuntimeError as error:  # ~name of a user that does not exist
            raise DataError(str(error), where=str(self.path), expected="a folder of volumes") from error

    def _middles(self, folder: Path, names: Sequence[str], kind: str) -> ImageStack:
        def middle(name: str) -> Pixels:
            volume = self._read(folder / name, self.volume_size, kind)
            starts = [(side - size) // 2 for side, size in zip(volume.shape[1:], self.volume_size, strict=True)]
            parts = [slice(start, start + size) for start, size in zip(starts, self.volume_size, strict=True)]
            return volume[:, *parts].copy()  # the volume that it is cut from may be much larger

        volumes = load_all(middle, names)
        for name, volume in zip(names, volumes, strict=True):
            if len(volume) != len(volumes[0]):
                raise DataError(
                    f"{len(volume)} channels",
                    where=str(folder / name),
                    expected=f"{len(volumes[0])}, as {names[0]} has",
                    hint="volumes of one kind in a folder",
                )
        return ImageStack(to_stack(volumes), names)

    def _read(self, path: Path, smallest: tuple[int, ...], purpose: str) -> Pixels:
        volume = read_volume(path, self.white).pixels
        low, high = float(volume.min()), float(volume.max())
        if volume.dtype != np.uint8 and (low < 0 or high > 1):
            raise DataError(
                f"values from {low:.4g} to {high:.4g}, where white is 1",
                where=str(path),
                expected="values in [0, 1]",
                hint="white: the value that is to become 1; negative values have to be removed from the files",
            )
        volume = reduce_by(volume, self.downsample)
        if any(side < least for side, least in zip(volume.shape[1:], smallest, strict=True)):
            reduced = f" after downsampling by {self.downsample}" if self.downsample > 1 else ""
            raise DataError(
                f"{_size(volume.shape[1:])} voxels{reduced}, smaller than a {_size(smallest)} {purpose}",
                where=str(path),
                expected=f"volumes of at least {_size([side * self.downsample for side in smallest])} voxels",
                hint="a smaller volume_size and train_size, or take this volume out of the folder",
            )
        return volume


def _sides(size: _Size) -> tuple[int, int, int]:
    return (size, size, size) if isinstance(size, int) else size


def _size(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
