"""A folder that holds results: how its files are written and read, and what it says about a failure."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from invreg.errors import InvregError, StoreError
from invreg.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    import torch

_T = TypeVar("_T")

_FAILURE = "failure.json"
#: The name and form of the file before: the message, an empty line, the traceback.
_OLD_FAILURE = "failure.txt"


class Folder:
    """A folder whose files are written whole or not at all, and named in the error if one cannot be read.

    Args:
        path: the folder; it is made when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    # -- writing

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        self.write_text(name, table.to_csv(index=False, lineterminator="\n"))

    def write_tensors(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        self.write_bytes(name, save(_apart(tensors)))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file.

        Raises:
            StoreError: if it cannot be written.
        """
        try:
            write_whole(self.path / name, content)
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror or error}",
                where=str(self.path / name),
                hint="free space, or another --output",
            ) from None

    def remove(self, *names: str) -> None:
        """Removes files; those that are missing are passed over."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    # -- reading

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read_text(self, name: str) -> str:
        return self.read(name, lambda path: path.read_text(encoding="utf-8"))

    def read_json(self, name: str) -> Any:
        return self.read(name, lambda path: json.loads(path.read_text(encoding="utf-8")))

    def read_record(self, name: str, kind: type[_T]) -> _T:
        """A data class from the JSON file that holds its fields."""
        return self.read(name, lambda path: kind(**json.loads(path.read_text(encoding="utf-8"))))

    def read_table(self, name: str, text: Iterable[str] = ("method", "image")) -> pd.DataFrame:
        """A table; the columns named in `text` stay text (a label may be `1e3` or `NA`)."""
        import pandas as pd

        def read(path: Path) -> pd.DataFrame:
            numbers = set(pd.read_csv(path, nrows=0).columns) - set(text)
            return pd.read_csv(
                path,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,
                na_values={column: ["", "nan", "NaN"] for column in numbers},
            )

        return self.read(name, read)

    def read_tensors(self, name: str) -> dict[str, torch.Tensor]:
        from safetensors.torch import load

        return self.read(name, lambda path: load(path.read_bytes()))

    def read(self, name: str, reader: Callable[[Path], _T]) -> _T:
        """What `reader` makes of a file.

        Raises:
            StoreError: if the file is missing or cannot be read.
        """
        path = self.path / name
        try:
            return reader(path)
        except FileNotFoundError:
            raise StoreError(
                "missing",
                where=str(path),
                expected="a finished run",
                hint="run the same spec again: what is done is kept",
            ) from None
        except Exception as error:  # noqa: BLE001 (each reader has its own way to say that a file is broken)
            raise StoreError(
                f"cannot be read: {error}", where=str(path), hint="delete this file and run the same spec again"
            ) from None

    # -- failures of cells and analyses, which cost nothing but themselves

    @property
    def failure(self) -> str | None:
        """The message of the error that ended the work in this folder; None if it did not fail."""
        if self.has(_FAILURE):
            return str(self.read_json(_FAILURE)["message"])
        if self.has(_OLD_FAILURE):
            return self.read_text(_OLD_FAILURE).split("\n\n")[0]
        return None

    @property
    def failure_file(self) -> Path:
        """Where the failure lies with its traceback."""
        return self.path / (_FAILURE if self.has(_FAILURE) else _OLD_FAILURE)

    def write_failure(self, error: Exception) -> str:
        """Saves an error that is being handled, with its traceback; returns its message."""
        message = str(error) if isinstance(error, InvregError) else f"{type(error).__name__}: {error}"
        self.write_json(_FAILURE, {"message": message, "traceback": traceback.format_exc().splitlines()})
        return message

    def clear_failure(self) -> None:
        """Removes what `write_failure` has left."""
        self.remove(_FAILURE, _OLD_FAILURE)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, each in memory of its own: safetensors refuses what shares it, as tied weights do.

    A module that ties them gets the same values for each of them when they are loaded, and stays tied.
    """
    found: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, given in tensors.items():
        tensor = given.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        found[name] = tensor
    return found


def _finite(value: Any) -> Any:
    """JSON knows no NaN or infinity: they are written as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
