"""Downloads that survive interruption: what has arrived stays, and the next attempt asks for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg import DataError

if TYPE_CHECKING:
    from requests import Response

_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 20


def fetch(url: str, target: Path, md5: str, *, progress: bool = True) -> Path:
    """The file at `url`, as `target`, its checksum verified; nothing is done if it is there already.

    While it is under way the content is in `target` + `.part`, where an interrupted download goes on.

    Args:
        url: an http or https address.
        target: the file to be made.
        md5: its MD5 checksum, in hexadecimal.
        progress: show a progress bar on the terminal.

    Raises:
        DataError: if the server cannot be reached or refuses, or the content is not what it should be.
    """
    import pooch  # type: ignore[import-untyped]
    import requests

    download = _Resumable(target.with_name(target.name + ".part"), progress)
    # pooch reports each download on its own; here, the progress bar does.
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, f"md5:{md5}", fname=target.name, path=target.parent, downloader=download)
    except requests.RequestException as error:
        raise DataError(
            f"cannot be downloaded: {error}",
            where=url,
            expected="a server that answers",
            hint=f"run it again, it goes on where it stopped; or put the file at {target} yourself",
        ) from error
    except ValueError as error:  # pooch: the checksum is wrong (it has removed the file)
        raise DataError(
            str(error).strip(), where=url, expected=f"a file with the MD5 checksum {md5}", hint="download it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot be written: {error}", where=str(target), expected="a folder with enough space"
        ) from error
    return target


class _Resumable:
    """A downloader for pooch that keeps what it has in a file of its own until all is there."""

    def __init__(self, part: Path, progress: bool) -> None:
        self.part = part
        self.progress = progress

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        import requests

        self.part.parent.mkdir(parents=True, exist_ok=True)
        done = self.part.stat().st_size if self.part.exists() else 0
        # Compressed on the way, the bytes would not be those of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            # "Range not satisfiable": nothing is left to send, all is there. The checksum will tell.
            if response.status_code != requests.codes.requested_range_not_satisfiable:
                response.raise_for_status()
                self._append(response, done if response.status_code == requests.codes.partial_content else 0)
        self.part.replace(output_file)

    def _append(self, response: Response, done: int) -> None:
        from requests import ConnectionError
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            disable=not self.progress,
        )
        with self.part.open("ab" if done else "wb") as file, bar:
            task = bar.add_task(self.part.name.removesuffix(".part"), total=total, completed=done)
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
                done += len(chunk)
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done} of {total} bytes")
