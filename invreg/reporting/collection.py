"""From a run folder to what its report shows; nothing is computed, so a report can be written anew at any time."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from invreg.plugins.describe import first_sentence
from invreg.reporting.content import (
    AnalysisContent,
    ComponentContent,
    MethodContent,
    MetricContent,
    ReportContent,
)
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.yaml import dump_yaml

if TYPE_CHECKING:
    from invreg.specs.plan import Plan
    from invreg.storage.analysis_folder import AnalysisFolder
    from invreg.storage.method_folder import MethodFolder
    from invreg.storage.run_folder import RunFolder


def collect_report(folder: RunFolder, plan: Plan) -> ReportContent:
    """Reads everything that the report of a run shows.

    Raises:
        StoreError: if the run is not finished.
    """
    run, spec, summary = folder.identity, plan.spec, folder.summary
    sizes = dict(zip(summary["method"], summary["parameters"], strict=True))
    channels, height, width = run.image_shape
    return ReportContent(
        title=spec.title,
        seed=spec.seed,
        operator=_component(plan, "operator", spec.operator),
        noise=_component(plan, "noise", spec.noise),
        data=_component(plan, "dataset", spec.data),
        image_shape=(channels, height, width),
        image_counts={
            "training images": len(run.train["images"]),
            "validation images": len(run.val),
            "test images": len(run.test),
        },
        test_images=len(run.test),
        metrics=[MetricContent(name, m.unit, m.higher_is_better) for name, m in plan.metrics.items()],
        summary=summary,
        methods=[_method(folder.method(label), plan, int(sizes[label])) for label in plan.methods],
        analyses=[
            collect_analysis(folder.analysis(key), first_sentence(plan.registry.entry("analyzer", given.name).cls))
            for key, given in zip(plan.analyses, spec.analyses, strict=True)
        ],
        spec_yaml=dump_yaml(spec.model_dump(mode="json")),
        environment=folder.environment,
        command=f"invreg run spec.yaml --output {shlex.quote(folder.path.parent.name or '.')}",
    )


def _component(plan: Plan, kind: str, given: ComponentSpec | dict[str, Any]) -> ComponentContent:
    spec = ComponentSpec.model_validate(given)
    return ComponentContent(spec.name, first_sentence(plan.registry.entry(kind, spec.name).cls), spec.parameters)


def _method(folder: MethodFolder, plan: Plan, weights: int) -> MethodContent:
    record, trainer = folder.training, plan.methods[folder.label].spec.trainer
    return MethodContent(
        label=folder.label,
        # As it was saved: a search has changed parameters of the spec.
        reconstructor=_component(plan, "reconstructor", folder.reconstructor),
        trainer=None if trainer is None else _component(plan, "trainer", trainer),
        weights=weights,
        training_seconds=record.seconds,
        log=folder.log_table,
        log_summary=record.summary,
        warnings=folder.warnings,
        certificate=folder.certificate_sentence,
    )


def collect_analysis(folder: AnalysisFolder, description: str) -> AnalysisContent:
    """What an analysis left in a run or study folder: its findings and figures, or why it failed."""
    if (failure := folder.failure) is not None:
        return AnalysisContent(folder.key, description, failure=failure)
    found = folder.findings
    return AnalysisContent(
        folder.key, description, found.text, found.scalars, found.tables, folder.figures, left_out=folder.left_out
    )
