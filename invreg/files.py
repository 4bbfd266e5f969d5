"""Files and folders that appear whole or not at all: each is made beside its place and then moved there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from invreg.errors import SpecError, StoreError, nothing_computed

#: What is being written beside its place: `.metrics.csv.k3x_91ab`.
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}", re.DOTALL)


def write_whole(target: Path, content: bytes) -> None:
    """Writes a file, and the folders above it, so that one that exists is whole whenever the process is killed.

    Raises:
        OSError: if it cannot be written; what was there before is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:  # named before it is there: Ctrl-C may come between any two steps
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(target: Path) -> Path:
    """A name for what is being written, which nothing has; see `_UNFINISHED`."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")


def cache_folder() -> Path:
    """The cache of this user, or the folder that the environment variable INVREG_CACHE names; it may not exist."""
    from platformdirs import user_cache_path

    given = os.environ.get("INVREG_CACHE")
    return Path(given).expanduser() if given else user_cache_path("invreg")


def as_path(path: str | Path, where: str) -> Path:
    """The path as it is.

    Raises:
        SpecError: if it is not one.
    """
    if not isinstance(path, str | os.PathLike):
        given = f"an instance of {type(path).__name__}" if path is not None else "None"
        raise SpecError(given, where=where, expected="the path of a file or a folder, as text or a Path")
    return Path(path)


def usable_path(path: str | Path, where: str) -> Path:
    """The path, with `~` as the home folder.

    Raises:
        SpecError: if it is not a path, or no file system can have it: NUL, half a character, or too long.
    """
    try:
        found = as_path(path, where).expanduser()
        longest = max(map(len, map(os.fsencode, found.parts)), default=0)
        if b"\0" not in os.fsencode(found) and longest <= 255 and len(os.fsencode(found)) < 4096:
            return found
    except (ValueError, RuntimeError):  # not encodable; no home folder
        pass
    raise SpecError(f"{str(path)!r} cannot be a path", where=where, expected="a path that a file system can have")


def cannot_write(
    path: Path, error: OSError | NotImplementedError, expected: str, hint: str | None = None
) -> StoreError:
    """What to say of a file or a folder that cannot be written; see `InvregError` for the last two."""
    reason = getattr(error, "strerror", None) or error
    where = os.fsencode(path).decode("utf-8", "backslashreplace")
    return StoreError(f"cannot be written: {reason}", where=where, expected=expected, hint=hint)


def make_folder(path: Path, parameter: str) -> None:
    """Makes a folder, if it is not there, in which files can be made.

    Args:
        path: the folder.
        parameter: by which it was given.

    Raises:
        StoreError: if it cannot be made, or files in it; its exit status says that nothing has been computed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        refused = cannot_write(path, error, "a folder in which files can be made", f"another `{parameter}`")
        raise nothing_computed(refused) from None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which gets the name of `target` when the block ends without an error.

    Raises:
        OSError: if it cannot be made, or `target` holds files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    made = _beside(target)
    try:
        made.mkdir(0o700)
        yield made
        made.chmod(0o755)
        made.replace(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def remove_unfinished(folder: Path, *, leave: Collection[str] = ()) -> None:
    """Removes what writers that were killed have left in a folder and below; nobody may be writing there.

    Links are neither followed nor removed. What cannot be removed stays.

    Args:
        folder: where to look.
        leave: names of folders in it that are passed over.
    """
    for path, folders, files in os.walk(folder):
        here = Path(path)
        for name in filter(_UNFINISHED.fullmatch, files):
            if not (here / name).is_symlink():
                with suppress(OSError):
                    (here / name).unlink()
        for name in filter(_UNFINISHED.fullmatch, folders):
            if not (here / name).is_symlink():
                shutil.rmtree(here / name, ignore_errors=True)
        passed = leave if here == folder else ()
        folders[:] = [name for name in folders if name not in passed and not _UNFINISHED.fullmatch(name)]
