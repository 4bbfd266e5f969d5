"""Which files `invreg reconstruct` is to reconstruct, and where each of the images goes."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from invreg.errors import DataError, SpecError
from invreg.files import usable_path
from invreg.imaging.finding import find_images
from invreg.imaging.samples import shown
from invreg.imaging.writing import ENDINGS, Format

#: The ending of each format, where another one is asked for than the file has.
_ENDING: dict[Format, str] = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg", "npy": ".npy", "npz": ".npz"}


@dataclass(frozen=True)
class Source:
    """A file to reconstruct.

    Attributes:
        path: where it lies.
        target: of its reconstruction, relative to the output folder, with `/`.
    """

    path: Path
    target: str

    @property
    def name(self) -> str:
        """As it was given."""
        return shown(self.path)


def find_sources(files: Iterable[str | Path], output: Path, form: Format | None = None) -> list[Source]:
    """The files to reconstruct, each once: files, those in folders, and those that fit a pattern.

    Files of a folder keep their places below it; all others are put beside each other.

    Args:
        files: paths of files and folders, and patterns with `*`, `?` and `**`.
        output: the output folder; what lies in it is left out of folders.
        form: the format to write, if it is not that of each file.

    Raises:
        DataError: if a folder or a pattern holds no image.
        SpecError: if two files would be written to one place, or a file would be overwritten.
    """
    found: dict[Path, Source] = {}
    for path, name in (one for given in files for one in _below(usable_path(given, "FILE"), output)):
        found.setdefault(path.resolve(), Source(path, _target(name, form)))
    sources = list(found.values())
    inputs = {identity: one for one in sources if (identity := _identity(one.path))}
    places: dict[str, Source] = {}
    for one in sources:
        other = places.setdefault(one.target.casefold(), one)
        if other is not one:
            raise SpecError(
                f"{other.name} and {one.name} would both be written to {one.target}",
                where="reconstruct",
                expected="files of different names",
                hint="the folder above them, or two output folders",
            )
        if overwritten := inputs.get(_identity(output / one.target) or (-1, -1)):
            raise SpecError(
                f"the reconstruction of {one.name} would overwrite the measurement {overwritten.name}",
                where="reconstruct",
                expected="an output folder without measurements",
                hint="another `output`",
            )
    return sources


def _below(path: Path, output: Path) -> Iterator[tuple[Path, str]]:
    """The files of an argument, with the name that each has in the output folder."""
    if path.is_dir():
        within = output.resolve()
        names = [name for name in find_images(path, arrays=True) if within not in (path / name).resolve().parents]
        if not names:
            raise DataError(
                "holds no images but those in the output folder", where=shown(path), expected="a folder of measurements"
            )
        yield from ((path / name, name) for name in names)
    elif path.exists() or not glob.has_magic(str(path)):
        yield path, path.name
    else:
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)
        if not matches:
            raise DataError("no file fits this pattern", where=str(path), expected="a pattern of existing files")
        for match in matches:
            yield from _below(Path(match), output)


def _target(name: str, form: Format | None) -> str:
    path = Path(name)
    if form is None:
        form = ENDINGS.get(path.suffix.lower(), "png")
    kept = ENDINGS.get(path.suffix.lower()) == form
    return (path if kept else path.with_suffix(_ENDING[form])).as_posix()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
