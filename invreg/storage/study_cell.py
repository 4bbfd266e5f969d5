"""One cell of a study: a run folder, and the values of what the study varies."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.components.problem import Problem
from invreg.computing.device import choose_device
from invreg.errors import StoreError, did_you_mean
from invreg.storage.certificates import RunCertificates
from invreg.storage.run_folder import RunFolder
from invreg.storage.run_images import LastImages, RunImages, Which
from invreg.summaries import Summarized, Summary
from invreg.text import unique_names

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from invreg.components.analyzer import Findings
    from invreg.components.certificate import StabilityCertificate
    from invreg.components.dataset import ImageStack
    from invreg.plugins.registry import Registry
    from invreg.specs.spec import Spec
    from invreg.storage.analysis_folder import AnalysisFolder
    from invreg.storage.method_folder import MethodFolder
    from invreg.storage.result import Result
    from invreg.storage.run_folder import RunIdentity


@dataclass(frozen=True, repr=False)
class StudyCell(Summarized):
    """One cell of a study: what its run folder holds, read when it is asked for.

    All but `problem`, `images`, `measurements` and what follows from `result` come from files alone: nothing is built.
    Whatever is asked of an unfinished cell raises a StoreError that names the missing file.

    Attributes:
        values: varied path to its value as the tables show it.
        spec: the cell's spec, with all defaults.
        folder: its run folder.
        failure: why it could not be finished; None if it was.
        registry: where the components of its result come from.
        device: where the reconstructors of its result are put.
        last: images that the cells of a study share.
    """

    values: dict[str, Any]
    spec: Spec
    folder: Path
    failure: str | None
    registry: Registry
    device: str = "cpu"
    last: LastImages = field(default_factory=LastImages, repr=False, compare=False)

    def _summary(self) -> Summary:
        state = f"failed: {self.failure}" if self.failure else f"finished, in {self.folder}"
        return Summary("StudyCell", (), list(self.values.items()), [state])

    # -- from files

    @cached_property
    def identity(self) -> RunIdentity:
        """Names and sizes of its images."""
        return self._files.identity

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per method."""
        return self._files.summary

    def metrics(self, label: str | None = None) -> pd.DataFrame:
        """One row per test image of a method, or of all methods: method, image, one column per metric, seconds."""
        return self._files.metrics if label is None else self.method(label).metrics

    def method(self, label: str) -> MethodFolder:
        """What is kept of a method: `training` (seconds, parameters, ...), `reconstructor`, `log`, `reconstructions`.

        Raises:
            StoreError: if there is no such method.
        """
        return self._files.method(label)

    def reconstructions(self, label: str) -> Tensor:
        """The reconstructed test images, `[N, C, H, W]`, in their order."""
        return self.method(label).reconstructions

    def findings(self, key: str) -> Findings:
        """The findings of an analysis of the cell.

        Raises:
            StoreError: if it has no such analysis, or no findings.
        """
        if key not in self._analyses:
            raise StoreError(
                f"no analysis {key!r} in this run", where=str(self.folder), hint=did_you_mean(key, self._analyses)
            )
        return self._files.analysis(key).findings

    def analyses(self, name: str) -> list[AnalysisFolder]:
        """The analyses of the cell by this analyzer whose findings are there: `analyzer` (its spec), `findings`."""
        folders = [self._files.analysis(key) for key, own in self._analyses.items() if own == name]
        return [folder for folder in folders if folder.is_made]

    @property
    def warnings(self) -> list[str]:
        """The warnings of all methods, each with its method."""
        return [f"{label}: {text}" for label in self.spec.methods for text in self.method(label).warnings]

    # -- from components

    @cached_property
    def result(self) -> Result:
        """The finished run, loaded from its folder on first use."""
        return RunFolder.existing(self.folder).load(self.device, self.registry, self.last)

    @cached_property
    def problem(self) -> Problem:
        """Operator and noise, on the device."""
        operator = self.registry.build("operator", self.spec.operator)
        return Problem(operator, self.registry.build("noise", self.spec.noise)).to(choose_device(self.device))

    def images(self, which: Which = None) -> ImageStack:
        """Test images with their names, on the CPU, as the run had them.

        Args:
            which: the first so many, those at these positions, or all if None.

        Raises:
            DataError: if the data set no longer has the images that the cell was run with.
        """
        return self._images.images(which)

    def measurements(self, which: Which = None) -> Tensor:
        """The measurements of test images, `[N, ...range]`, on the CPU, with the noise that the run drew.

        Args:
            which: the first so many, those at these positions, or all if None.

        Raises:
            DataError: if the data set no longer has the images that the cell was run with.
        """
        return self._images.measurements(which)

    def certificate(self, label: str) -> StabilityCertificate | None:
        """The certificate that lies in the run folder, verified against the weights; None if there is none.

        None is made here: for large networks that would take longer than all else.

        Raises:
            CertificateError: if it does not hold.
        """
        net = self.result.methods[label].reconstructor
        return RunCertificates(self._files, {label: net}).kept(label)

    @cached_property
    def _files(self) -> RunFolder:
        return RunFolder(self.folder)

    @cached_property
    def _images(self) -> RunImages:
        where = choose_device(self.device)
        return RunImages(self._files, self.spec, self.problem, where, self.registry, self.last)

    @cached_property
    def _analyses(self) -> dict[str, str]:
        """The keys of the analyses with the names of their analyzers."""
        names = [given.name for given in self.spec.analyses]
        return dict(zip(unique_names(names), names, strict=True))
