"""Pairs of truth and measurement in files, as a data set."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from unicodedata import normalize

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from invreg import (
    DataError,
    MeasuredDataset,
    MeasuredStack,
    Pixels,
    SpecError,
    Splits,
    StoredImages,
    TrainingPairs,
    did_you_mean,
    file_identity,
    find_images,
    gather_images,
    read_image,
    to_unit,
)
from invreg_datasets.files import Dealt, deal, deal_pools, split_of
from invreg_datasets.parameters import AnySize, Color, Folder, SplitSeed, height_and_width
from invreg_datasets.patches import centre_crop
from invreg_datasets.prepare import load_all, load_each, to_color, to_stack

_ARRAYS = (".npy", ".npz")
#: How many names a message lists.
_SHOWN = 3
_Values = NDArray[Any]


@dataclass(frozen=True)
class _Pair:
    """Two files, relative to the folder; `scene` is the same for pairs that show the same."""

    truth: str
    measurement: str
    scene: str


class MeasuredPairs(MeasuredDataset):
    """True images with their measurements, in files: images (PNG, TIFF, JPEG and others) or arrays (NPY, NPZ).

    Two folders, whose files have the same names up to their endings: `truth/a.png` belongs to `measurement/a.npy`. Or a
    table (CSV) with one row for each pair and two columns of file names.

    Splits: folders train, val and test, above or below the two folders; or a column `split` in the table, with these
    words. They are taken whole. Val and test without pairs of their own are drawn from val, or else from train. Without
    such splits all are drawn at random. Pairs with the same truth, or the same value in a column `scene`, are never
    drawn into two splits; splits of one's own that do this are refused.

    If each measurement has the rows and columns of its truth, training takes random crops of both at the same place.
    Otherwise all truths have one size, all measurements one shape, and both are used whole.

    Truth is in [0, 1]: 8 and 16 bits are divided by their white, 255 and 65535 or `white`. So are measurements, with
    `measured_white`; floating-point measurements in arrays may have any values.
    """

    def __init__(
        self,
        path: Annotated[
            Folder,
            Field(
                description="folder with the files; ~ is the home directory, a relative path starts at the current "
                "directory",
                examples=["scans/"],
            ),
        ],
        truth: Annotated[
            str, Field(min_length=1, description="name of the folder, or the column, of the true images")
        ] = "truth",
        measurement: Annotated[
            str, Field(min_length=1, description="name of the folder, or the column, of the measurements")
        ] = "measurement",
        table: Annotated[
            str | None,
            Field(
                min_length=1,
                description="a CSV file in the folder, with file names relative to the folder in two columns; none: "
                "two folders",
            ),
        ] = None,
        image_size: Annotated[
            AnySize | None,
            Field(
                description="height and width of the validation and test images, cut from the middle; none: whole "
                "images, which then have one size",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        train_size: Annotated[
            AnySize | None,
            Field(
                description="height and width of the random training crops; none: as large as the test images",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        color: Color = "grey",
        white: Annotated[
            float | None,
            Field(gt=0, description="the stored value of truth that is white; none: 255, 65535 or 1, by the type"),
        ] = None,
        measured_white: Annotated[
            float | None,
            Field(gt=0, description="the stored value that a measurement of 1 has; none: 255, 65535 or 1, by the type"),
        ] = None,
        turns: Annotated[
            bool,
            Field(
                description="whether training also flips and turns the pairs, for operators that do the same in all "
                "directions"
            ),
        ] = False,
        val: Annotated[
            int | None,
            Field(
                ge=1, description="number of validation scenes; none: those of its own, or a tenth of all, from 1 to 32"
            ),
        ] = None,
        test: Annotated[
            int | None,
            Field(ge=1, description="number of test scenes; none: those of its own, or a tenth of all, from 1 to 32"),
        ] = None,
        seed: SplitSeed = 0,
    ) -> None:
        if truth == measurement:
            raise SpecError(f"both are called {truth!r}", where="measurement", expected="another name than truth")
        self.path, self.truth, self.measurement, self.table = path, truth, measurement, table
        self.image_size, self.train_size, self.color = image_size, train_size, color
        self.white, self.measured_white, self.turns = white, measured_white, turns
        self.val, self.test, self.seed = val, test, seed

    def splits(self) -> Splits:
        """The three splits; reads and decodes all files, those for training once if they are too many for the memory.

        Raises:
            DataError: if files are missing or unreadable, pairs do not match, or a scene is in two splits.
        """
        try:
            folder = self.path.expanduser()
        except RuntimeError as error:  # ~name of a user that does not exist
            raise DataError(str(error), where=str(self.path), expected="a folder with pairs") from error
        where = str(folder.absolute())
        pairs, dealt = self._from_table(folder, where) if self.table else self._from_folders(folder, where)
        trained = set(dealt.train)
        read = self._evaluated(folder, {name: pair for name, pair in pairs.items() if name not in trained})
        images, measured = self._trained(folder, {name: pairs[name] for name in dealt.train})
        shapes = zip(_shapes(images), _shapes(measured), strict=True)
        for index, (name, both) in enumerate(zip(dealt.train, shapes, strict=True)):
            read[name] = _Read(*both, partial(_values, images, index), partial(_values, measured, index))
        _check_scenes(dealt, pairs, read, where)
        in_place = _check_shapes(pairs, read, where)
        if not in_place and (self.image_size or self.train_size):
            first = read[next(iter(pairs))]
            raise DataError(
                f"image_size or train_size, where measurements of shape {first.z_shape} belong to images of "
                f"{_size(first.x_shape)} pixels",
                where=where,
                expected="neither: such pairs are used whole",
                hint="image_size: null",
            )
        val, test = (self._stack(names, read, where) for names in (dealt.val, dealt.test))
        crop = val.image_shape[1:] if self.train_size is None else height_and_width(self.train_size)
        return Splits(TrainingPairs(images, dealt.train, crop, measured, self.turns), val, test)

    # -- which files

    def _from_folders(self, folder: Path, where: str) -> tuple[dict[str, _Pair], Dealt]:
        found: dict[str, dict[str, str]] = {self.truth: {}, self.measurement: {}}
        for name in find_images(folder, arrays=True):
            parts = PurePosixPath(name).parts
            kinds = [part for part in parts[:-1] if part in found]
            if len(kinds) != 1:
                raise DataError(
                    f"{name!r} is in {'both' if kinds else 'neither'} of the two folders",
                    where=where,
                    expected=f"every file below a folder {self.truth!r} or {self.measurement!r}",
                    hint="take it out, or name the folders by truth and measurement",
                )
            at = parts.index(kinds[0])
            # One form for names that differ only in how accents are encoded: file systems change that when copying.
            key = normalize("NFC", PurePosixPath(*parts[:at], *parts[at + 1 :]).with_suffix("").as_posix())
            twin = found[kinds[0]].setdefault(key, name)
            if twin != name:
                raise DataError(
                    f"{twin!r} and {name!r} have the same name up to the ending",
                    where=where,
                    expected="one file for each truth and each measurement",
                )
        truths, measurements = found[self.truth], found[self.measurement]
        lonely = [
            f"{len(names)} in {kind!r} without a partner in {other!r} ({_listed(names)})"
            for kind, other in ((self.truth, self.measurement), (self.measurement, self.truth))
            if (names := sorted(found[kind].keys() - found[other].keys()))
        ]
        if lonely:
            raise DataError(
                f"{len(truths)} files of truth and {len(measurements)} measurements do not match: {'; '.join(lonely)}",
                where=where,
                expected="the same names in both folders, up to the endings",
                hint="a table, where the names differ" if not truths.keys() & measurements.keys() else None,
            )
        pairs = {key: _Pair(truths[key], measurements[key], key) for key in sorted(truths)}
        return pairs, deal(list(pairs), self.val, self.test, self.seed, where)

    def _from_table(self, folder: Path, where: str) -> tuple[dict[str, _Pair], Dealt]:
        table = f"{where}{os.sep}{self.table}"
        rows = _rows(folder / str(self.table), table, (self.truth, self.measurement))
        pairs: dict[str, _Pair] = {}
        words: dict[str, str] = {}
        for line, row in rows:
            for column in (self.truth, self.measurement):
                if not row[column]:
                    raise DataError(f"line {line} has no {column}", where=table, expected="a file name in every row")
            pair = _Pair(row[self.truth], row[self.measurement], row.get("scene") or row[self.truth])
            if pair.measurement in pairs:
                raise DataError(
                    f"line {line} names the measurement {pair.measurement!r} a second time",
                    where=table,
                    expected="each measurement once",
                )
            word = row.get("split", "")
            if "split" in row and split_of(word) is None:
                raise DataError(
                    f"line {line} has the split {word!r}", where=table, expected="train, val or test in every row"
                )
            pairs[pair.measurement] = pair
            words[pair.measurement] = split_of(word) or "train"
        if len({(pair.scene, words[name]) for name, pair in pairs.items()}) > len({p.scene for p in pairs.values()}):
            split: dict[str, str] = {}
            for name, pair in pairs.items():
                if split.setdefault(pair.scene, words[name]) != words[name]:
                    raise _in_two_splits(pair.scene, split[pair.scene], words[name], table)
        # Scenes are dealt, and their pairs follow them.
        scenes = {pair.scene: words[name] for name, pair in pairs.items()}
        pools = {kind: [scene for scene, word in scenes.items() if word == kind] for kind in ("train", "val", "test")}
        if not pools["train"]:
            raise DataError("no row has the split train", where=table, expected="pairs to train on")
        dealt = deal_pools(pools, self.val, self.test, self.seed, table)

        def of(chosen: Iterable[str]) -> list[str]:
            wanted = set(chosen)
            return sorted(name for name, pair in pairs.items() if pair.scene in wanted)

        return pairs, Dealt(of(dealt.train), of(dealt.val), of(dealt.test))

    # -- what is in them

    def _evaluated(self, folder: Path, pairs: Mapping[str, _Pair]) -> dict[str, _Read]:
        """Pairs that stay in memory."""
        # A truth with several measurements is read once.
        truths = {pair.truth: pair for pair in pairs.values()}
        x = dict(zip(truths, load_all(partial(self._truth, folder), list(truths.values())), strict=True))
        z = load_all(partial(self._measurement, folder), list(pairs.values()))
        return {name: _Read.of(x[pair.truth], own) for (name, pair), own in zip(pairs.items(), z, strict=True)}

    def _trained(self, folder: Path, pairs: Mapping[str, _Pair]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Images and measurements, in memory if they are few."""
        identity = {
            "folder": os.path.realpath(folder),
            "pairs": [[pair.truth, pair.measurement] for pair in pairs.values()],
            "color": self.color,
        }

        def gathered(values: Iterable[Pixels], paths: Iterable[str], white: float | None) -> Sequence[Tensor]:
            files = {path: file_identity(folder / path) for path in paths}
            return gather_images(values, list(pairs), {**identity, "files": files, "white": white})

        measured = load_each(partial(self._measurement, folder), list(pairs.values()))
        return (
            gathered(self._truths(folder, pairs), [pair.truth for pair in pairs.values()], self.white),
            gathered(measured, [pair.measurement for pair in pairs.values()], self.measured_white),
        )

    def _truths(self, folder: Path, pairs: Mapping[str, _Pair]) -> Iterator[Pixels]:
        """The truth of each pair; one with several measurements is read once, and kept until its last pair."""
        left = Counter(pair.truth for pair in pairs.values())
        read = load_each(partial(self._truth, folder), list({pair.truth: pair for pair in pairs.values()}.values()))
        kept: dict[str, Pixels] = {}
        for pair in pairs.values():
            x = kept[pair.truth] if pair.truth in kept else next(read)
            left[pair.truth] -= 1
            kept[pair.truth] = x
            if not left[pair.truth]:
                del kept[pair.truth]
            yield x

    def _truth(self, folder: Path, pair: _Pair) -> Pixels:
        x = self._channels(folder / pair.truth, self.white)
        if x.dtype != np.uint8 and not (x.min() >= 0 and x.max() <= 1):
            raise DataError(
                f"values from {x.min():.4g} to {x.max():.4g}",
                where=str(folder / pair.truth),
                expected="truth in [0, 1]",
                hint="white: the stored value that is white",
            )
        return to_color(x, self.color)

    def _measurement(self, folder: Path, pair: _Pair) -> Pixels:
        path = folder / pair.measurement
        z = to_unit(read_image(path, self.measured_white).pixels)
        if path.suffix.lower() in _ARRAYS:
            return z
        # Grey values are cut off at white, which a measurement may exceed.
        largest = max(np.float32(1), z.max())
        return to_color(z / largest, self.color) * largest if largest > 1 else to_color(z, self.color)

    def _channels(self, path: Path, white: float | None) -> Pixels:
        pixels = read_image(path, white).pixels
        if len(pixels) not in (1, 3):
            raise DataError(
                f"an image with {len(pixels)} channels",
                where=str(path),
                expected="one (grey) or three (red, green, blue)",
            )
        return pixels

    def _stack(self, names: Sequence[str], read: Mapping[str, _Read], where: str) -> MeasuredStack:
        chosen = [read[name] for name in names]
        cut: Callable[[Any], Any] = np.ascontiguousarray
        if self.image_size is not None:
            size = height_and_width(self.image_size)
            for name, one in zip(names, chosen, strict=True):
                if one.x_shape[1] < size[0] or one.x_shape[2] < size[1]:
                    raise DataError(
                        f"{name!r} has {_size(one.x_shape)} pixels",
                        where=where,
                        expected=f"at least image_size, {size[0]}x{size[1]}",
                        hint="a smaller image_size",
                    )

            def cut(values: Any) -> Any:
                return centre_crop(values, size).copy()

        sizes = Counter(_size(one.x_shape) for one in chosen)
        if self.image_size is None and len(sizes) > 1:
            smallest = [min(one.x_shape[axis] for one in read.values()) for axis in (1, 2)]
            raise DataError(
                f"images of {len(sizes)} sizes, {_listed([f'{size} pixels' for size in sizes])}",
                where=where,
                expected="one size for validation and test images",
                hint=f"image_size: {smallest}: the middle of each",
            )
        x = to_stack([cut(one.x()) for one in chosen])
        return MeasuredStack(x, names, torch.from_numpy(np.stack([cut(one.z()) for one in chosen])))


