"""Images for training, as many as there are: in memory if they are few, else decoded once into a file of the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invreg.components.stored_images import StoredImages
from invreg.computing.memory import share_of_memory
from invreg.errors import DataError
from invreg.files import cache_folder, whole_folder, write_whole
from invreg.imaging.samples import Pixels, to_unit

#: Images are kept in memory up to so many bytes, or this share of the memory of the machine where that is less.
MOST_BYTES = 2**28
MOST_SHARE = 1 / 16

_FORMAT = 1
_VALUES, _CONTENT = "values", "images.json"
#: What has not been used for so many seconds is removed when images are prepared.
_UNUSED = 30 * 24 * 3600
#: What decides on the pixels that are decoded, beside the files.
_DECODERS = ("invreg", "imagecodecs", "numpy", "pillow", "tifffile", "torch")


def gather_images(images: Iterable[Pixels], names: Sequence[str], identity: Mapping[str, Any]) -> Sequence[Tensor]:
    """Images for [`TrainingImages`][invreg.components.training_images.TrainingImages]: all uint8, or all float32.

    If they take more than 256 MiB, or a sixteenth of the memory of the machine, they go into a file in the cache of the
    user (or in the folder that `INVREG_CACHE` names), one after the other. The next call with the same identity, in any
    process, finds that file, and takes nothing from `images`. Several processes may ask for the same images at a time:
    one of them prepares the file, the others wait. A file is whole or not there.

    Args:
        images: `[C, H, W]`, one for each name, uint8 in 0..255 or float32; best made when they are asked for, as those
            of a generator are.
        names: of the images.
        identity: all that decides on the images (files with their sizes and times, parameters), as JSON has it;
            versions of the packages that decode are added.

    Raises:
        DataError: if the cache cannot be written.
    """
    place = cache_folder() / "images" / _key(identity)
    if found := _existing(place):
        return found
    rest = iter(images)
    kept: deque[Pixels] = deque()
    values, is_exact = 0, True
    for image in rest:
        kept.append(image)
        values, is_exact = values + image.size, is_exact and image.dtype == np.uint8
        if values * (1 if is_exact else 4) > min(MOST_BYTES, share_of_memory(MOST_SHARE)):
            return _prepared(place, chain(_emptied(kept), rest), len(names), identity)
    return to_tensors(kept)


def to_tensors(images: Collection[Pixels]) -> list[Tensor]:
    """All images as tensors of one type: uint8 if they all are, else float32."""
    exact = all(image.dtype == np.uint8 for image in images)
    return [
        torch.from_numpy(np.require(image if exact else to_unit(image), requirements=["C", "W"])) for image in images
    ]


def file_identity(path: Path) -> list[int]:
    """Size and times of a file, which change with its content, for the identity of images; empty if there is none."""
    try:
        found = path.stat()
    except OSError:  # whoever reads it says why not
        return []
    # The time of modification alone is not enough: archives and copies set it to what they like.
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _key(identity: Mapping[str, Any]) -> str:
    versions = {}
    for name in _DECODERS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    text = json.dumps({"identity": identity, "versions": versions, "format": _FORMAT}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _existing(place: Path) -> StoredImages | None:
    """What was prepared, if it is there and whole."""
    try:
        content = json.loads((place / _CONTENT).read_text("utf-8"))
        shapes = [tuple(map(int, shape)) for shape in content["shapes"]]
        stored = StoredImages(place / _VALUES, content["dtype"], shapes, content["low"], content["high"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with suppress(OSError):  # a cache that may only be read
        os.utime(place / _CONTENT)
    return stored


def _prepared(place: Path, images: Iterator[Pixels], total: int, identity: Mapping[str, Any]) -> StoredImages:
    try:
        with _locked(place):
            if found := _existing(place):
                return found
            _clean(place)
            with whole_folder(place) as made:
                content = _write(made / _VALUES, images, total) | {"of": dict(identity)}
                write_whole(made / _CONTENT, json.dumps(content).encode())
            found = _existing(place)
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(place),
            expected="room for images that are decoded once, as they are too many for the memory",
            hint="the environment variable INVREG_CACHE names another folder",
        ) from error
    if found is None:
        raise DataError("has been changed meanwhile", where=str(place), hint="run it again")
    return found


def _write(path: Path, images: Iterator[Pixels], total: int) -> dict[str, Any]:
    """Writes the values of all images, one after the other, and shows how far it is."""
    shapes, types = [], []
    low: Any = np.float32(np.inf)
    high: Any = np.float32(-np.inf)
    with path.open("wb") as file:
        for image in _shown(images, total):
            _append(file, image)
            shapes.append(image.shape)
            types.append(image.dtype)
            low, high = np.minimum(low, to_unit(image.min())), np.maximum(high, to_unit(image.max()))  # NaN stays
        _finish(file)
    if len(set(types)) > 1:
        _to_float(path, shapes, types)
    dtype = "uint8" if all(one == np.uint8 for one in types) else "float32"
    return {"dtype": dtype, "shapes": shapes, "low": float(low), "high": float(high)}


def _to_float(path: Path, shapes: Sequence[tuple[int, ...]], types: Sequence[np.dtype[Any]]) -> None:
    """Makes all images of the file float32."""
    mixed = path.with_name(f"{path.name}-mixed")
    path.rename(mixed)
    with mixed.open("rb") as source, path.open("wb") as target:
        for shape, dtype in zip(shapes, types, strict=True):
            _append(target, to_unit(np.fromfile(source, dtype, prod(shape))))
        _finish(target)
    mixed.unlink()


def _append(file: BinaryIO, values: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(values).data)


def _finish(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _emptied(kept: deque[Pixels]) -> Iterator[Pixels]:
    while kept:
        yield kept.popleft()


def _shown(images: Iterator[Pixels], total: int) -> Iterator[Pixels]:
    """The images, with a bar where a terminal is attached."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield from bar.track(images, total=total, description="preparing images, once")


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Nobody else prepares the same images inside the block; released by the system if this process dies."""
    from filelock import FileLock, Timeout

    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock(place))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"another process prepares the images of this run in {place.parent}: waiting for it")
        lock.acquire()
    except NotImplementedError as error:
        raise OSError("files cannot be locked there") from error
    try:
        yield
    finally:
        lock.release()


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def _lock(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _clean(place: Path) -> None:
    """Removes what nobody has used for a month, and what killed processes have left; the caller has locked `place`."""
    from filelock import FileLock, Timeout

    for path in [one for one in place.parent.iterdir() if one.is_dir()]:
        try:
            used = (path / _CONTENT).stat().st_mtime if not path.name.startswith(".") else 0.0
        except OSError:
            used = 0.0
        owner = path.with_name(path.name.removeprefix(".").split(".")[0])
        if owner == place:
            shutil.rmtree(path, ignore_errors=True)
        elif time.time() - used > _UNUSED:
            with suppress(OSError, Timeout, NotImplementedError), FileLock(_lock(owner), timeout=0):
                shutil.rmtree(path, ignore_errors=True)
