"""Files of measurements through a model: `invreg reconstruct`.

The output folder holds the images, `reconstructions.csv`, `reconstructions.html`, and `reconstructions.jsonl`: a line
for each file that is done. The same command leaves out what stands there and has not changed since.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from invreg.components.interruption import hold_signals
from invreg.components.reconstructor import ReconstructsWithBound
from invreg.errors import CertificateError, InvregError, SpecError, StoreError, did_you_mean, message_of
from invreg.files import write_whole
from invreg.imaging.reading import WHITE, ImageFile, read_image
from invreg.imaging.samples import Depth, Pixels, shown
from invreg.imaging.writing import DEPTHS, ENDINGS, Format, write_image
from invreg.models.file_sources import Source
from invreg.plugins.registry import spec_of
from invreg.reporting.reconstructions import SHOWN, Entry, before_and_after, render_reconstructions
from invreg.running.listeners import TerminalProgress
from invreg.schema.component import Component
from invreg.text import MISSING, duration, number, plural

if TYPE_CHECKING:
    import pandas as pd

    from invreg.models.model import Model, Reconstruction

#: What lies beside the images.
TABLE, PAGE, RECORD = "reconstructions.csv", "reconstructions.html", "reconstructions.jsonl"


@dataclass(frozen=True)
class Options:
    """What is done with each file.

    Attributes:
        white: the stored value that is white, where it is not the largest one of the depth.
        data_error: Euclidean distance between the measurement and the exact one, on the scale of images in [0, 1].
        prove: whether distances are proven, for methods that can.
        format: to write; that of the file if None.
    """

    white: float | None = None
    data_error: float | None = None
    prove: bool = True
    format: Format | None = None

    @classmethod
    def checked(cls, white: float | None, data_error: float | None, prove: bool, form: str | None) -> Self:
        """Options as a person gives them.

        Raises:
            SpecError: if one of them makes no sense.
        """
        if white is not None and not 0 < white < math.inf:
            raise SpecError(
                f"white {white:g}", where="--white", expected="a positive number: the stored value of white"
            )
        if data_error is not None and not 0 <= data_error < math.inf:
            raise SpecError(f"data error {data_error:g}", where="--data-error", expected="a distance, 0 or more")
        if data_error is not None and not prove:
            raise SpecError("a data error without proofs", where="--no-proof", expected="one of the two options")
        known = {ending[1:]: kind for ending, kind in ENDINGS.items()}
        if form is not None and form.lower() not in known:
            raise SpecError(f"{form!r}", where="--format", expected=", ".join(DEPTHS), hint=did_you_mean(form, known))
        return cls(white, data_error, prove, None if form is None else known[form.lower()])


@dataclass(frozen=True)
class FileReconstruction:
    """What was made of a file: a row of the table.

    Attributes:
        file: as it was given.
        output: the image, relative to the output folder.
        height: of the image, in pixels.
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

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, and the number of channels where there are several."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)