@dataclass(frozen=True)
class _Read:
    """A pair whose files have been read: the shapes of truth `[C, H, W]` and measurement, and their values."""

    x_shape: tuple[int, ...]
    z_shape: tuple[int, ...]
    x: Callable[[], Pixels]
    z: Callable[[], _Values]

    @classmethod
    def of(cls, x: Pixels, z: _Values) -> _Read:
        return cls(x.shape, z.shape, lambda: x, lambda: z)


def _values(of: Sequence[Tensor], index: int) -> _Values:
    return of[index].numpy()


def _shapes(values: Sequence[Tensor]) -> Sequence[tuple[int, ...]]:
    return values.shapes if isinstance(values, StoredImages) else [tuple(one.shape) for one in values]


def _rows(path: Path, where: str, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table with the number of their line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=where, expected="a table (CSV)") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"is not a table: {str(error)[:200]}", where=where, expected="CSV in UTF-8") from error
    for name in needed:
        if columns.count(name) != 1:
            raise DataError(
                f"has {columns.count(name) or 'no'} columns {name!r}" if name in columns else f"has no column {name!r}",
                where=where,
                expected=f"one column {name!r}; there are {', '.join(map(repr, columns[:20])) or 'none'}",
                hint=did_you_mean(name, columns),
            )
    for line, row in rows:
        if None in row or None in row.values():
            raise DataError(
                f"line {line} has {'more' if None in row else 'fewer'} values than there are columns",
                where=where,
                expected=f"{len(columns)} values, separated by commas",
            )
    if not rows:
        raise DataError("has no rows", where=where, expected="one row for each pair")
    return [(line, {name: value.strip() for name, value in row.items()}) for line, row in rows]


