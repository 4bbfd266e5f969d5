"""The folders of runs and studies: the unit of truth of what was computed.

A stage of work counts as done when its last file exists.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from invreg.components.problem import Problem
from invreg.computing.device import choose_device
from invreg.errors import InvregError, SpecError, StoreError, did_you_mean, nothing_computed
from invreg.files import cannot_write, make_folder, remove_unfinished
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.plan import Plan, make_plan
from invreg.specs.reading import parse_file, read_spec
from invreg.specs.spec import Spec
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.storage.folder import Folder, Stage, json_bytes, tensor_bytes
from invreg.storage.method_folder import MethodFolder
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_images import LastImages, RunImages
from invreg.storage.seal import SUFFIX, digest

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from invreg.plugins.registry import Registry

_SPEC, STUDY_SPEC = "spec.yaml", "study.yaml"
_IDENTITY, _ENVIRONMENT = "run.json", "environment.json"
_METRICS, _SUMMARY, _REPORT = "metrics.csv", "summary.csv", "report.html"
_TEST_IMAGES = "test_images.safetensors"
METHODS, ANALYSES, CELLS = "methods", "analyses", "cells"
SHARED, JOBS = "shared", "jobs"

#: Folders of a study in which jobs may be writing while the study is not.
_WITH_OWN_LOCKS = (CELLS, SHARED, JOBS)


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
        format: 2 if the stages of the run are sealed, 1 for runs of earlier versions.
    """

    image_shape: list[int]
    train: dict[str, Any]
    val: list[str]
    test: list[str]
    pixels: str
    digest: str
    format: int = 1


def folder_name(title: str, digest: str) -> str:
    """The name of the folder of a run or a study."""
    # Letters lose their accents: file systems differ in how they write them.
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48] or "run"
    return f"{slug}-{digest[:8]}"


class ResultFolder(Folder):
    """What the folders of runs and studies have in common: a name, a lock, analyses and a report."""

    stages: ClassVar[Mapping[str, Stage]] = {"report": Stage(_REPORT, "`invreg report {path}`: it is written anew")}

    @classmethod
    def create(cls, output: Path, title: str, digest: str) -> Self:
        """The folder below `output` for this title and digest; an existing one is continued.

        Raises:
            StoreError: if it cannot be written.
        """
        folder = cls(output / folder_name(title, digest))
        if folder.path.is_symlink():
            raise StoreError("is a link", where=str(folder.path), expected="a folder", hint="another `output`")
        make_folder(folder.path, "output")
        return folder

    @contextmanager
    def locked(self, waits: bool = False) -> Iterator[None]:
        """Keeps a second process from writing to the same folder; released by the system if this one dies.

        What killed writers have left is removed.

        Args:
            waits: whether to wait until no other process holds it.

        Raises:
            StoreError: if another process holds it, or it cannot be written.
        """
        from filelock import FileLock, Timeout

        if (path := self.path / ".lock").is_symlink():
            raise StoreError("is a link", where=str(path), expected="a file of invreg", hint="delete it")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if waits else 0)
        except Timeout:
            raise StoreError(
                "is being written by another process", where=str(self.path), hint="wait for it, or another `output`"
            ) from None
        except (OSError, NotImplementedError) as error:  # the latter from file systems without locks
            raise cannot_write(
                self.path,
                error,
                "a folder in which files can be made and locked",
                "a copy of it where you can write; `invreg verify` writes nothing here",
            ) from None
        try:
            remove_unfinished(self.path, leave=_WITH_OWN_LOCKS)
            yield
        finally:
            lock.release()

    def analysis(self, key: str) -> AnalysisFolder:
        """The folder of an analysis."""
        return AnalysisFolder(self.path / ANALYSES / key, within=self.within, is_sealed=self.seals_stages)

    @property
    def seals_stages(self) -> bool:
        """Whether its stages are sealed: those of earlier versions are not."""
        raise NotImplementedError

    @property
    def report(self) -> Path:
        """Where the HTML report lies."""
        return self.path / _REPORT

    def write_report(self, page: str) -> Path:
        self.write_stage("report", {_REPORT: page.encode()})
        return self.report

    def check_finished(self) -> None:
        """Looks whether the work has ended, and compares the seals of its parts with what they were then.

        Raises:
            StoreError: if it has not, or a seal is missing or was changed.
        """
        if not self.seals_stages:
            text = f"{self.path}: made before files were sealed; a change since then cannot be seen"
            warnings.warn(text, stacklevel=3)
            return
        if self.whole not in self.seals:
            raise StoreError(
                f"is not finished, or {self.whole}{SUFFIX} was deleted",
                where=str(self.path),
                expected="a run or study that has run to its end",
                hint="run the same spec again: what is done is kept",
            )
        for name in self.seals[self.whole]:
            if name.endswith(SUFFIX):
                self.read(name, bytes)

    #: The stage that comes last, whose seal holds the seals of all others.
    whole: ClassVar[str] = ""

    def remedy(self, stage: str, name: str = "") -> str:
        """What to do if a file of a stage is not as it was; a seal that does not hold costs the stage."""
        if name.endswith(SUFFIX):
            part = (self.path / name).parent
            return f"the file as it was, or delete the folder {part} and run the same spec again: it is made anew"
        return super().remedy(stage, name)

    def seal_whole(self, names: Iterable[str]) -> None:
        """Seals these files, as far as they are there."""
        found = {name: digest((self.path / name).read_bytes()) for name in names if self.has(name)}
        if found != self.seals.get(self.whole):
            self.write_seal(self.whole, found)


