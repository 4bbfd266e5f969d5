"""What `invreg reconstruct` remembers of an output folder: `reconstructions.jsonl`, a line for each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.errors import SpecError, StoreError
from invreg.files import cannot_write, make_folder
from invreg.imaging.samples import Depth, shown
from invreg.models.file_sources import Source
from invreg.plugins.registry import spec_of
from invreg.schema.component import Component

if TYPE_CHECKING:
    from invreg.models.model import Model

RECORD = "reconstructions.jsonl"


@dataclass(frozen=True)
class FileReconstruction:
    """What was made of a file: a row of the table.

    Attributes:
        file: as it was given.
        output: the image, relative to the output folder.
        height: of the image, in pixels; of a volume, that of its slices.
        width: of the image, in pixels.
        channels: of the image.
        depth: of the values in the written file.
        white: the value that is white in it.
        seconds: that the reconstruction took, with its proof; reading and writing come on top.
        residual: root mean square of F(x) - z.
        expected_residual: what it would be if x were the true image.
        distance: proven Euclidean distance to the exact reconstruction, before the image was written.
        data_distance: proven distance to the exact reconstruction of every measurement within the data error.
        rounding: distance between the image as it was computed and as it stands in the file; what is in the file is
            proven to be within the sum of the two.
        notes: what was done to it, and the warnings.
        slices: of a volume; None for an image.
    """

    file: str
    output: str
    height: int
    width: int
    channels: int
    depth: Depth
    white: float
    seconds: float
    residual: float | None
    expected_residual: float | None
    distance: float | None
    data_distance: float | None
    rounding: float
    notes: tuple[str, ...]
    slices: int | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Slices of a volume, height and width, and the number of channels where there are several."""
        sides = (self.height, self.width) if self.slices is None else (self.slices, self.height, self.width)
        return sides if self.channels == 1 else (*sides, self.channels)


class Record:
    """The lines of `reconstructions.jsonl`: which outputs are ours, and which are done.

    Args:
        output: the output folder, which is made.
        key: of the model and the options, see `key_of`; what was done with others is done again.

    Raises:
        StoreError: if the folder cannot be written.
    """

    def __init__(self, output: Path, key: str) -> None:
        self._output, self._key = output, key
        self._done: dict[str, dict[str, Any]] = {}
        self._ours: set[str] = set()
        self._path = output / RECORD
        make_folder(output, "output")
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        except OSError as error:
            raise StoreError(
                f"cannot be read: {error.strerror or error}",
                where=shown(self._path),
                expected="what an earlier call has noted of this folder",
                hint="another `output`, or delete the file",
            ) from None
        self._append("" if text.endswith("\n") or not text else "\n")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self._ours.add(entry["output"])
                if entry.get("row"):
                    self._done[entry["output"]] = entry
            except (ValueError, KeyError, TypeError):
                continue  # a line that a kill has cut short

    def kept(self, source: Source) -> FileReconstruction | None:
        """What an earlier call made of the file, if neither it nor the output has changed since.

        Raises:
            StoreError: if something else lies in the place of the output.
        """
        target = self._output / source.target
        if not target.exists():
            return None
        if source.target not in self._ours:
            raise StoreError(
                "exists, and is not a reconstruction by invreg",
                where=shown(target),
                expected="a free place",
                hint="another `output`, or move the file",
            )
        entry = self._done.get(source.target)
        if entry is None or entry["key"] != self._key or not source.path.is_file():
            return None
        if entry["input_sha256"] != _sha256(source.path) or entry["output_sha256"] != _sha256(target):
            return None
        return FileReconstruction(**{**entry["row"], "file": source.name, "notes": tuple(entry["row"]["notes"])})

    def begin(self, source: Source) -> None:
        """Says that the output is ours, before it is there."""
        if source.target not in self._ours:
            self._ours.add(source.target)
            self._append(json.dumps({"output": source.target}) + "\n")

    def end(self, source: Source, done: FileReconstruction) -> None:
        """Says that it is done."""
        entry = {
            "output": source.target,
            "key": self._key,
            "input_sha256": _sha256(source.path),
            "output_sha256": _sha256(self._output / source.target),
            "row": asdict(done),
        }
        self._append(json.dumps(entry) + "\n")

    def _append(self, text: str) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise cannot_write(self._path, error, "a file in the output folder", "another `output`") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(model: Model, options: Mapping[str, Any]) -> str:
    """A hash of the components, the weights and the options."""
    digest = hashlib.sha256()
    parts = (model.reconstructor, model.problem.operator, model.problem.noise)
    digest.update(json.dumps([model.name, dict(options), *map(_described, parts)]).encode())
    for name, tensor in sorted(model.reconstructor.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _described(component: Component | None) -> Any:
    try:
        return None if component is None else spec_of(component)
    except SpecError:  # not registered
        return repr(component)