def _check_scenes(dealt: Dealt, pairs: Mapping[str, _Pair], read: Mapping[str, _Read], where: str) -> None:
    """Refuses the same truth, pixel by pixel, in two splits.

    Raises:
        DataError: naming two files.
    """
    seen: dict[bytes, tuple[str, str]] = {}
    for split in ("train", "val", "test"):
        for name in getattr(dealt, split):
            x = read[name].x()
            digest = hashlib.blake2b(np.ascontiguousarray(to_unit(x)).tobytes(), digest_size=16)
            digest.update(repr(x.shape).encode())
            before, twin = seen.setdefault(digest.digest(), (split, name))
            if before != split:
                scene = f"{pairs[twin].truth} and {pairs[name].truth}"
                raise _in_two_splits(scene, before, split, where)


def _in_two_splits(scene: str, first: str, second: str, where: str) -> DataError:
    return DataError(
        f"the same scene is in {first} and in {second}: {scene}",
        where=where,
        expected="each scene in one split, or the test says nothing",
        hint="move it to one of the two; a column scene in a table keeps pairs together that are drawn at random",
    )


def _check_shapes(pairs: Mapping[str, _Pair], read: Mapping[str, _Read], where: str) -> bool:
    """Whether all measurements have the rows and columns of their truth.

    Raises:
        DataError: naming the first pair that does not fit to the others.
    """
    names = list(pairs)
    first = read[names[0]]
    in_place = first.z_shape[1:] == first.x_shape[1:]
    for name in names:
        one = read[name]
        fits = one.z_shape[0] == first.z_shape[0] and (
            one.z_shape[1:] == one.x_shape[1:]
            if in_place
            else (one.z_shape, one.x_shape) == (first.z_shape, first.x_shape)
        )
        if not fits:
            raise DataError(
                f"{pairs[name].measurement} has the shape {one.z_shape}, and {pairs[name].truth} {one.x_shape}; "
                f"those of {names[0]!r} have {first.z_shape} and {first.x_shape}",
                where=where,
                expected="measurements with the rows and columns of their truth, or one shape for all"
                if in_place
                else "one shape for all measurements and one for all images, where they differ from each other",
            )
    return in_place


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[2]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