class RunFolder(ResultFolder):
    """A folder that holds a run, finished or not. Every property reads its file when it is asked for.

    ```text
    spec.yaml  environment.json  run.json        what was run, with what, on which images
    metrics.csv  summary.csv  report.html        the results
    test_images.safetensors                      the first test images and their measurements, for the report
    methods/<label>/                             see `MethodFolder`
    analyses/<key>/                              see `AnalysisFolder`
    failure.json                                 if a cell of a study failed
    run.sha256  report.sha256  images.sha256     the seals; that of the run holds those of methods and analyses
    ```
    """

    stages: ClassVar[Mapping[str, Stage]] = {
        **ResultFolder.stages,
        "run": Stage(_IDENTITY, "run the same spec again: this file is written anew"),
        "images": Stage(_TEST_IMAGES, "delete it and run the same spec again: it is written anew"),
    }
    whole: ClassVar[str] = "run"

    def remedy(self, stage: str, name: str = "") -> str:
        """What to do; `run.json` says on which images the run was made, which only the run itself could know."""
        if name == _IDENTITY:
            return f"the file as it was, or delete {self.path} and run the same spec again"
        return super().remedy(stage, name)

    _seals_stages = False

    @property
    def seals_stages(self) -> bool:
        if not self._seals_stages:  # kept: it is asked for every method and analysis, and `run.json` may be long
            self._seals_stages = self.has(_IDENTITY) and self.identity.format > 1
        return self._seals_stages

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was made before, finished or not.

        Raises:
            StoreError: if there is no run.
        """
        path = Path(path).expanduser()
        if not (path / _SPEC).is_file():
            raise nothing_computed(_no_run(path))
        return cls(path)

    @property
    def is_begun(self) -> bool:
        return self.has(_IDENTITY)

    @property
    def is_finished(self) -> bool:
        """Whether it has run to its end under the spec that is there; files are not compared with their seals."""
        if self.is_begun and not self.seals_stages:
            return self.report.is_file()
        sealed = self.seals.get(self.whole)
        return sealed is not None and self.has(_SPEC) and sealed.get(_SPEC) == digest((self.path / _SPEC).read_bytes())

    @property
    def spec(self) -> Spec:
        """The resolved spec."""
        content = self.read(_SPEC, bytes)
        try:
            return read_spec(parse_file(content, self.path / _SPEC))
        except SpecError as error:
            raise StoreError(f"does not hold a spec: {error}", where=str(self.path / _SPEC)) from None

    @property
    def identity(self) -> RunIdentity:
        return self.read_as(_IDENTITY, RunIdentity)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, machine, device and plugins."""
        return self.read_as(_ENVIRONMENT, dict[str, Any])

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per method and test image: method, image, one column per metric, seconds."""
        return self.read_numbers(_METRICS)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per method."""
        return self.read_numbers(_SUMMARY, ("method",))

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
        path = self.path / METHODS / label
        folder = MethodFolder(path, within=self.within, is_sealed=self.seals_stages)
        if not folder.path.is_dir() and self.has(_SPEC) and label not in (labels := self.spec.methods):
            raise self.no_method(label, labels)
        return folder

    def no_method(self, label: str, labels: Iterable[str]) -> StoreError:
        """What to raise where there is no method `label`, but those of `labels`."""
        labels = list(labels)
        return nothing_computed(
            StoreError(
                f"no method {label!r} in this run",
                where=str(self.path),
                expected=f"one of {', '.join(labels)}",
                hint=did_you_mean(label, labels),
            )
        )

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
        self.check_finished()
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

    def holds(self, spec: Spec) -> bool:
        """Whether this very spec lies there."""
        return self.has(_SPEC) and (self.path / _SPEC).read_bytes() == spec.to_yaml().encode()

    def write_spec(self, spec: Spec) -> None:
        self.write_text(_SPEC, spec.to_yaml())

    @property
    def test_images(self) -> dict[str, Tensor]:
        """The first test images for the report: `truth` and `measurement`, `[N, C, H, W]` in bytes, 255 for 1.

        Measurements that are no images are not among them; runs of earlier versions have none.
        """
        return self.read_tensors(_TEST_IMAGES) if self.has(_TEST_IMAGES) else {}

    def write_test_images(self, images: Mapping[str, Tensor]) -> None:
        """Keeps test images for the report; what is there already is kept."""
        if not self.is_done("images"):
            self.write_stage("images", {_TEST_IMAGES: tensor_bytes(images)})

    def begin(self, plan: Plan, identity: RunIdentity, environment: Mapping[str, Any]) -> None:
        """Begins a run, or goes on with it: writes what it is. Its seal is broken if there is anything left to do.

        Raises:
            StoreError: if it was begun with other images, or what is done was changed since.
        """
        self.drop_broken_seal("run")
        self.drop_broken_seal("report")
        if self.is_begun or "run" in self.seals:
            found = self.identity
            if replace(found, format=identity.format) != identity:
                raise StoreError(
                    "was begun with other images under the same spec",
                    where=str(self.path),
                    expected="the same files as then",
                    hint="another `output`, or delete this folder",
                )
            identity = found
        files = {
            _SPEC: plan.spec.to_yaml().encode(),
            _ENVIRONMENT: json_bytes(environment),
            _IDENTITY: json_bytes(asdict(identity)),
        }
        if (sealed := self.seals.get("run")) is not None:
            parts = [name for name in sealed if name.endswith(SUFFIX)]
            for name in filter(self.has, parts):
                self.read(name, bytes)
            is_whole = all(map(self.has, parts)) and all(digest(files[name]) == sealed.get(name) for name in files)
            if not (is_whole and self._is_done(plan)):
                self.remove("run" + SUFFIX)
        for name, content in files.items():
            self.write_bytes(name, content)

    def finish(self, plan: Plan) -> None:
        """Seals the run: its own files, and the seals of its methods and analyses."""
        if self.seals_stages:
            own = (_SPEC, _IDENTITY, _ENVIRONMENT, _METRICS, _SUMMARY)
            methods = [f"{METHODS}/{label}/{stage}" for label in plan.methods for stage in ("training", "evaluation")]
            analyses = [f"{ANALYSES}/{key}/findings" for key in plan.analyses]
            self.seal_whole([*own, *(part + SUFFIX for part in [*methods, *analyses])])

    def _is_done(self, plan: Plan) -> bool:
        methods = [self.method(label) for label in plan.methods]
        return all(method.is_trained and method.is_evaluated for method in methods) and all(
            self.analysis(key).is_made for key in plan.analyses
        )

    def write_results(self, metrics: pd.DataFrame, summary: pd.DataFrame) -> None:
        self.write_table(_METRICS, metrics)
        self.write_table(_SUMMARY, summary)


def recorded_threads(output: Path, title: str, digest: str) -> int | None:
    """The number of threads with which the run of this title and digest was begun, or a cell of the study."""
    folder = output / folder_name(title, digest)
    for path in (folder, *sorted((folder / CELLS).glob("*"))):
        try:
            threads = RunFolder(path).environment["threads"]
        except (InvregError, KeyError):  # not begun; a file that was changed is found when the run goes on
            continue
        return threads if isinstance(threads, int) and threads > 0 else None
    return None


def holds_study(path: Path) -> bool:
    """Whether the folder is that of a study."""
    return (path / STUDY_SPEC).is_file()


def _no_run(path: Path) -> StoreError:
    """What is wrong with a folder that holds no run, and where there may be one."""
    expected = "the folder that `invreg run` printed"
    if not path.is_dir():
        what = "is a file, no folder" if path.exists() else "no such folder"
        return StoreError(what, where=str(path), expected=expected)
    if all((path / name).is_file() for name in ("config.json", "model.safetensors")):
        return StoreError(
            "holds a model, not a run",
            where=str(path),
            expected=expected,
            hint="invreg.load_model, or `invreg reconstruct`: a model needs no run",
        )
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
