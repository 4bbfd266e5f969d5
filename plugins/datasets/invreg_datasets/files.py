"""Dealing the images of a folder to the splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from invreg import DataError, stream_key

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


def deal(names: Sequence[str], val: int | None, test: int | None, seed: int, where: str) -> Dealt:
    """Distributes images to training, validation and testing.

    Sub-folders called train, val and test decide, if there are any. Otherwise, and for a split without a folder,
    images are drawn by (seed, name): validation and test images from the val folder if there is one, else from the
    training images. The draw of one image does not depend on the others, so adding files moves few of them.

    Args:
        names: relative file names.
        val: number of validation images; None: all of the val folder that are not tested, else a tenth of all images,
            from 1 to 32.
        test: number of test images; None: all of the test folder, else a tenth of all images, from 1 to 32.
        seed: seed of the draw.
        where: the folder, for messages.

    Raises:
        DataError: if there are too few images, or it is unclear where some of them belong.
    """
    return deal_pools(_pools(names, where), val, test, seed, where)


def deal_pools(pools: Mapping[str, Sequence[str]], val: int | None, test: int | None, seed: int, where: str) -> Dealt:
    """As `deal`, with the names that belong to `train`, `val` and `test`; the latter two may have none.

    Raises:
        DataError: if there are too few images.
    """
    names = [name for pool in pools.values() for name in pool]
    shares = {split: _drawn(pool, split, seed) for split, pool in pools.items()}
    tenth = min(_LARGEST_DEFAULT, max(1, len(names) // 10))
    evaluated = "val" if pools["val"] else "train"

    source = "test" if pools["test"] else evaluated
    if test is None:
        test = len(pools["test"]) or min(tenth, max(1, len(pools[evaluated]) // 2))
    tested = _take(shares, source, test, "test", where)

    if val is None:
        # Who has set images aside for validation wants all of them.
        val = max(1, len(shares["val"])) if pools["val"] else min(tenth, max(1, len(shares["train"]) - 1))
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
    splits = {name: _split_folder(name) for name in names}
    if not any(splits.values()):
        return pools | {"train": list(names)}
    stray = [name for name, split in splits.items() if split is None]
    if stray:
        raise DataError(
            f"{len(stray)} images are beside the folders of the splits, {stray[0]!r} for one",
            where=where,
            expected="all images in train, val and test, or no folder of such a name",
            hint="move these images, or point path at one folder",
        )
    for name, split in splits.items():
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


def split_of(name: str) -> str | None:
    """The split that a name stands for, as in "validation"; None if it is another name."""
    return _SPLIT_FOLDERS.get(name.casefold())


def _split_folder(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    return split_of(parts[0]) if len(parts) > 1 else None


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
