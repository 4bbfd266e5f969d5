"""The folders of runs and studies: the unit of truth of what was computed.

A stage of work counts as done when its last file exists.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from invreg.components.device import choose_device
from invreg.components.problem import Problem
from invreg.errors import SpecError, StoreError, did_you_mean
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_spec
from invreg.specs.spec import Spec
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.storage.folder import Folder
from invreg.storage.method_folder import MethodFolder
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_images import LastImages, RunImages

if TYPE_CHECKING:
    import pandas as pd

    from invreg.plugins.registry import Registry

_SPEC, STUDY_SPEC = "spec.yaml", "study.yaml"
_IDENTITY, _ENVIRONMENT = "run.json", "environment.json"
_METRICS, _SUMMARY, _REPORT = "metrics.csv", "summary.csv", "report.html"
_METHODS, _ANALYSES, CELLS = "methods", "analyses", "cells"


@dataclass(frozen=True)
class RunIdentity:
    """Which run this is: its images and its spec.

    Attributes:
        image_shape: [C, H, W] of the validation and test images.
        train: of the training images: names (`images`), size of the crops (`crop`), and `crops_per_epoch`.
        val: names of the validation images.
        test: names of the test images.
        pixels: hash of all pixels.
        digest: hash of the spec without its title and its analyses.
    """

    image_shape: list[int]
    train: dict[str, Any]
    val: list[str]
    test: list[str]
    pixels: str
    digest: str


class ResultFolder(Folder):
    """What the folders of runs and studies have in common: a name, a lock, analyses and a report."""

    @classmethod
    def create(cls, output: Path, title: str, digest: str) -> Self:
        """The folder below `output` for this title and digest; an existing one is continued.

        Raises:
            StoreError: if it cannot be written.
        """
        # Letters lose their accents: file systems differ in how they write them.
        plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from writing to the same folder; released by the system if this one dies."""
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

    def analysis(self, key: str) -> AnalysisFolder:
        """The folder of an analysis."""
        return AnalysisFolder(self.path / _ANALYSES / key)

    @property
    def report(self) -> Path:
        """Where the HTML report lies."""
        return self.path / _REPORT

    def write_report(self, page: str) -> Path:
        self.write_text(_REPORT, page)
        return self.report


class RunFolder(ResultFolder):
    """A folder that holds a run, finished or not. Every property reads its file when it is asked for.

    ```text
    spec.yaml  environment.json  run.json        what was run, with what, on which images
    metrics.csv  summary.csv  report.html        the results
    methods/<label>/                             see `MethodFolder`
    analyses/<key>/                              see `AnalysisFolder`
    failure.json                                 if a cell of a study failed
    ```
    """

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was made before, finished or not.

        Raises:
            StoreError: if there is no run.
        """
        path = Path(path).expanduser()
        if not (path / _SPEC).is_file():
            raise _no_run(path)
        return cls(path)

    @property
    def is_begun(self) -> bool:
        return self.has(_IDENTITY)

    @property
    def spec(self) -> Spec:
        """The resolved spec."""
        try:
            return read_spec(self.path / _SPEC)
        except SpecError as error:
            raise StoreError(f"does not hold a spec: {error}", where=str(self.path / _SPEC)) from None

    @property
    def identity(self) -> RunIdentity:
        return self.read_record(_IDENTITY, RunIdentity)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, machine, device and plugins."""
        return dict(self.read_json(_ENVIRONMENT))

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per method and test image: method, image, one column per metric, seconds."""
        return self.read_table(_METRICS)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per method."""
        return self.read_table(_SUMMARY)

    @property
    def files(self) -> list[Path]:
        """Report, tables, spec and environment, as far as they are there: what a tracker keeps of a run."""
        names = (_REPORT, _METRICS, _SUMMARY, _SPEC, _ENVIRONMENT)
        return [self.path / name for name in names if self.has(name)]

    def method(self, label: str) -> MethodFolder:
        """The folder of a method.

        Raises:
            StoreError: if the spec that is there has no such method.
        """
        folder = MethodFolder(self.path / _METHODS / label)
        if not folder.path.is_dir() and self.has(_SPEC) and label not in (labels := list(self.spec.methods)):
            raise StoreError(
                f"no method {label!r} in this run",
                where=str(self.path),
                expected=f"one of {', '.join(labels)}",
                hint=did_you_mean(label, labels),
            )
        return folder

    def load(self, device: str, registry: Registry, last: LastImages | None = None) -> Result:
        """The result of a finished run.

        Args:
            device: where reconstructors are put.
            registry: where components come from.
            last: images that runs share.

        Raises:
            StoreError: if the run is not finished, or a file is missing.
            SpecError: if a plugin that the run used is missing.
        """
        plan, where = make_plan(self.spec, registry), choose_device(device)
        problem, shape = Problem(plan.operator, plan.noise).to(where), tuple(self.identity.image_shape)
        methods = {}
        for label in plan.methods:
            folder = self.method(label)
            trained = folder.load(ReconstructorBuilder(plan, label, problem, shape, where))
            methods[label] = MethodResult.of(trained, folder)
        return Result(
            folder=self.path,
            spec=plan.spec,
            problem=problem,
            metrics=self.metrics,
            summary=self.summary,
            methods=methods,
            findings={key: self.analysis(key).findings for key in plan.analyses},
            _images=RunImages(self, plan.spec, problem, where, registry, last or LastImages()),
        )

    def write_spec(self, spec: Spec) -> None:
        self.write_text(_SPEC, spec.to_yaml())

    def write_identity(self, identity: RunIdentity) -> None:
        self.write_json(_IDENTITY, asdict(identity))

    def write_environment(self, environment: dict[str, Any]) -> None:
        self.write_json(_ENVIRONMENT, environment)

    def write_results(self, metrics: pd.DataFrame, summary: pd.DataFrame) -> None:
        self.write_table(_METRICS, metrics)
        self.write_table(_SUMMARY, summary)


def holds_study(path: Path) -> bool:
    """Whether the folder is that of a study."""
    return (path / STUDY_SPEC).is_file()


def _no_run(path: Path) -> StoreError:
    """What is wrong with a folder that holds no run, and where there may be one."""
    expected = "the folder that `invreg run` printed"
    if not path.is_dir():
        what = "is a file, no folder" if path.exists() else "no such folder"
        return StoreError(what, where=str(path), expected=expected)
    if holds_study(path):
        return StoreError(
            "holds a study, no run", where=str(path), expected="a single run", hint=f"a cell below {path / CELLS}"
        )
    inside = sorted(child.parent for name in (_SPEC, STUDY_SPEC) for child in path.glob(f"*/{name}"))
    return StoreError(
        "holds no run and no study (neither spec.yaml nor study.yaml is there)",
        where=str(path),
        expected=expected,
        hint=f"one of those in it: {', '.join(map(str, inside[:5]))}" if inside else None,
    )
