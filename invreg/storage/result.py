"""What a run and a study give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from invreg.errors import SpecError, did_you_mean
from invreg.plots import draw_images, for_notebooks
from invreg.schema.signature import built_with
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.summaries import Summarized, Summary, brief, of_table
from invreg.text import duration, metric_title, number, plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

    from invreg.components.analyzer import Findings
    from invreg.components.dataset import ImageStack
    from invreg.components.problem import Problem
    from invreg.components.reconstructor import Reconstructor
    from invreg.components.trainer import TrainedMethod, TrainingLog
    from invreg.plugins.registry import Registry
    from invreg.specs.spec import Spec
    from invreg.storage.method_folder import MethodFolder
    from invreg.storage.run_images import RunImages, Which
    from invreg.storage.study_cell import StudyCell

_Value = TypeVar("_Value")


class ByName(Summarized, dict[str, _Value]):
    """Values by name; the error for a name that is not there suggests a near one."""

    def _summary(self) -> Summary:
        return Summary(f"{len(self)} by name", (), [(name, repr(value)) for name, value in self.items()])

    def __missing__(self, name: str) -> _Value:
        hint = did_you_mean(str(name), self)
        raise KeyError(f"{name!r}; {hint}" if hint else name)


@dataclass(frozen=True, repr=False)
class MethodResult(Summarized):
    """A method after the run.

    Attributes:
        reconstructor: trained and in evaluation mode, ready to be called.
        log: what happened in its training.
        training_seconds: wall-clock time of the training, over all sessions.
        warnings: convergence warnings of the training and the evaluation.
        folder: its files.
    """

    reconstructor: Reconstructor
    log: TrainingLog
    training_seconds: float
    warnings: list[str]
    folder: MethodFolder = field(repr=False)

    @classmethod
    def of(cls, trained: TrainedMethod, folder: MethodFolder) -> MethodResult:
        """A trained method with what its files say about its training and its evaluation."""
        return cls(trained.reconstructor, trained.log, folder.training.seconds, folder.warnings, folder)

    def __repr__(self) -> str:
        return f"MethodResult({brief(self.reconstructor)}, {', '.join(self._in_words)})"

    @property
    def _in_words(self) -> list[str]:
        trained = f"trained in {duration(self.training_seconds)}" if self.log.rows else "not trained"
        return [trained, *([plural(len(self.warnings), "warning")] if self.warnings else [])]

    def _summary(self) -> Summary:
        net = self.reconstructor
        rows = [(name, brief(value)) for name, value in built_with(net).items()]
        weights = sum(parameter.numel() for parameter in net.parameters())
        title = f"{type(net).__name__}: {plural(weights, 'weight')}, {', '.join(self._in_words)}"
        return Summary(title, ("parameter", "value") if rows else (), rows, self.warnings)

    @cached_property
    def reconstructions(self) -> Tensor:
        """The reconstructed test images, `[N, C, H, W]`, in their order; read when they are first asked for."""
        return self.folder.reconstructions


@dataclass(frozen=True, repr=False)
class Outcome(Summarized):
    """What is there after a run or a study.

    Attributes:
        folder: the run folder or the study folder.
    """

    folder: Path

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def failures(self) -> dict[str, str]:
        """Why cells of a study failed, by the name of their folder; a single run has no cells."""
        return {}

    @property
    def failed_analyses(self) -> dict[str, str]:
        """Why analyses (in a study, those of the study) failed, by their names in the spec; `findings` lacks them."""
        folder = self.folder / "analyses"
        folders = sorted(folder.iterdir()) if folder.is_dir() else []
        failures = {path.name: AnalysisFolder(path).failure for path in folders if path.is_dir()}
        return {name: failure for name, failure in failures.items() if failure}

    @property
    def _notes(self) -> list[str]:
        failed = self.failed_analyses
        return [f"failed: {', '.join(failed)}: see .failed_analyses"] if failed else []


@dataclass(frozen=True, repr=False)
class Result(Outcome):
    """A finished run.

    Attributes:
        spec: the resolved spec.
        problem: operator and noise.
        metrics: one row per method and test image: method, image, psnr, ssim, seconds, further metrics.
        summary: one row per method: method, psnr, psnr_std, ssim, ssim_std, parameters, training_seconds,
            reconstruction_seconds, further metrics.
        methods: the trained methods by label.
        findings: the findings of the analyses by name.
    """

    spec: Spec
    problem: Problem
    metrics: pd.DataFrame
    summary: pd.DataFrame
    methods: dict[str, MethodResult]
    findings: dict[str, Findings]
    _images: RunImages = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", ByName(self.methods))
        object.__setattr__(self, "findings", ByName(self.findings))

    def plot(self, analysis: str | None = None, figure: str | None = None, *, count: int = 3) -> Figure:
        """Test images beside their measurements and reconstructions; or a figure of an analysis, from its findings.

        Args:
            analysis: its name in `findings`; test images if None.
            figure: its name; the first figure of the analysis if None.
            count: number of test images, the first ones.

        Returns:
            A figure of matplotlib.

        Raises:
            DataError: if the data set no longer has the images of the run.
            KeyError: if there is no such analysis or figure.
            SpecError: if it is not a name, or the count not a number of images.
        """
        for name, text in (("analysis", analysis), ("figure", figure)):
            if not isinstance(text, str | None):
                raise SpecError(repr(text), where=name, expected="a name", hint=f"plot(count={text!r}) for test images")
        if not isinstance(count, int) or count < 1:
            raise SpecError(repr(count), where="count", expected="a number of test images, 1 or more")
        if analysis is not None:
            return _figure(self, analysis, figure, "analyzer", self._images.registry)
        images, z = self.images(count), self.measurements(count)
        columns = {"truth": images.images}
        if z.shape == images.images.shape:
            columns["measurement"] = z
        titles = {label: f"method {label}" if label in ("truth", "measurement") else label for label in self.methods}
        columns |= {titles[label]: method.reconstructions[: len(images)] for label, method in self.methods.items()}
        metric = self.spec.metrics[0].name
        values = self.metrics[["method", "image", metric]].itertuples(index=False, name=None)
        captions = {(titles[label], name): f"{metric_title(metric)} {number(value)}" for label, name, value in values}
        return draw_images(columns, list(images.names), captions)

    def _summary(self) -> Summary:
        notes = [f"findings: {', '.join(self.findings)}"] if self.findings else []
        notes += self._notes
        notes += [f"{plural(len(self.warnings), 'warning')}: see .warnings"] if self.warnings else []
        columns = [name for name in self.summary.columns if not name.endswith("_std")]
        return of_table(f"Result of {self.spec.title!r} in {self.folder}", self.summary, columns, notes)

    @property
    def warnings(self) -> list[str]:
        """All warnings of the run, each with its method."""
        return [f"{label}: {warning}" for label, method in self.methods.items() for warning in method.warnings]

    def images(self, which: Which = None) -> ImageStack:
        """Test images with their names, on the CPU, read again from the data set.

        Args:
            which: the first so many, those at these positions, or all if None.

        Raises:
            DataError: if the data set no longer has the images of the run.
        """
        return self._images.images(which)

    def measurements(self, which: Which = None) -> Tensor:
        """The measurements of test images, `[N, ...range]`, on the CPU, with the noise that the run drew.

        Args:
            which: the first so many, those at these positions, or all if None.

        Raises:
            DataError: if the data set no longer has the images of the run.
        """
        return self._images.measurements(which)


@dataclass(frozen=True, repr=False)
class StudyResult(Outcome):
    """A finished study.

    Attributes:
        table: one row per cell and method: cell, every varied path, and the columns of a run's `summary.csv`.
        cells: all cells; those that failed say why.
        findings: the findings of the study analyses by name.
    """

    table: pd.DataFrame
    cells: list[StudyCell]
    findings: dict[str, Findings]

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", ByName(self.findings))

    def plot(self, analysis: str, figure: str | None = None) -> Figure:
        """A figure of a study analysis, from its findings.

        Args:
            analysis: its name in `findings`.
            figure: its name; the first figure of the analysis if None.

        Returns:
            A figure of matplotlib.

        Raises:
            KeyError: if there is no such analysis or figure.
        """
        return _figure(self, analysis, figure, "study_analyzer", self.cells[0].registry)

    def _summary(self) -> Summary:
        notes = [f"findings: {', '.join(self.findings)}"] if self.findings else []
        notes += self._notes
        notes += [f"{plural(len(self.failures), 'cell')} failed: see .failures"] if self.failures else []
        columns = [name for name in self.table.columns if not name.endswith("_std")]
        title = f"StudyResult: {plural(len(self.cells), 'cell')} in {self.folder}"
        return of_table(title, self.table, columns, notes)

    @property
    def summary(self) -> pd.DataFrame:
        """The table, by the name that it has in the result of a single run."""
        return self.table

    @property
    def warnings(self) -> list[str]:
        """All warnings of the finished cells, each with its cell and method."""
        return [f"{cell.folder.name}: {text}" for cell in self.cells if not cell.failure for text in cell.warnings]

    @property
    def failures(self) -> dict[str, str]:
        """Why cells failed, by the name of their folder."""
        return {cell.folder.name: cell.failure for cell in self.cells if cell.failure}


def _figure(result: Result | StudyResult, analysis: str, figure: str | None, kind: str, registry: Registry) -> Figure:
    findings = result.findings[analysis]
    spec = AnalysisFolder(result.folder / "analyses" / analysis).analyzer or analysis
    figures = ByName(registry.build(kind, spec).draw(findings))
    if figure is None and not figures:
        raise KeyError(f"the analysis {analysis!r} has no figures for what it found")
    return for_notebooks(figures[figure or next(iter(figures))])
