"""The folder of one method of a run: the trained reconstructor, how it was trained, and how it reconstructs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from invreg.components.certificate import StabilityCertificate
from invreg.components.trainer import TrainedMethod, TrainingLog
from invreg.errors import CertificateError, StoreError
from invreg.storage.folder import Folder, Stage, json_bytes, table_bytes, tensor_bytes
from invreg.storage.proofs import is_proven, note_proof
from invreg.storage.seal import digest

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from invreg.components.reconstructor import Reconstructor
    from invreg.specs.methods import ReconstructorBuilder

_RECONSTRUCTOR, _WEIGHTS = "reconstructor.json", "weights.safetensors"
_TRAINING, _LOG, _PROGRESS = "training.json", "log.csv", "progress.csv"
_EVALUATION, _METRICS, _RECONSTRUCTIONS = "evaluation.json", "metrics.csv", "reconstructions.safetensors"
_CERTIFICATE = "certificate.json"


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of a training besides its log.

    Attributes:
        seconds: wall-clock time over all sessions; 0 if nothing was trained.
        parameters: number of weights.
        summary: single values from the training: steps, why it ended.
        warnings: convergence warnings.
        measured_range: the smallest and the largest value of the measurements, where these were measured.
    """

    seconds: float
    parameters: int
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    measured_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Evaluation:
    """What is known of an evaluation besides its results: convergence warnings."""

    warnings: list[str]


def _before(rows: Iterable[str], value: Any) -> Iterator[str]:
    """The lines of a table up to the first whose first column has reached `value`."""
    for line in rows:
        try:
            reached = float(next(csv.reader([line]), [""])[0]) >= float(value)
        except (ValueError, IndexError):  # a line that was cut, or a first column that does not count
            reached = True
        if reached:
            return
        yield line


def fit_weights(reconstructor: Reconstructor, weights: Mapping[str, Tensor], file: Path) -> None:
    """Gives a reconstructor that is set up the weights of a file.

    Raises:
        StoreError: if they do not fit.
    """
    try:
        reconstructor.load_state_dict(weights)
    except RuntimeError as error:
        raise StoreError(
            f"the weights do not fit the reconstructor: {error}",
            where=str(file),
            hint="the plugin may have changed since: compare environment.json with `invreg plugins`",
        ) from None


