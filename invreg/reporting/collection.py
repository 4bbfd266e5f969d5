"""From a run folder to what its report shows; nothing is computed, so a report can be written anew at any time."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.plugins.describe import first_sentence
from invreg.reporting.content import (
    AnalysisContent,
    ComponentContent,
    FigureContent,
    MethodContent,
    MetricContent,
    ReportContent,
)
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.yaml import dump_yaml
from invreg.storage.certificates import verified_sentence

if TYPE_CHECKING:
    from invreg.specs.plan import Plan
    from invreg.storage.run_folder import RunFolder


def collect_report(store: RunFolder, plan: Plan) -> ReportContent:
    """Reads everything that the report of a run shows.

    Raises:
        StoreError: if the run is not finished.
    """
    run, spec = store.read_json("run.json"), plan.spec
    summary = store.read_table("summary.csv")
    sizes = dict(zip(summary["method"], summary["parameters"], strict=True))
    channels, height, width = run["image_shape"]
    return ReportContent(
        title=spec.title,
        seed=spec.seed,
        operator=_component(plan, "operator", spec.operator),
        noise=_component(plan, "noise", spec.noise),
        data=_component(plan, "dataset", spec.data),
        image_shape=(channels, height, width),
        image_counts={
            "training images": len(run["train"]["images"]),
            "validation images": len(run["val"]),
            "test images": len(run["test"]),
        },
        test_images=len(run["test"]),
        metrics=[MetricContent(name, m.unit, m.higher_is_better) for name, m in plan.metrics.items()],
        summary=summary,
        methods=[_method(store, plan, label, int(sizes[label])) for label in plan.methods],
        analyses=[
            collect_analysis(store, key, first_sentence(plan.registry.entry("analyzer", given.name).cls))
            for key, given in zip(plan.analyses, spec.analyses, strict=True)
        ],
        spec_yaml=dump_yaml(spec.model_dump(mode="json")),
        environment=store.read_json("environment.json"),
        command=f"invreg run spec.yaml --output {shlex.quote(store.path.parent.name or '.')}",
    )


def _component(plan: Plan, kind: str, given: ComponentSpec | dict[str, Any]) -> ComponentContent:
    spec = ComponentSpec.model_validate(given)
    return ComponentContent(spec.name, first_sentence(plan.registry.entry(kind, spec.name).cls), spec.parameters)


def _method(store: RunFolder, plan: Plan, label: str, weights: int) -> MethodContent:
    base, planned = Path("methods") / label, plan.methods[label]
    record = store.read_json(base / "training.json")
    evaluated = store.read_json(base / "evaluation.json")
    trainer = planned.spec.trainer
    return MethodContent(
        label=label,
        # As it was saved: a search has changed parameters of the spec.
        reconstructor=_component(plan, "reconstructor", store.read_json(base / "reconstructor.json")),
        trainer=None if trainer is None else _component(plan, "trainer", trainer),
        weights=weights,
        training_seconds=record["seconds"],
        log=store.read_log(label),
        log_summary=record["summary"],
        warnings=[*record["warnings"], *evaluated["warnings"]],
        certificate=verified_sentence(store, label),
    )


def collect_analysis(store: RunFolder, key: str, description: str) -> AnalysisContent:
    """What an analysis left in a run or study folder: its findings and figures, or why it failed."""
    base = Path("analyses") / key
    failure = store.path / base / "failure.txt"
    if failure.is_file():
        return AnalysisContent(key, description, failure=failure.read_text(encoding="utf-8").split("\n\n")[0])
    findings = store.read_findings(key)
    figures = _figures(store.path / base / "figures", store.read_json(base / "figures.json"))
    # Analyses of studies choose their methods themselves, and say so.
    left_out = store.read_json(base / "left_out.json") if store.has(base / "left_out.json") else {}
    return AnalysisContent(
        key, description, findings.text, findings.scalars, findings.tables, figures, left_out=left_out
    )


def _figures(folder: Path, names: Sequence[str]) -> list[FigureContent]:
    """The figures in the order in which they were drawn; the caption is the title that the SVG carries."""
    figures = []
    for name in names:
        svg, png = (_bytes(folder / f"{name}{suffix}") for suffix in (".svg", ".png"))
        found = re.search(rb"<title>(.*?)</title>", svg or b"", re.DOTALL)
        caption = html.unescape(found.group(1).decode()) if found else ""
        figures.append(FigureContent(name, caption, svg, png))
    return figures


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
