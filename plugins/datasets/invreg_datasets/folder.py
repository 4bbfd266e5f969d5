"""Any folder of images as a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from invreg import (
    DataError,
    ImageDataset,
    ImageStack,
    Pixels,
    SpecError,
    Splits,
    TrainingImages,
    file_identity,
    find_images,
    gather_images,
    read_image,
    read_volume,
)
from invreg_datasets.files import deal
from invreg_datasets.parameters import (
    LARGEST_SIDE,
    AnySize,
    Color,
    Downsample,
    Folder,
    SplitSeed,
    height_and_width,
)
from invreg_datasets.patches import centre_crop
from invreg_datasets.prepare import load_all, load_each, reduce_by, resize_short_side, to_color, to_stack


class ImageFolder(ImageDataset):
    """The images in a folder, at any depth: PNG, JPEG, TIFF, BMP, WebP, PGM and PPM.

    Training takes random crops of whole images; validation and testing take the middle of each image.

    Images are split by file. If the folder has sub-folders called train, val (validation) and test, they are the
    splits, whole; val and test images without a folder of their own are drawn from val, or else from train. Without
    such sub-folders all are drawn at random, the same for the same file names and seed.
    """

    def __init__(
        self,
        path: Annotated[
            Folder,
            Field(
                description="folder of images, searched at any depth; ~ is the home directory, a relative path starts "
                "at the current directory",
                examples=["photos/"],
            ),
        ],
        image_size: Annotated[
            AnySize,
            Field(
                description="height and width of the validation and test images",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = 96,
        train_size: Annotated[
            AnySize | None,
            Field(
                description="height and width of the random training crops; none: as large as the test images",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        downsample: Downsample = 1,
        short_side: Annotated[
            int | None,
            Field(
                ge=1,
                le=LARGEST_SIDE,
                description="length to which the shorter side of each image is shrunk, instead of downsample; with the "
                "size of the test images, these show whole scenes, whatever the resolution of the files",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        color: Color = "grey",
        val: Annotated[
            int | None,
            Field(
                ge=1, description="number of validation images; none: the folder val, or a tenth of all, from 1 to 32"
            ),
        ] = None,
        test: Annotated[
            int | None,
            Field(ge=1, description="number of test images; none: the folder test, or a tenth of all, from 1 to 32"),
        ] = None,
        seed: SplitSeed = 0,
    ) -> None:
        self.path = path
        self.image_size = image_size
        self.train_size = train_size or image_size
        self.downsample = downsample
        self.short_side = short_side
        self.color = color
        self.val = val
        self.test = test
        self.seed = seed
        if short_side is not None:
            self._check_short_side(short_side)

    def splits(self) -> Splits:
        """The three splits; reads and decodes all images, those for training once if they are too many for the memory.

        Raises:
            DataError: if the folder or an image is missing, unreadable or too small, or there are too few images.
        """
        folder = self._folder()
        dealt = deal(self._names(folder), self.val, self.test, self.seed, str(folder.absolute()))
        train = load_each(
            lambda name: self._read(folder / name, self.train_size, "training crop", whole=True), dealt.train
        )
        identity = {
            "folder": os.path.realpath(folder),
            "files": {name: file_identity(folder / name) for name in dealt.train},
            "downsample": self.downsample,
            "short_side": self.short_side,
            "color": self.color,
        }
        images = gather_images(train, dealt.train, identity)
        return Splits(
            TrainingImages(images, dealt.train, height_and_width(self.train_size)),
            self._crops(folder, dealt.val, "validation"),
            self._crops(folder, dealt.test, "test"),
        )

    def _folder(self) -> Path:
        try:
            return self.path.expanduser()
        except RuntimeError as error:  # ~name of a user that does not exist
            raise DataError(str(error), where=str(self.path), expected="a folder of images") from error

    def _names(self, folder: Path) -> list[str]:
        try:
            return find_images(folder)
        except DataError as error:
            error.hint = error.hint or _for_arrays(folder)
            raise

    def _crops(self, folder: Path, names: Sequence[str], kind: str) -> ImageStack:
        def crop(name: str) -> Pixels:
            image = self._read(folder / name, self.image_size, f"{kind} image", whole=False)
            # A copy: the image that it is cut from may be much larger.
            return centre_crop(image, self.image_size).copy()

        return ImageStack(to_stack(load_all(crop, names)), names)

    def _read(self, path: Path, smallest: AnySize, purpose: str, *, whole: bool) -> Pixels:
        height, width = height_and_width(smallest)
        try:
            image = read_image(path).pixels
        except DataError as error:
            if _is_volume(path):
                error.hint = "the data set volume_folder, whose volumes are TIFF files of several pages"
            raise
        size = f"{_size(image.shape)} pixels"
        if self.short_side is not None:
            if min(image.shape[1:]) < self.short_side:
                raise DataError(
                    size,
                    where=str(path),
                    expected=f"at least {self.short_side} pixels on the shorter side: images are never enlarged",
                    hint="a smaller short_side, or take this image out of the folder",
                )
            resized = resize_short_side(to_color(image, self.color), self.short_side)
            if resized.shape[1] < height or resized.shape[2] < width:
                raise DataError(
                    f"{_size(resized.shape)} pixels after shrinking, smaller than a {height}x{width} {purpose}",
                    where=str(path),
                    expected=f"images of at least {height}x{width} pixels",
                    hint="a larger short_side, or a square image_size and train_size",
                )
            return resized
        reduced = tuple(side // self.downsample for side in image.shape)
        if reduced[1] < height or reduced[2] < width:
            if self.downsample > 1:
                size += f", {_size(reduced)} after downsampling by {self.downsample}"
            least = f"{height * self.downsample}x{width * self.downsample} pixels"
            if height == width:
                least = f"{height * self.downsample} pixels on each side"
            raise DataError(
                f"{size}, smaller than a {height}x{width} {purpose}",
                where=str(path),
                expected=f"images of at least {least}",
                hint="a smaller image_size and train_size, less downsample, or take this image out of the folder",
            )
        if not whole:
            # What is cut away needs no conversion; blocks of pixels that are averaged stay the same.
            image = centre_crop(image, smallest, self.downsample)
        return reduce_by(to_color(image, self.color), self.downsample)

    def _check_short_side(self, short_side: int) -> None:
        if self.downsample != 1:
            raise SpecError(
                f"short_side = {short_side} and downsample = {self.downsample}",
                where="short_side",
                expected="one of the two: each says how far images are reduced",
                hint="downsample: 1",
            )
        largest = max(min(height_and_width(size)) for size in (self.image_size, self.train_size))
        if short_side < largest:
            raise SpecError(
                f"short_side = {short_side}, smaller than crops of {largest} pixels",
                where="short_side",
                expected=f"at least {largest}",
            )


def _for_arrays(folder: Path) -> str | None:
    """A hint where a folder holds no images, and arrays."""
    try:
        names = find_images(folder, arrays=True)
    except DataError:
        return None
    return f"arrays, such as {names[0]}, are for volume_folder if they are volumes; save images as PNG or TIFF"


def _is_volume(path: Path) -> bool:
    """Whether a file that is no image is a volume."""
    try:
        return read_volume(path).pixels.shape[1] > 1
    except DataError:
        return False


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[2]}"
