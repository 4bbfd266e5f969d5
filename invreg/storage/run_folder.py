"""The run folder: the unit of truth of a run.

Every file is written beside its place and then moved there, so that a file that exists is whole, whenever the run is
killed. A stage of work counts as done when its last file exists.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import traceback
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.components.analyzer import Findings
from invreg.errors import InvregError, SpecError, StoreError
from invreg.specs.reading import read_spec
from invreg.specs.spec import Spec
from invreg.specs.yaml import dump_yaml

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.figure import Figure


_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")


class RunFolder:
    """A folder that holds a run, finished or not.

    ```text
    spec.yaml  environment.json  run.json        what was run, with what, on which images
    metrics.csv  summary.csv  report.html        the results
    methods/<label>/                             reconstructor.json, weights.safetensors, log.csv, training.json,
                                                 metrics.csv, reconstructions.safetensors; training/ while it trains;
                                                 certificate.json if it was certified
    analyses/<name>/                             analyzer.json, findings.json, tables/*.csv, arrays.npz, figures/*.svg
                                                 and *.png, failure.txt if it failed
    ```

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, output: Path, spec: Spec, digest: str) -> RunFolder:
        """The folder of this spec below `output`; an existing one is taken up again.

        Raises:
            StoreError: if it cannot be written, or holds another spec.
        """
        # Letters lose their accents: file systems differ in how they write them.
        plain = unicodedata.normalize("NFKD", spec.title).encode("ascii", "ignore").decode()
        slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48] or "run"
        folder = cls(output / f"{slug}-{digest[:8]}")
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder.path):
                pass
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror or error}",
                where=str(folder.path),
                expected="a folder in which files can be made",
                hint="another --output",
            ) from None
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was made before.

        Raises:
            StoreError: if there is no run.
        """
        if not (path / "spec.yaml").is_file():
            raise _no_run(path)
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from writing to the same run; released by the system if this one dies."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                "is being written by another process", where=str(self.path), hint="wait for it, or another --output"
            ) from None
        try:
            yield
        finally:
            lock.release()

    # -- the run as a whole

    @property
    def spec(self) -> Spec:
        """The resolved spec."""
        try:
            return read_spec(self.path / "spec.yaml")
        except SpecError as error:
            raise StoreError(f"does not hold a spec: {error}", where=str(self.path / "spec.yaml")) from None

    def write_spec(self, spec: Spec) -> None:
        self.write_text("spec.yaml", dump_yaml(spec.model_dump(mode="json")))

    def method(self, label: str) -> Path:
        """The folder of a method."""
        return self.path / "methods" / label

    def analysis(self, key: str) -> Path:
        """The folder of an analysis."""
        return self.path / "analyses" / key

    # -- writing, whole or not at all

    def write_text(self, name: str | Path, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_json(self, name: str | Path, content: Any) -> None:
        self.write_text(name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def write_table(self, name: str | Path, table: pd.DataFrame) -> None:
        self.write_text(name, table.to_csv(index=False, lineterminator="\n"))

    def write_tensors(self, name: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        self.write_bytes(name, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}))

    def write_bytes(self, name: str | Path, content: bytes) -> None:
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
            temporary.chmod(0o644)
            temporary.replace(target)
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror or error}",
                where=str(target),
                hint="free space, or another --output",
            ) from None

    # -- reading back

    def has(self, name: str | Path) -> bool:
        return (self.path / name).is_file()

    def read_json(self, name: str | Path) -> Any:
        return self._read(name, lambda path: json.loads(path.read_text(encoding="utf-8")))

    def read_text(self, name: str | Path) -> str:
        text: str = self._read(name, lambda path: path.read_text(encoding="utf-8"))
        return text

    def read_table(self, name: str | Path, text: Iterable[str] = ("method", "image")) -> pd.DataFrame:
        """A table; the columns named in `text` stay text, whatever they hold (a label may be `1e3` or `NA`)."""
        import pandas as pd

        def read(path: Path) -> pd.DataFrame:
            numbers = set(pd.read_csv(path, nrows=0).columns) - set(text)
            return pd.read_csv(
                path,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,
                na_values={column: ["", "nan", "NaN"] for column in numbers},
            )

        table: pd.DataFrame = self._read(name, read)
        return table

    def read_tensors(self, name: str | Path) -> dict[str, torch.Tensor]:
        from safetensors.torch import load

        tensors: dict[str, torch.Tensor] = self._read(name, lambda path: load(path.read_bytes()))
        return tensors

    def _read(self, name: str | Path, reader: Any) -> Any:
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

    def read_log(self, label: str) -> pd.DataFrame:
        """The training log of a method; empty if nothing was trained."""
        import pandas as pd

        path = Path("methods") / label / "log.csv"
        is_empty = self.has(path) and not (self.path / path).read_text(encoding="utf-8").strip()
        return pd.DataFrame() if is_empty else self.read_table(path)

    # -- failures of cells and analyses, which cost nothing but themselves

    def write_failure(self, base: str | Path, error: Exception) -> str:
        """Saves the error that is being handled, with its traceback, as `failure.txt`; returns its message."""
        message = str(error) if isinstance(error, InvregError) else f"{type(error).__name__}: {error}"
        self.write_text(Path(base) / "failure.txt", f"{message}\n\n{traceback.format_exc()}")
        return message

    def clear_failure(self, base: str | Path) -> None:
        """Takes back what `write_failure` has left."""
        (self.path / base / "failure.txt").unlink(missing_ok=True)

    # -- findings of analyses

    def write_findings(self, key: str, findings: Findings) -> None:
        """Saves findings; `findings.json` is written last and marks them as whole.

        Raises:
            StoreError: if the name of a table cannot name a file.
        """
        import io

        import numpy as np

        base = Path("analyses") / key
        for name in findings.tables:
            _check_name("table", name, key)
        for name, table in findings.tables.items():
            self.write_table(base / "tables" / f"{name}.csv", table)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **findings.arrays)  # type: ignore[arg-type]
        self.write_bytes(base / "arrays.npz", buffer.getvalue())
        # CSV does not say which columns hold text: this does.
        text = {name: _text_columns(table) for name, table in findings.tables.items()}
        names = {"tables": text, "arrays": list(findings.arrays)}
        self.write_json(base / "findings.json", {"text": findings.text, "scalars": findings.scalars, **names})

    def forget_findings(self, key: str) -> None:
        """Removes what marks findings and figures as whole; the files themselves are written over."""
        for name in ("findings.json", "figures.json"):
            (self.path / "analyses" / key / name).unlink(missing_ok=True)

    def read_findings(self, key: str) -> Findings:
        import numpy as np

        base = Path("analyses") / key
        content = self.read_json(base / "findings.json")
        for name in content["tables"]:
            _check_name("table", name, key)
        tables = {
            name: self.read_table(base / "tables" / f"{name}.csv", text) for name, text in content["tables"].items()
        }

        def arrays(path: Path) -> dict[str, Any]:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in content["arrays"]}

        return Findings(content["scalars"], tables, self._read(base / "arrays.npz", arrays), content["text"])

    def write_figures(self, key: str, figures: Mapping[str, Figure]) -> None:
        """Saves figures as SVG and PNG; `figures.json` is written last and marks them as whole.

        Raises:
            StoreError: if the name of a figure cannot name a file.
        """
        import io

        from matplotlib import rc_context

        for name in figures:
            _check_name("figure", name, key)
        for name, figure in figures.items():
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                # Text stays text, and nothing in the file depends on the time or a random salt.
                with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
                    # A figure's label says in words what it shows; reports use it as caption and alternative text.
                    title = {"Title": figure.get_label()} if figure.get_label() else {}
                    metadata = {**title, "Date": None} if suffix == "svg" else title
                    figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
                self.write_bytes(Path("analyses") / key / "figures" / f"{name}.{suffix}", buffer.getvalue())
        self.write_json(Path("analyses") / key / "figures.json", list(figures))


def _check_name(kind: str, name: str, key: str) -> None:
    """Names come from anybody's analyses, and files named after them belong into the folder of the analysis."""
    if not _FILE_NAME.fullmatch(name) or name.endswith((".", " ")):
        raise StoreError(
            f"the {kind} {name!r} cannot name a file",
            where=f"the findings of {key!r}",
            expected="letters, digits, space and _ . + -, beginning with a letter or digit",
        )


def _no_run(path: Path) -> StoreError:
    """What is wrong with a folder that holds no run, and where there may be one."""
    expected = "the folder that `invreg run` printed"
    if not path.is_dir():
        what = "is a file, no folder" if path.exists() else "no such folder"
        return StoreError(what, where=str(path), expected=expected)
    if (path / "study.yaml").is_file():
        return StoreError(
            "holds a study, no run", where=str(path), expected="a single run", hint=f"a cell below {path / 'cells'}"
        )
    inside = sorted(child.parent for name in ("spec.yaml", "study.yaml") for child in path.glob(f"*/{name}"))
    return StoreError(
        "holds no run and no study (neither spec.yaml nor study.yaml is there)",
        where=str(path),
        expected=expected,
        hint=f"one of those in it: {', '.join(map(str, inside[:5]))}" if inside else None,
    )


def _text_columns(table: pd.DataFrame) -> list[str]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return [str(name) for name, dtype in table.dtypes.items() if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype))]


def _finite(value: Any) -> Any:
    """JSON knows no NaN or infinity: they are written as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