@dataclass(frozen=True)
class ReconstructedFiles:
    """All files of a command.

    Attributes:
        folder: where the images are.
        files: those that are reconstructed.
        failures: why the others are not.
        kept: how many of the files an earlier call had reconstructed.
    """

    folder: Path
    files: Sequence[FileReconstruction]
    failures: dict[str, str]
    kept: int

    @property
    def page(self) -> Path:
        """Measurements and reconstructions side by side."""
        return self.folder / PAGE

    @property
    def summary(self) -> pd.DataFrame:
        """The table as people read it: the columns that say something, with short names."""
        import pandas as pd

        columns: dict[str, list[Any]] = {
            "file": [one.file for one in self.files],
            "size": ["x".join(map(str, one.size)) for one in self.files],
            "depth": [one.depth for one in self.files],
            "seconds": [one.seconds for one in self.files],
            "residual": [one.residual for one in self.files],
            "of noise": [one.expected_residual for one in self.files],
            "distance": [one.distance for one in self.files],
            "with data error": [one.data_distance for one in self.files],
            "rounding": [one.rounding for one in self.files],
        }
        shown = {name: values for name, values in columns.items() if any(value is not None for value in values)}
        return pd.DataFrame(shown)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each file."""
        import pandas as pd

        names = list(FileReconstruction.__dataclass_fields__)
        rows = [{**asdict(one), "notes": "; ".join(one.notes)} for one in self.files]
        return pd.DataFrame(rows, columns=names)


def reconstruct_files(
    model: Model, sources: Sequence[Source], output: Path, options: Options, progress: bool = True
) -> ReconstructedFiles:
    """Reconstructs each file, and writes the images and the table; a file that cannot be does not stop the others.

    Raises:
        CertificateError: if a data error is given and the model proves nothing.
        StoreError: if the output folder cannot be written.
    """
    if options.data_error is not None and not isinstance(model.reconstructor, ReconstructsWithBound):
        raise CertificateError(
            f"a data error of {options.data_error:g} for {type(model.reconstructor).__name__}, which proves nothing",
            where=f"model {model.name!r}",
            expected="a method with proofs, as iresnet and explicit_iresnet",
            hint="leave out --data-error",
        )
    record = _Record(output, _key(model, options))
    done: list[FileReconstruction] = []
    failures: dict[str, str] = {}
    kept = 0
    bars = TerminalProgress() if progress else None
    try:
        if bars is not None:
            bars.open()
        for number, source in enumerate(sources, 1):
            try:
                before = record.kept(source)
                if before is not None:
                    done.append(before)
                    kept += 1
                else:
                    if options.prove:
                        model.certify(progress=progress)
                    computed = _compute(model, source, options)
                    with hold_signals():
                        done.append(_keep(computed, source, output, options, record))
            except InvregError as error:
                failures[source.name] = str(error)
            except Exception as error:  # noqa: BLE001 (of this file; the next one may be good)
                failures[source.name] = message_of(error)
            if bars is not None:
                bars.invreg_progress(model.name, "files", number, len(sources), {"file": source.path.name})
    except KeyboardInterrupt as stop:
        stop.add_note(f"the reconstructions of {len(done)} of {len(sources)} files in {output}")
        raise
    finally:
        if bars is not None:
            bars.close()
        result = ReconstructedFiles(output, done, failures, kept)
        _write(output / TABLE, result.table.to_csv(index=False))
    _write(result.page, _page(model, sources, result, options))
    return result


def _page(model: Model, sources: Sequence[Source], result: ReconstructedFiles, options: Options) -> str:
    places = {one.target: one for one in sources}
    entries = [_entry(one, places[one.output], result.folder, options) for one in result.files[:SHOWN]]
    done = plural(len(result.files), "file")
    headline = f"{done} reconstructed by {model.name}."
    if result.failures:
        headline = f"{len(result.files)} of {plural(len(sources), 'file')} reconstructed by {model.name}."
    proven = [one.distance for one in result.files if one.distance is not None]
    if proven and len(proven) == len(result.files):
        files = max((one.distance or 0) + one.rounding for one in result.files)
        headline += f" Every computed image is proven to be within {number(max(proven))} of the exact reconstruction"
        headline += f", and every file, with the rounding of its values, within {number(files)}."
    if len(result.files) > SHOWN:
        headline += f" The first {SHOWN} are shown."
    facts = [
        ("Method", f"{model.name}: {type(model.reconstructor).__name__}"),
        ("Trained for", f"{type(model.problem.operator).__name__}, {type(model.problem.noise).__name__}"),
    ]
    if model.certificate is not None:
        facts.append(("Stability", model.certificate.sentence))
    return render_reconstructions("Reconstructions", headline, facts, entries, result.summary, result.failures)


def _entry(one: FileReconstruction, source: Source, folder: Path, options: Options) -> Entry:
    before = _unit(read_image(source.path, options.white).pixels)
    after = _unit(read_image(folder / one.output, one.white).pixels)
    numbers = [
        ("Size", f"{' × '.join(map(str, one.size))}, {one.depth}"),
        ("Time", duration(one.seconds)),
    ]
    if one.residual is not None:
        noise = MISSING if one.expected_residual is None else number(one.expected_residual)
        numbers.append(("Residual", f"{number(one.residual)} (the noise alone: {noise})"))
    if one.distance is not None:
        numbers.append(("Proven distance", f"{number(one.distance)} to the exact reconstruction"))
    if one.data_distance is not None:
        near = f"{number(one.data_distance)} to that of every measurement within {number(options.data_error or 0)}"
        numbers.append(("With data error", near))
    numbers.append(("Rounding", f"{number(one.rounding)} between the computed image and its file, on top"))
    return Entry(one.file, before_and_after(before, after, before.shape == after.shape), numbers, one.notes)


@dataclass(frozen=True)
class _Computed:
    measured: ImageFile
    found: Reconstruction
    seconds: float


def _compute(model: Model, source: Source, options: Options) -> _Computed:
    measured = read_image(source.path, options.white)
    start = time.perf_counter()
    found = model.reconstruct(_unit(measured.pixels), options.data_error, prove=options.prove)
    return _Computed(measured, found, time.perf_counter() - start)


def _unit(pixels: Pixels) -> NDArray[np.float32]:
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32, copy=False)


def _keep(computed: _Computed, source: Source, output: Path, options: Options, record: _Record) -> FileReconstruction:
    """Writes the image, reads it again to see how far it is from what was computed, and notes that it is done."""
    measured, found = computed.measured, computed.found
    target = output / source.target
    depth = _depth(measured.depth, ENDINGS[target.suffix.lower()], options)
    white = measured.white if depth == measured.depth else WHITE[depth]
    record.begin(source)
    write_image(target, found.image, depth, white, measured.layout)
    written = read_image(target, white).pixels
    rounding, cut = _difference(found.image, _unit(written), exact=white == 1)
    notes = list(found.notes)
    if source.path.suffix.lower() not in ENDINGS and options.format is None:
        notes.append(f"written as PNG: {source.path.suffix or 'a file without an ending'} is only read")
    if cut and depth != "float32":
        notes.append(f"{cut:.2%} of the values are below black or above white, and were cut off")
    channels, height, width = written.shape
    done = FileReconstruction(
        file=source.name,
        output=source.target,
        height=height,
        width=width,
        channels=channels,
        depth=depth,
        white=white,
        seconds=computed.seconds,
        residual=found.residual,
        expected_residual=found.expected_residual,
        distance=found.distance,
        data_distance=found.data_distance,
        rounding=rounding,
        notes=tuple(notes),
    )
    record.end(source, done)
    return done


def _depth(measured: Depth, form: Format, options: Options) -> Depth:
    """Of the file to write: as measured; floating point in TIFF and arrays that are asked for."""
    if options.format is not None and "float32" in DEPTHS[form]:
        return "float32"
    if measured in DEPTHS[form]:
        return measured
    return "uint16" if form == "png" else DEPTHS[form][0]


def _difference(image: NDArray[Any], written: NDArray[Any], *, exact: bool) -> tuple[float, float]:
    """Euclidean distance between an image and what its file holds, and the share of values outside [0, 1]."""
    computed, stands = image.astype(np.float64), written.astype(np.float64)
    distance = float(np.linalg.norm(computed - stands))
    if not exact:  # values divided by white are read as the nearest float32
        distance += 2.0**-22 * float(np.linalg.norm(stands))
    return distance, float(((computed < 0) | (computed > 1)).mean())


class _Record:
    """The lines of `reconstructions.jsonl`: which outputs are ours, and which are done.

    Args:
        output: the output folder, which is made.
        key: of the model and the options; what was done with others is done again.

    Raises:
        StoreError: if the folder cannot be written.
    """

    def __init__(self, output: Path, key: str) -> None:
        self._output, self._key = output, key
        self._done: dict[str, dict[str, Any]] = {}
        self._ours: set[str] = set()
        self._path = output / RECORD
        try:
            output.mkdir(parents=True, exist_ok=True)
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            self._append("" if text.endswith("\n") or not text else "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _unwritable(self._path, error) from error
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
                hint="another --output, or move the file",
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
            raise _unwritable(self._path, error) from error


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot be written: {getattr(error, 'strerror', None) or error}",
        where=shown(path),
        expected="an output folder that you may write to",
        hint="another --output",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(model: Model, options: Options) -> str:
    """A hash of the components, the weights and the options."""
    digest = hashlib.sha256()
    parts = (model.reconstructor, model.problem.operator, model.problem.noise)
    digest.update(json.dumps([model.name, asdict(options), *map(_described, parts)]).encode())
    for name, tensor in sorted(model.reconstructor.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _described(component: Component | None) -> Any:
    try:
        return None if component is None else spec_of(component)
    except SpecError:  # not registered
        return repr(component)
