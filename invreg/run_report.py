"""The report of a run, from what its folder holds."""

from __future__ import annotations

import shlex
from pathlib import Path

from invreg.describe import first_sentence
from invreg.plan import Plan
from invreg.report import render_report
from invreg.report_content import (
    AnalysisContent,
    ComponentContent,
    FigureContent,
    MethodContent,
    MetricContent,
    ReportContent,
)
from invreg.spec import ComponentSpec, dump_yaml
from invreg.store import RunFolder


def write_report(folder: RunFolder, plan: Plan) -> Path:
    """Writes `report.html` into the folder of a finished run and returns its path.

    Raises:
        StoreError: if the run is not finished.
    """
    folder.write_text("report.html", render_report(_content(folder, plan)))
    return folder.path / "report.html"


def _content(folder: RunFolder, plan: Plan) -> ReportContent:
    identity, summary = folder.read_json("run.json"), folder.read_table("summary.csv")
    channels, height, width = identity["image_shape"]
    counts = {
        "training images": len(identity["train"]["images"]),
        "validation images": len(identity["val"]),
        "test images": len(identity["test"]),
    }
    return ReportContent(
        title=plan.spec.title,
        seed=plan.spec.seed,
        operator=_component(plan, "operator", plan.spec.operator),
        noise=_component(plan, "noise", plan.spec.noise),
        data=_component(plan, "dataset", plan.spec.data),
        image_shape=(channels, height, width),
        image_counts=counts,
        test_images=len(identity["test"]),
        metrics=[MetricContent(name, m.unit, m.higher_is_better) for name, m in plan.metrics.items()],
        summary=summary,
        methods=[_method(folder, plan, label) for label in plan.methods],
        analyses=[
            _analysis(folder, plan, key, spec) for key, spec in zip(plan.analyses, plan.spec.analyses, strict=True)
        ],
        spec_yaml=dump_yaml(plan.spec.model_dump(mode="json")),
        environment=folder.read_json("environment.json"),
        command=f"invreg run {shlex.quote(str(folder.path / 'spec.yaml'))}",
    )


def _component(plan: Plan, kind: str, spec: ComponentSpec) -> ComponentContent:
    return ComponentContent(spec.name, first_sentence(plan.registry.entry(kind, spec.name).cls), spec.parameters)


def _method(folder: RunFolder, plan: Plan, label: str) -> MethodContent:
    base = Path("methods") / label
    record, evaluated = folder.read_json(base / "training.json"), folder.read_json(base / "evaluation.json")
    trainer = plan.methods[label].spec.trainer
    return MethodContent(
        label=label,
        reconstructor=_component(plan, "reconstructor", ComponentSpec(**folder.read_json(base / "reconstructor.json"))),
        trainer=_component(plan, "trainer", trainer) if trainer else None,
        weights=record["parameters"],
        training_seconds=record["seconds"],
        log=folder.read_log(label),
        log_summary=record["summary"],
        warnings=[*record["warnings"], *evaluated["warnings"]],
    )


def _analysis(folder: RunFolder, plan: Plan, key: str, spec: ComponentSpec) -> AnalysisContent:
    base = Path("analyses") / key
    description = first_sentence(plan.registry.entry("analyzer", spec.name).cls)
    if folder.has(base / "failure.txt"):
        cause = (folder.path / base / "failure.txt").read_text(encoding="utf-8").splitlines()[0]
        return AnalysisContent(key, description, failure=cause)
    findings = folder.read_findings(key)
    figures = [
        FigureContent(
            name=name,
            caption=name.replace("_", " ").capitalize(),
            svg=(folder.path / base / "figures" / f"{name}.svg").read_bytes(),
            png=(folder.path / base / "figures" / f"{name}.png").read_bytes(),
        )
        for name in folder.read_json(base / "figures.json")
    ]
    return AnalysisContent(key, description, findings.text, findings.scalars, findings.tables, figures)
