"""Photographs that scikit-image and scikit-learn bring along: a data set without a download."""

from __future__ import annotations

from importlib.util import find_spec
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
    read_image,
    to_tensors,
)
from invreg_datasets.parameters import Color, Downsample, ImageSize, TrainSize
from invreg_datasets.patches import centred_grid
from invreg_datasets.prepare import load_all, reduce_by, to_color, to_stack

# Split by photograph. The two views of the motorcycle show the same scene: they must stay on the same side.
_TRAIN = ("astronaut", "china", "motorcycle_left", "motorcycle_right", "coins", "brick", "grass", "gravel")
_VAL = ("coffee", "rocket")
_TEST = ("camera", "chelsea", "flower")

_JPEG = ("rocket", "china", "flower")
_FROM_SCIKIT_LEARN = ("china", "flower")

#: The shortest side of any of the photographs, in pixels (chelsea: 300 x 451).
SHORTEST_SIDE = 300


class Photos(ImageDataset):
    """Thirteen photographs that are installed with scikit-image and scikit-learn.

    Training: astronaut, china, motorcycle (a stereo pair), coins, brick, grass, gravel, cropped at random.
    Validation: coffee, rocket. Testing: camera, chelsea, flower. The latter two splits are cut into disjoint
    patches, in a grid centred on each photograph and named `camera[0,1]` (row, column): 12 and 12 patches of
    96 x 96 with the defaults. No photograph, and no scene, is in two splits.
    """

    def __init__(
        self,
        image_size: Annotated[ImageSize, Field(le=SHORTEST_SIDE)] = 96,
        train_size: Annotated[TrainSize, Field(le=SHORTEST_SIDE)] = None,
        downsample: Annotated[Downsample, Field(le=SHORTEST_SIDE)] = 2,
        color: Color = "grey",
    ) -> None:
        largest = SHORTEST_SIDE // downsample
        for name, size in (("image_size", image_size), ("train_size", train_size or 1)):
            if size > largest:
                raise SpecError(
                    f"{size} pixels, but the smallest photograph has {largest} after downsampling by {downsample}",
                    where=name,
                    expected=f"at most {largest}",
                    hint="a smaller size or less downsampling; image_folder takes photographs of your own",
                )
        self.image_size = image_size
        self.train_size = train_size or image_size
        self.downsample = downsample
        self.color = color

    def splits(self) -> Splits:
        """The three splits; reads and decodes the photographs.

        Raises:
            DataError: if a photograph is not where its package should have put it.
        """
        names = (*_TRAIN, *_VAL, *_TEST)
        photographs = dict(zip(names, load_all(self._photograph, names), strict=True))
        train = to_tensors([photographs[name] for name in _TRAIN])
        crop = (self.train_size, self.train_size)
        return Splits(
            TrainingImages(train, _TRAIN, crop),
            self._patches({name: photographs[name] for name in _VAL}),
            self._patches({name: photographs[name] for name in _TEST}),
        )

    def _photograph(self, name: str) -> Pixels:
        return reduce_by(to_color(read_image(_location(name)).pixels, self.color), self.downsample)

    def _patches(self, photographs: dict[str, Pixels]) -> ImageStack:
        patches = {
            f"{name}[{row},{column}]": patch
            for name, photograph in photographs.items()
            for row, column, patch in centred_grid(photograph, self.image_size)
        }
        return ImageStack(to_stack(list(patches.values())), list(patches))


def _location(name: str) -> Path:
    package, folder, distribution = "skimage", "data", "scikit-image"
    if name in _FROM_SCIKIT_LEARN:
        package, folder, distribution = "sklearn", "datasets/images", "scikit-learn"
    # find_spec does not import: scikit-learn would take longer than all the decoding.
    spec = find_spec(package)
    hint = f"pip install --force-reinstall {distribution}"
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{distribution} is not installed", where=f"photograph {name!r}", hint=hint)
    path = Path(spec.submodule_search_locations[0]) / folder / f"{name}.{'jpg' if name in _JPEG else 'png'}"
    if not path.is_file():
        raise DataError(
            f"photograph {name!r} is missing", where=str(path), expected=f"a file of {distribution}", hint=hint
        )
    return path
