"""Finding the images in a folder, and dealing them to the splits."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from invreg import DataError, stream_key
from invreg_datasets.decode import EXTENSIONS, special_kind
from invreg_datasets.samples import shown

# Names of sub-folders that say which split their images belong to, in lower case.
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_LARGEST_DEFAULT = 32


@dataclass(frozen=True)
class Dealt:
    """Names of files (relative to the folder, with `/`), sorted within each split."""

    train: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]


def find_images(folder: Path) -> list[str]:
    """The images below `folder`, as sorted relative names; hidden files and folders are left out.

    What has the name of an image and is not a regular file (a named pipe, a socket, a device, a link that leads
    nowhere) is left out with a warning.

    Raises:
        DataError: if the folder does not exist, cannot be read or holds no image, or if a name is not UTF-8.
    """
    where = shown(folder.absolute())
    if not folder.exists():
        raise DataError(
            "there is no such folder",
            where=where,
            expected="a folder of images",
            hint="relative paths start at the current directory",
        )
    if not folder.is_dir():
        raise DataError("is a file, not a folder", where=where, expected="a folder of images", hint=str(folder.parent))
    names = sorted(_walk(folder, where))
    if not names:
        raise DataError(
            "holds no images", where=where, expected=f"files that end in {', '.join(EXTENSIONS)}, at any depth"
        )
    return names


def _walk(folder: Path, where: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise DataError(
            f"cannot be read: {error.strerror}",
            where=shown(Path(error.filename or where)),
            expected="a folder that you may read",
            hint="change its permissions, or take it out of the folder",
        ) from error

    names: list[str] = []
    visited = set()
    # Collections are often put together from links; a link that leads back up must not run for ever.
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if name.lower().endswith(EXTENSIONS):
                _warn(Path(parent) / name, "is a folder, not an image; images in it are read like those of any folder")
        images = (name for name in files if not name.startswith(".") and name.lower().endswith(EXTENSIONS))
        names += [
            (Path(parent) / name).relative_to(folder).as_posix() for name in images if _is_file(Path(parent) / name)
        ]
    return names


def _is_file(path: Path) -> bool:
    try:
        path.name.encode()
        path.parent.as_posix().encode()
    except UnicodeEncodeError:
        raise DataError(
            "its name is not UTF-8",
            where=shown(path),
            expected="names that reports and tables can hold",
            hint="rename it, or take it out of the folder",
        ) from None
    try:
        kind = special_kind(path.stat().st_mode)
    except OSError as error:
        kind = f"a link that cannot be followed ({error.strerror})" if path.is_symlink() else None
    if kind is not None:
        _warn(path, f"is {kind}, not an image: it is left out")
    return kind is None


def _warn(path: Path, what: str) -> None:
    warnings.warn(f"{shown(path)} {what}", stacklevel=2)


def deal(names: Sequence[str], val: int | None, test: int | None, seed: int, where: str) -> Dealt:
    """Distributes images to training, validation and testing.

    Sub-folders called train, val and test decide, if there are any. Otherwise, and for a split without a folder,
    images are drawn by (seed, name): validation and test images from the val folder if there is one, else from the
    training images. The draw of one image does not depend on the others, so adding files moves few of them.

    Args:
        names: relative file names.
        val: number of validation images; None: a tenth of all images, from 1 to 32.
        test: number of test images; None: all of the test folder, else a tenth of all images, from 1 to 32.
        seed: seed of the draw.
        where: the folder, for messages.

    Raises:
        DataError: if there are too few images, or it is unclear where some of them belong.
    """
    pools = _pools(names, where)
    shares = {split: _drawn(pool, split, seed) for split, pool in pools.items()}
    tenth = min(_LARGEST_DEFAULT, max(1, len(names) // 10))
    evaluated = "val" if pools["val"] else "train"

    source = "test" if pools["test"] else evaluated
    if test is None:
        test = len(pools["test"]) or min(tenth, max(1, len(pools[evaluated]) // 2))
    tested = _take(shares, source, test, "test", where)

    if val is None:
        val = min(tenth, max(1, len(shares[evaluated]) - (evaluated == "train")))
    validated = _take(shares, evaluated, val, "val", where)
    if not shares["train"]:
        raise DataError(
            f"{len(names)} images, of which none is left for training",
            where=where,
            expected="more images than val and test take",
            hint="more images, or smaller val and test",
        )
    return Dealt(sorted(shares["train"]), sorted(validated), sorted(tested))


def _pools(names: Sequence[str], where: str) -> dict[str, list[str]]:
    pools: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    split_of = {name: _split_folder(name) for name in names}
    if not any(split_of.values()):
        return pools | {"train": list(names)}
    stray = [name for name, split in split_of.items() if split is None]
    if stray:
        raise DataError(
            f"{len(stray)} images are beside the folders of the splits, {stray[0]!r} for one",
            where=where,
            expected="all images in train, val and test, or no folder of such a name",
            hint="move these images, or point path at one folder",
        )
    for name, split in split_of.items():
        pools[split or "train"].append(name)
    if not pools["train"]:
        found = ", ".join(split for split, pool in pools.items() if pool)
        raise DataError(
            f"has a folder for {found} and none for training",
            where=where,
            expected="a folder train with images",
            hint="to split one folder at random, point path at that folder itself",
        )
    return pools


def _split_folder(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    return _SPLIT_FOLDERS.get(parts[0].casefold()) if len(parts) > 1 else None


def _drawn(names: Sequence[str], split: str, seed: int) -> list[str]:
    # One form for names that differ only in how accents are encoded: file systems change that when copying.
    return sorted(names, key=lambda name: stream_key(seed, "split", split, unicodedata.normalize("NFC", name)))


def _take(shares: dict[str, list[str]], source: str, count: int, split: str, where: str) -> list[str]:
    available = shares[source]
    if count > len(available):
        raise DataError(
            f"{split} = {count}, but only {len(available)} images are left for it",
            where=where,
            expected=f"{split} of at most {len(available)}",
            hint=f"more images, or a smaller {split}",
        )
    shares[source] = available[count:]
    return available[:count]
