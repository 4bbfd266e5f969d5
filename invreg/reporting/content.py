"""What a report shows: read from a run folder, nothing computed, so a report can be written anew at any time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from invreg.components.analyzer import Findings
from invreg.plugins.describe import first_sentence
from invreg.schema.component_spec import ComponentSpec
from invreg.storage.run_folder import ANALYSES
from invreg.text import number, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.metric import Metric
    from invreg.plugins.registry import Registry
    from invreg.reporting.pictures import ShownImage
    from invreg.specs.plan import Plan
    from invreg.specs.spec import Spec
    from invreg.storage.analysis_folder import AnalysisFolder, SavedFigure
    from invreg.storage.method_folder import MethodFolder, TrainingRecord
    from invreg.storage.run_folder import RunFolder, RunIdentity

#: Test images of runs that keep none for the report: reconstructions alone.
MOST_PICTURES = 24


@dataclass(frozen=True)
class ComponentContent:
    """A component: its name in specs, one sentence about it, its parameters."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: Registry, kind: str, given: ComponentSpec | Mapping[str, Any]) -> ComponentContent:
        spec = ComponentSpec.model_validate(given)
        return cls(spec.name, first_sentence(registry.entry(kind, spec.name).cls), spec.parameters)


@dataclass(frozen=True)
class MethodContent:
    """A method of the run.

    Attributes:
        label: its name in the spec.
        reconstructor: with the parameters that were used in the end: a search has changed those of the spec.
        trainer: None if nothing was trained.
        training: weights, time, single values.
        log: the training log; empty if there is none.
        warnings: those of the training and the evaluation.
        certificate: what is proven of its stability, in words; empty if nothing was certified.
    """

    label: str
    reconstructor: ComponentContent
    trainer: ComponentContent | None
    training: TrainingRecord
    log: pd.DataFrame
    warnings: Sequence[str] = ()
    certificate: str = ""

    @classmethod
    def of(cls, folder: MethodFolder, plan: Plan) -> MethodContent:
        trainer = plan.methods[folder.label].spec.trainer
        return cls(
            label=folder.label,
            reconstructor=ComponentContent.of(plan.registry, "reconstructor", folder.reconstructor),
            trainer=None if trainer is None else ComponentContent.of(plan.registry, "trainer", trainer),
            training=folder.training,
            log=folder.log_table,
            warnings=folder.warnings,
            certificate=folder.certificate_sentence,
        )


@dataclass(frozen=True)
class AnalysisContent:
    """An analysis: its key in the run, a sentence about it, what it found or why it failed, and what it left out."""

    name: str
    description: str = ""
    findings: Findings = field(default_factory=Findings)
    figures: Sequence[SavedFigure] = ()
    failure: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where its files lie, from the report."""
        return f"{ANALYSES}/{quote(self.name)}"

    @classmethod
    def of(cls, folder: AnalysisFolder, analyzer: type) -> AnalysisContent:
        if (failure := folder.failure) is not None:
            return cls(folder.key, first_sentence(analyzer), failure=failure)
        return cls(folder.key, first_sentence(analyzer), folder.findings, folder.figures, left_out=folder.left_out)


@dataclass(frozen=True)
class ReportContent:
    """Everything that the report of a run shows.

    Attributes:
        spec: the resolved spec.
        operator: the forward operator.
        noise: the noise.
        data: the dataset.
        images: names and sizes of the images.
        metrics: by name, in the order of the spec; the first ranks the methods.
        summary: one row per method: method, each metric with its `_std`, parameters, training_seconds,
            reconstruction_seconds.
        methods: in the order of the spec.
        analyses: in the order of the spec.
        environment: versions and machine; mappings may be nested one level deep.
        command: the command that repeats the run.
        pictures: test images, each with its measurement and its reconstructions; as many as the page can hold.
    """

    spec: Spec
    operator: ComponentContent
    noise: ComponentContent
    data: ComponentContent
    images: RunIdentity
    metrics: Mapping[str, Metric]
    summary: pd.DataFrame
    methods: Sequence[MethodContent]
    analyses: Sequence[AnalysisContent]
    environment: Mapping[str, Any]
    command: str
    pictures: Sequence[ShownImage] = ()

    @classmethod
    def of(cls, folder: RunFolder, plan: Plan) -> ReportContent:
        """What the report of the run in this folder shows.

        Raises:
            StoreError: if the run is not finished.
        """
        spec, registry = plan.spec, plan.registry
        return cls(
            spec=spec,
            operator=ComponentContent.of(registry, "operator", spec.operator),
            noise=ComponentContent.of(registry, "noise", spec.noise),
            data=ComponentContent.of(registry, "dataset", spec.data),
            images=folder.identity,
            metrics=plan.metrics,
            summary=folder.summary,
            methods=[MethodContent.of(folder.method(label), plan) for label in plan.methods],
            analyses=[AnalysisContent.of(folder.analysis(key), type(own)) for key, own in plan.analyses.items()],
            environment=folder.environment,
            command=f"invreg run spec.yaml --output {shlex.quote(folder.path.parent.name or '.')}",
            pictures=_pictures(folder, plan),
        )


def _pictures(folder: RunFolder, plan: Plan) -> list[ShownImage]:
    """The test images that the run keeps for its report, with the reconstructions of all methods, and slices."""
    from invreg.reporting.pictures import as_bytes, side_by_side
    from invreg.reporting.slices import with_slices

    kept = folder.test_images
    columns: dict[str, NDArray[Any]] = {}
    for title in ("truth", "measurement"):
        if title in kept:
            columns[title] = kept[title].numpy()
    # A label is not confused with the others by its own choice of words.
    titles = {label: f"method {label}" if label in ("truth", "measurement") else label for label in plan.methods}
    amount = min(map(len, columns.values()), default=MOST_PICTURES)
    measurement = columns.get("measurement")
    for label, title in titles.items():
        columns[title] = as_bytes(folder.method(label).reconstructions[:amount].numpy())
        if measurement is not None and np.array_equal(columns[title], measurement):
            # This method leaves measurements as they are, so it shows them.
            del columns["measurement"]
            measurement = None
    name, metric = next(iter(plan.metrics.items()))
    values = folder.metrics[["method", "image", name]].itertuples(index=False, name=None)
    notes = {
        (titles[label], str(image)): with_unit(number(float(value), metric.unit), metric.unit)
        for label, image, value in values
    }
    means = folder.summary.set_index("method")[name].dropna()
    best = titles[means.idxmax() if metric.higher_is_better else means.idxmin()] if len(means) else ""
    return with_slices(side_by_side(folder.identity.test, columns, notes, best), columns)
