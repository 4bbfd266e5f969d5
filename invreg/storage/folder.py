"""A folder that holds results: how its files are written, sealed and read, and what it says about a failure."""

from __future__ import annotations

import csv
import io
import json
import math
import traceback
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from invreg.errors import InvregError, StoreError, message_of
from invreg.files import cannot_write, write_whole
from invreg.storage.seal import SUFFIX, digest, parse_seal, seal_text

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from pydantic import TypeAdapter

_T = TypeVar("_T")

_FAILURE = "failure.json"
#: The name and form of the file before: the message, an empty line, the traceback.
_OLD_FAILURE = "failure.txt"


@cache
def _adapter(kind: type[_T]) -> TypeAdapter[_T]:
    """What reads a kind of record; making it takes longer than reading."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


class Stage(NamedTuple):
    """A stage of work whose files are sealed together.

    Attributes:
        mark: the file that is written last: the stage is done when it is there.
        remedy: what to do if a file is not as it was; `{path}` is the folder.
    """

    mark: str
    remedy: str


class Folder:
    """A folder whose files are written whole or not at all, checked when they are read, and named in every error.

    A stage of work ends with a seal, `<stage>.sha256`, which holds the hashes of its files. A file that is read is
    compared with it.

    Args:
        path: the folder; it is made when the first file is written.
        within: the folder that no file may leave, over links neither; the folder itself if None.
        is_sealed: whether a file must stand in a seal; runs of earlier versions have none.
    """

    #: The stages that are sealed here.
    stages: ClassVar[Mapping[str, Stage]] = {}

    def __init__(self, path: Path, *, within: Path | None = None, is_sealed: bool = False) -> None:
        self.path = path
        self.within = within or path
        self.is_sealed = is_sealed
        self._seals: dict[str, dict[str, str]] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    # -- writing

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_json(self, name: str, content: Any) -> None:
        self.write_bytes(name, json_bytes(content))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        self.write_bytes(name, table_bytes(table))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file.

        Raises:
            StoreError: if it cannot be written, or a link leads out of the folder.
        """
        path = self.inside(name)
        try:
            write_whole(path, content)
        except OSError as error:
            raise cannot_write(path, error, "a place for a file", "free space, or another `output`") from None

    def inside(self, name: str) -> Path:
        """The path of a file to write or remove.

        Raises:
            StoreError: if a link leads out of the folder: it may have come from anybody.
        """
        path = self.path / name
        if not path.parent.resolve().is_relative_to(self.within.resolve()):
            raise StoreError(
                f"a link leads out of {self.within}", where=str(path), expected="a file in it", hint="delete the link"
            )
        return path

    def write_stage(self, stage: str, files: Mapping[str, bytes]) -> None:
        """Writes the files of a stage, and their seal.

        The mark is removed first and written last. So a process that is killed leaves a stage that is done and sealed,
        or one that is not done.

        Raises:
            StoreError: if one cannot be written.
        """
        mark = self.stages[stage].mark
        self.remove(mark)
        for name in files:
            if name != mark:
                self.write_bytes(name, files[name])
        self.write_seal(stage, {name: digest(content) for name, content in files.items()})
        self.write_bytes(mark, files[mark])

    def write_seal(self, stage: str, digests: Mapping[str, str]) -> None:
        self.write_text(stage + SUFFIX, seal_text(digests))
        self._seals = None

    def remove(self, *names: str) -> None:
        """Removes files; those that are missing are passed over.

        Raises:
            StoreError: if a link leads out of the folder.
        """
        for name in names:
            try:
                self.inside(name).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot be removed: {error.strerror or error}",
                    where=str(self.path / name),
                    expected="a file that invreg has written",
                    hint="delete it",
                ) from None
        self._seals = None

    # -- seals

    @property
    def seals(self) -> dict[str, dict[str, str]]:
        """The hashes of files by name, for each stage that is sealed.

        Raises:
            StoreError: if a seal cannot be read.
        """
        if self._seals is None:
            found = {
                stage: self._seal(stage) for stage in self.stages
            }  # kept when it is whole: several threads may read
            self._seals = {stage: digests for stage, digests in found.items() if digests is not None}
        return self._seals

    def _seal(self, stage: str) -> dict[str, str] | None:
        """The hashes of a stage; None if it is not sealed, or has a broken seal without the mark: it is not done.

        Raises:
            StoreError: if the seal of a stage that is done cannot be read.
        """
        path = self.path / (stage + SUFFIX)
        if not path.is_file():
            return None
        try:
            digests = parse_seal(path.read_text(encoding="utf-8"))
            if self.stages[stage].mark not in digests:
                raise ValueError(f"the seal of another stage, without {self.stages[stage].mark}")
        except (OSError, ValueError) as error:
            if not self.is_done(stage):
                return None
            raise StoreError(f"cannot be read: {error}", where=str(path), hint=self.remedy(stage)) from None
        return digests

    def drop_broken_seal(self, stage: str) -> None:
        """Removes the seal of a stage that is about to be written anew, if it cannot be read.

        Raises:
            StoreError: if it cannot be removed.
        """
        try:
            self._seal(stage)
        except StoreError:
            self.remove(stage + SUFFIX)

    def check(self, name: str, content: bytes) -> None:
        """Compares the content of a file with its seal.

        Raises:
            StoreError: if the file is not the one that was sealed.
        """
        if not any(digests.get(name) == digest(content) for digests in self.seals.values()):
            self._seals = None  # read again: another object may have written the stage since
        sealed = {stage: digests[name] for stage, digests in self.seals.items() if name in digests}
        for stage, expected in sealed.items():
            if digest(content) != expected:
                raise StoreError(
                    "was changed after it had been written",
                    where=str(self.path / name),
                    expected=f"the file whose SHA-256 is {expected[:16]}... (see {stage}{SUFFIX})",
                    hint=self.remedy(stage, name),
                )
        if self.is_sealed and not sealed:
            lost = [stage for stage in self.stages if stage not in self.seals]
            raise StoreError(
                "stands in none of the seals of this folder",
                where=str(self.path / name),
                expected=" or ".join(stage + SUFFIX for stage in lost or self.stages),
                hint=self.remedy(next(iter(lost or self.stages)), name),
            )

    def remedy(self, stage: str, name: str = "") -> str:
        """What to do if a file of a stage is not as it was."""
        return self.stages[stage].remedy.format(path=self.path)

    def check_stages(self) -> None:
        """Compares all sealed files with their seals.

        Raises:
            StoreError: naming the first that is missing or was changed.
        """
        for digests in self.seals.values():
            for name in digests:
                self.read(name, bytes)

    def is_done(self, stage: str) -> bool:
        return self.has(self.stages[stage].mark)

    # -- reading

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read_text(self, name: str) -> str:
        return self.read(name, lambda content: content.decode())

    def read_json(self, name: str) -> Any:
        return self.read(name, json.loads)

    def read_as(self, name: str, kind: type[_T]) -> _T:
        """The content of a JSON file as a data class, a list, a mapping, ...: whatever pydantic can check."""
        return self.read(name, _adapter(kind).validate_json)  # type: ignore[arg-type] # classes can be hashed

    def read_table(self, name: str, text: Collection[str] = ("method", "image")) -> pd.DataFrame:
        """A table; the columns named in `text` stay text (a label may be `1e3` or `NA`)."""
        import pandas as pd

        def read(content: bytes) -> pd.DataFrame:
            names = next(csv.reader(io.StringIO(content.decode())), [])
            return pd.read_csv(
                io.BytesIO(content),
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,
                na_values={column: ["", "nan", "NaN"] for column in names if column not in text},
            )

        return self.read(name, read)

    def read_numbers(
        self, name: str, text: Collection[str] = ("method", "image"), *, may_be_empty: bool = False
    ) -> pd.DataFrame:
        """A table that has the columns named in `text`, and numbers in all others (or no rows, where it may)."""
        from pandas.api.types import is_numeric_dtype

        table, needed = self.read_table(name, text), set(text)
        others = [] if may_be_empty and table.empty else [key for key in table if key not in needed]
        wrong = [str(key) for key in others if not is_numeric_dtype(table[key])]
        if wrong or not needed <= set(table):
            what = f"text in {', '.join(wrong)}" if wrong else f"without {', '.join(sorted(needed - set(table)))}"
            raise StoreError(
                f"cannot be read: {what}",
                where=str(self.path / name),
                expected=f"columns {', '.join(text)} with text and others with numbers",
                hint=self._remedy_of(name),
            )
        return table

    def read_tensors(self, name: str) -> dict[str, torch.Tensor]:
        from safetensors.torch import load

        return self.read(name, load)

    def read(self, name: str, reader: Callable[[bytes], _T]) -> _T:
        """What `reader` makes of the content of a file, which is compared with its seal first.

        Raises:
            StoreError: if the file is missing, was changed, or cannot be read.
        """
        path = self.path / name
        try:
            content = path.read_bytes()
            self.check(name, content)
            return reader(content)
        except FileNotFoundError:
            raise self._missing(name) from None
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (each reader has its own way to say that a file is broken)
            raise StoreError(f"cannot be read: {error}", where=str(path), hint=self._remedy_of(name)) from None

    def _missing(self, name: str) -> StoreError:
        return StoreError("missing", where=str(self.path / name), expected="a finished run", hint=self._remedy_of(name))

    def _remedy_of(self, name: str) -> str:
        """What to do about a file that is missing or broken."""
        for stage, digests in self.seals.items():
            if name in digests:
                return self.remedy(stage, name)
        return "run the same spec again: what is done is kept"

    # -- failures of cells and analyses, which cost nothing but themselves

    @property
    def failure(self) -> str | None:
        """The message of the error that ended the work in this folder; None if it did not fail."""
        for name in (_FAILURE, _OLD_FAILURE):
            try:
                text = (self.path / name).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            return text.split("\n\n")[0] if name == _OLD_FAILURE else _message_of(text)
        return None

    @property
    def failure_status(self) -> int:
        """The exit status of the error that ended the work in this folder; 2 if the spec or the images are wrong."""
        try:
            return int(json.loads((self.path / _FAILURE).read_bytes())["exit_status"])
        except (OSError, ValueError, TypeError, KeyError):
            return InvregError.exit_status

    @property
    def failure_file(self) -> Path:
        """Where the failure lies with its traceback."""
        return self.path / (_FAILURE if self.has(_FAILURE) else _OLD_FAILURE)

    def write_failure(self, error: Exception) -> str:
        """Saves an error with its traceback; returns its message."""
        message = str(error) if isinstance(error, InvregError) else message_of(error)
        status = getattr(error, "exit_status", InvregError.exit_status)
        trace = "".join(traceback.format_exception(error)).splitlines()
        content = {"message": message, "exit_status": status, "traceback": trace}
        self.write_json(_FAILURE, content)
        return message

    def clear_failure(self) -> None:
        """Removes what `write_failure` has left."""
        self.remove(_FAILURE, _OLD_FAILURE)


def json_bytes(content: Any, indent: int | None = 2) -> bytes:
    separators = (",", ":") if indent is None else None
    return (json.dumps(_finite(content), indent=indent, separators=separators, allow_nan=False) + "\n").encode()


def table_bytes(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save(_apart(tensors))


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


def _message_of(text: str) -> str:
    """The message of a failure; a file that was changed is still the trace of one."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, TypeError, KeyError):
        return "failed; the file that said why was changed"


def _finite(value: Any) -> Any:
    """JSON knows no NaN or infinity: they are written as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
