"""Files of measurements through a model: `invreg reconstruct`.

The output folder holds the images, `reconstructions.csv`, `reconstructions.html`, and `reconstructions.jsonl`: a line
for each file that is done. The same command leaves out what stands there and has not changed since.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from invreg.computing.interruption import hold_signals
from invreg.errors import InvregError, SpecError, message_of, near_name
from invreg.files import cannot_write, write_whole
from invreg.imaging.reading import WHITE, ImageFile, read_image, read_volume
from invreg.imaging.samples import Depth, check_white, to_unit
from invreg.imaging.writing import DEPTHS, ENDINGS, Format, write_image
from invreg.models.arrays import NoMeasurement
from invreg.models.file_record import FileReconstruction, Record, key_of
from invreg.models.file_sources import Source
from invreg.reporting.reconstructions import SHOWN, Entry, before_and_after, render_reconstructions
from invreg.running.progress import TerminalProgress
from invreg.text import MISSING, duration, number, plural

if TYPE_CHECKING:
    import pandas as pd

    from invreg.models.model import Model, Reconstruction

#: What lies beside the images.
TABLE, PAGE = "reconstructions.csv", "reconstructions.html"


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
        check_white(white, "white")
        known = {ending[1:]: kind for ending, kind in ENDINGS.items()}
        if form is not None and form.lower() not in known:
            near = near_name(form.lower(), known)
            hint = f"did you mean {near!r}?" if near else None
            raise SpecError(f"{form!r}", where="format", expected=f"one of {', '.join(DEPTHS)}", hint=hint)
        return cls(white, data_error, prove, None if form is None else known[form.lower()])


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
    def units(self) -> str:
        """What is to be known of the numbers in the summary."""
        residuals = "residuals are root mean squares; " if any(one.residual is not None for one in self.files) else ""
        proven = any(one.distance is not None for one in self.files)
        euclidean = "distances and rounding are" if proven else "rounding is"
        return (
            f"White is 1; {residuals}{euclidean} Euclidean, over all values of an image: e in each of n values is e "
            "times the square root of n."
        )

    @property
    def notes(self) -> Sequence[str]:
        """What was noted of the files: one line for each note, with the file, or how many files have it."""
        files: dict[str, list[str]] = {}
        for one in self.files:
            for note in one.notes:
                files.setdefault(note, []).append(one.file)
        return [
            f"{names[0] if len(names) == 1 else plural(len(names), 'file')}: {note}" for note, names in files.items()
        ]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each file; of one that is not reconstructed, its name and why."""
        import pandas as pd

        names = [*FileReconstruction.__dataclass_fields__, "error"]
        rows: list[dict[str, Any]] = [{**asdict(one), "notes": "; ".join(one.notes)} for one in self.files]
        rows += [{"file": name, "error": " ".join(error.split())} for name, error in self.failures.items()]
        whole = dict.fromkeys(("height", "width", "channels", "slices"), "Int64")
        return pd.DataFrame(rows, columns=names).astype(whole)


def reconstruct_files(
    model: Model, sources: Sequence[Source], output: Path, options: Options, progress: bool = True
) -> ReconstructedFiles:
    """Reconstructs each file, and writes the images and the table; a file that cannot be does not stop the others.

    Raises:
        SpecError: if the data error is not a distance, or to be without proofs.
        CertificateError: if a data error is given and the model proves nothing.
        StoreError: if the output folder cannot be written.
    """
    model.check(options.data_error, options.prove)
    record = Record(output, key_of(model, asdict(options)))
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
                    computed = _compute(model, source, options, progress)
                    with hold_signals():
                        done.append(_keep(model, computed, source, output, options, record))
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
    entries = [_entry(model, one, places[one.output], result.folder, options) for one in result.files[:SHOWN]]
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
    return render_reconstructions(
        "Reconstructions", headline, facts, entries, result.summary, result.units, result.failures
    )


def _read(model: Model, path: Path, white: float | None) -> ImageFile:
    """What the model takes in a file: an image, or a volume."""
    return read_image(path, white) if len(model.image_shape) == 3 else read_volume(path, white)


def _entry(model: Model, one: FileReconstruction, source: Source, folder: Path, options: Options) -> Entry:
    before = to_unit(_read(model, source.path, options.white).pixels)
    after = to_unit(_read(model, folder / one.output, one.white).pixels)
    numbers = [
        ("Size", f"{' × '.join(map(str, one.size))}, {one.depth}"),
        ("Time", duration(one.seconds)),
    ]
    if one.residual is not None:
        noise = MISSING if one.expected_residual is None else number(one.expected_residual)
        numbers.append(("Residual", f"{number(one.residual)} (the noise alone: {noise})"))
    if one.distance is not None:
        each = number(one.distance / math.sqrt(one.height * one.width * one.channels * (one.slices or 1)))
        what = f"{number(one.distance)} to the exact reconstruction: {each} in each value, as a root mean square"
        numbers.append(("Proven distance", what))
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


def _compute(model: Model, source: Source, options: Options, progress: bool) -> _Computed:
    measured = _read(model, source.path, options.white)
    if options.prove:
        model.certify(progress=progress)  # once, and not in the time of this file
    start = time.perf_counter()
    try:
        found = model.reconstruct(to_unit(measured.pixels), options.data_error, prove=options.prove)
    except NoMeasurement as error:  # a file holds no batch
        error.expected = error.expected_of_one
        raise
    return _Computed(measured, found, time.perf_counter() - start)


def _keep(
    model: Model, computed: _Computed, source: Source, output: Path, options: Options, record: Record
) -> FileReconstruction:
    """Writes the image, reads it again to see how far it is from what was computed, and notes that it is done."""
    measured, found = computed.measured, computed.found
    target = output / source.target
    depth = _depth(measured.depth, ENDINGS[target.suffix.lower()], options)
    white = measured.white if depth == measured.depth else WHITE[depth]
    record.begin(source)
    write_image(target, found.image, depth, white, measured.layout)
    written = _read(model, target, white).pixels
    rounding, cut = _difference(found.image, to_unit(written), exact=white == 1)
    notes = list(found.notes)
    if source.path.suffix.lower() not in ENDINGS and options.format is None:
        notes.append(f"written as PNG: {source.path.suffix or 'a file without an ending'} is only read")
    if cut and depth != "float32":
        notes.append(f"{cut:.2%} of the values are below black or above white, and were cut off")
    channels, *slices, height, width = written.shape
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
        slices=slices[0] if slices else None,
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


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise cannot_write(path, error, "a file in the output folder", "another `output`") from None
