"""Finding the images in a folder."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from invreg.errors import DataError
from invreg.files import as_path
from invreg.imaging.reading import ARRAYS, EXTENSIONS, special_kind
from invreg.imaging.samples import shown


def find_images(folder: str | Path, *, arrays: bool = False) -> list[str]:
    """The images below `folder`, as sorted relative names; hidden files and folders are left out.

    What has the name of an image and is not a regular file (a named pipe, a socket, a device, a link that leads
    nowhere) is left out with a warning.

    Args:
        folder: where to look.
        arrays: whether NPY and NPZ files count as images.

    Raises:
        DataError: if the folder does not exist, cannot be read or holds no image, or if a name is not UTF-8.
    """
    folder = as_path(folder, "folder")
    where, endings = shown(folder.absolute()), EXTENSIONS + (ARRAYS if arrays else ())
    if not folder.exists():
        raise DataError(
            "there is no such folder",
            where=where,
            expected="a folder of images",
            hint="relative paths start at the current directory",
        )
    if not folder.is_dir():
        raise DataError("is a file, not a folder", where=where, expected="a folder of images", hint=str(folder.parent))
    names = sorted(_walk(folder, where, endings))
    if not names:
        raise DataError(
            "holds no images", where=where, expected=f"files that end in {', '.join(endings)}, at any depth"
        )
    return names


def _walk(folder: Path, where: str, endings: tuple[str, ...]) -> list[str]:
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
            if name.lower().endswith(endings):
                _warn(Path(parent) / name, "is a folder, not an image; images in it are read like those of any folder")
        images = (name for name in files if not name.startswith(".") and name.lower().endswith(endings))
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
