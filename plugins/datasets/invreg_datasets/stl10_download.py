"""Fetches STL-10: `python -m invreg_datasets.stl10_download FOLDER`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from invreg import DataError, InvregError
from invreg_datasets.download import fetch
from invreg_datasets.stl10 import FOLDER, SOURCES, holds_images, open_images

URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
MD5 = "91f7769df0f17e558f3565bffb0821dfb"


def download_stl10(root: Path | str, url: str = URL, md5: str = MD5, *, progress: bool = True) -> Path:
    """Downloads and unpacks the images of STL-10 (2.6 GB, 3.1 GB unpacked) unless they are there, whole.

    An interrupted download is continued by the next call.

    Args:
        root: the folder that `stl10_binary` is made in; created if it does not exist.
        url: where to fetch the archive.
        md5: checksum of the archive.
        progress: show a progress bar.

    Returns:
        The folder `root/stl10_binary`.

    Raises:
        DataError: if the download fails, or the archive is not what it should be.
    """
    folder = Path(root).expanduser() / FOLDER
    if all(holds_images(folder / name) for name in SOURCES.values()):
        return folder
    archive = fetch(url, folder.parent / "stl10_binary.tar.gz", md5, progress=progress)
    _unpack(archive, folder)
    archive.unlink()
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Takes the files of images out of the archive, each one atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = set(SOURCES.values())
    try:
        with tarfile.open(archive) as content:
            for member in content:
                name = PurePosixPath(member.name).name
                source = content.extractfile(member) if name in missing else None
                if source is None:
                    continue
                partial = folder / f"{name}.part"
                with source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                partial.replace(folder / name)
                missing.discard(name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be unpacked: {error}", where=str(archive), expected="a gzipped tar archive") from error
    if missing:
        raise DataError(f"lacks {', '.join(sorted(missing))}", where=str(archive), expected="the archive of STL-10")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m invreg_datasets.stl10_download", description=__doc__)
    parser.add_argument("folder", help="where stl10_binary is put")
    parser.add_argument("--url", default=URL, help="another address of the archive (default: %(default)s)")
    parser.add_argument("--md5", default=MD5, help="checksum of that archive")
    given = parser.parse_args(arguments)
    try:
        folder = download_stl10(given.folder, given.url, given.md5)
        for name in SOURCES.values():
            open_images(folder / name)
    except InvregError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