class MethodFolder(Folder):
    """The folder of a method. Every property reads its file when it is asked for.

    ```text
    reconstructor.json  weights.safetensors     what was trained
    training.json  log.csv  progress.csv        how; training/ holds checkpoints until it is done
    evaluation.json  metrics.csv                how well it reconstructs
    reconstructions.safetensors                 the test images
    certificate.json                            what is proven of its stability, if that was asked for
    training.sha256  evaluation.sha256  certificate.sha256      the seals of these stages
    ```
    """

    stages: ClassVar[Mapping[str, Stage]] = {
        "training": Stage(
            _TRAINING,
            "the file as it was, or delete the folder {path} and run the same spec again: this method is trained anew",
        ),
        "evaluation": Stage(
            _METRICS,
            "the file as it was, or delete {path}/metrics.csv and run the same spec again: this method is evaluated "
            "anew",
        ),
        "certificate": Stage(
            _CERTIFICATE, "the file as it was, or delete {path}/certificate.json: `invreg certify` makes it anew"
        ),
    }

    @property
    def label(self) -> str:
        """The name of the method in the spec."""
        return self.path.name

    # -- training

    @property
    def is_trained(self) -> bool:
        return self.is_done("training")

    @property
    def reconstructor(self) -> dict[str, Any]:
        """The spec of the trained reconstructor, `name` and all parameters; a search may have changed some."""
        return self.read_as(_RECONSTRUCTOR, dict[str, Any])

    @property
    def training(self) -> TrainingRecord:
        return self.read_as(_TRAINING, TrainingRecord)

    @property
    def log(self) -> TrainingLog:
        """The log of the training; without rows if nothing was trained."""
        summary = self.training.summary
        rows = [{str(key): value for key, value in row.items()} for row in self.log_table.to_dict("records")]
        return TrainingLog(rows, summary)

    @property
    def log_table(self) -> pd.DataFrame:
        """The rows of the log, with the types of their columns; empty if nothing was trained."""
        import pandas as pd

        is_empty = self.has(_LOG) and not self.read_text(_LOG).strip()
        return pd.DataFrame() if is_empty else self.read_table(_LOG)

    @property
    def warnings(self) -> list[str]:
        """The warnings of the training and the evaluation."""
        return [*self.training.warnings, *self.read_as(_EVALUATION, _Evaluation).warnings]

    @property
    def scratch(self) -> Path:
        """The folder for checkpoints, which is there until the training is done.

        Raises:
            StoreError: if it is a link that leads out of the run.
        """
        return self.inside("training/checkpoints").parent

    @property
    def early_warnings(self) -> list[str]:
        """The warnings of a training that was interrupted, from before it is taken up again.

        Raises:
            StoreError: if their file cannot be read.
        """
        path = self.scratch / "warnings.json"
        try:
            return [str(message) for message in json.loads(path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"cannot be read: {error}", where=str(path), hint=f"delete the folder {path.parent} to train again"
            ) from None

    def keep_warnings(self, messages: list[str]) -> None:
        """Keeps the warnings of a training that is not done."""
        self.write_json("training/warnings.json", messages)

    def load(self, build: ReconstructorBuilder) -> TrainedMethod:
        """The trained method.

        Args:
            build: makes the reconstructor.

        Raises:
            StoreError: if a file is missing or broken, or the weights do not fit.
        """
        # Weights are read, and compared with their seal, while the network is built: hashing runs beside Python.
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self.read_tensors, _WEIGHTS)
            reconstructor = build.of(self.reconstructor)
            weights = reading.result()
        fit_weights(reconstructor, weights, self.path / _WEIGHTS)
        if (measured_range := self.training.measured_range) is not None:
            build.problem.measured_range = measured_range
        return TrainedMethod(reconstructor.eval(), self.log)

    def write_trained(self, trained: TrainedMethod, reconstructor: Mapping[str, Any], record: TrainingRecord) -> None:
        """Saves a trained method; the training record marks the training as done."""
        import pandas as pd

        files = {
            _WEIGHTS: tensor_bytes(trained.reconstructor.state_dict()),
            _RECONSTRUCTOR: json_bytes(reconstructor),
            _LOG: table_bytes(pd.DataFrame(trained.log.rows)),
            _TRAINING: json_bytes(asdict(record)),
        }
        self._copy_log(files[_LOG])
        self.write_stage("training", files)
        self.remove_scratch()

    def remove_scratch(self) -> None:
        """Removes the checkpoints of a training that is done."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def append_progress(self, row: Mapping[str, Any]) -> None:
        """Appends a row to `progress.csv`, which grows while the method trains and ends as a copy of the log."""
        path = self.inside(_PROGRESS)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow({name: "" if value != value else value for name, value in row.items()})

    def cut_progress(self, row: Mapping[str, Any]) -> None:
        """Takes `progress.csv` back to before `row`, if it was told more by a session that did not keep it."""
        if not self.has(_PROGRESS):
            return
        axis, value = next(iter(row.items()))
        content = (self.path / _PROGRESS).read_bytes().decode(errors="replace")
        header, *rows = content[: content.rfind("\n") + 1].splitlines(keepends=True) or [""]
        kept = list(_before(rows, value)) if next(csv.reader([header]), [])[:1] == [axis] else []
        text = "".join([header, *kept]) if kept else ""
        if not text:
            self.remove(_PROGRESS)
        elif text != content:
            self.write_text(_PROGRESS, text)

    def restore_logs(self) -> None:
        """Writes the log, or its copy `progress.csv`, anew from the other one if it was lost.

        A log that cannot be restored is named by whoever reads it.
        """
        if self.has(_LOG):
            if not self.has(_PROGRESS):
                self._copy_log(self.read(_LOG, bytes))
        elif self.has(_PROGRESS):
            copy = (self.path / _PROGRESS).read_bytes()
            if all(digests.get(_LOG, digest(copy)) == digest(copy) for digests in self.seals.values()):
                self.write_bytes(_LOG, copy)

    def _copy_log(self, log: bytes) -> None:
        """Makes `progress.csv` a copy of the log, unless it is about other things."""
        path = self.path / _PROGRESS
        told = path.read_bytes() if path.is_file() else None
        if log.strip() and told != log and (told is None or told.count(b"\n") == log.count(b"\n")):
            self.write_bytes(_PROGRESS, log)

    # -- evaluation

    @property
    def is_evaluated(self) -> bool:
        return self.is_done("evaluation")

    @property
    def reconstructions(self) -> Tensor:
        """The reconstructed test images, `[N, C, H, W]`, in their order."""
        return self.read_tensors(_RECONSTRUCTIONS)["reconstructions"]

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per test image: method, image, one column per metric, seconds."""
        return self.read_numbers(_METRICS)

    def write_evaluation(self, x_hat: Tensor, metrics: pd.DataFrame, warnings: list[str]) -> None:
        """Saves reconstructions, metrics and warnings; the metrics mark the evaluation as done."""
        files = {
            _RECONSTRUCTIONS: tensor_bytes({"reconstructions": x_hat}),
            _EVALUATION: json_bytes({"warnings": warnings}),
            _METRICS: table_bytes(metrics),
        }
        self.write_stage("evaluation", files)

    # -- certificate

    @property
    def certificate(self) -> StabilityCertificate | None:
        """The certificate as it is written there, not verified; None if there is none.

        Raises:
            CertificateError: if the file does not hold a certificate.
            StoreError: if it cannot be read.
        """
        if not self.has(_CERTIFICATE):
            return None
        try:
            return StabilityCertificate(self.read_json(_CERTIFICATE))
        except CertificateError as error:
            raise error.at(str(self.certificate_file)) from None

    @property
    def certificate_file(self) -> Path:
        return self.path / _CERTIFICATE

    @property
    def certificate_sentence(self) -> str:
        """What the certificate says, if it was verified for these very files on this machine.

        Otherwise that it was not; an empty text if there is none.
        """
        if (certificate := self.certificate) is None:
            return ""
        if not self.certificate_is_proven:
            return "certificate.json has not been verified as it is now on this machine; `invreg verify` does so."
        return certificate.sentence

    @property
    def certificate_is_proven(self) -> bool:
        """Whether it was verified for these very files on this machine."""
        return is_proven(*self._proof())

    def write_certificate(self, certificate: StabilityCertificate) -> None:
        self.write_stage("certificate", {_CERTIFICATE: json_bytes(certificate.content)})

    def mark_certificate_verified(self) -> None:
        """Notes that the certificate that is there holds for the weights that are there."""
        note_proof(*self._proof())

    def _proof(self) -> list[str]:
        """The hashes of all that a certificate is about; a file that was changed has another one."""
        return [self.read(name, digest) for name in (_CERTIFICATE, _WEIGHTS, _RECONSTRUCTOR)]
