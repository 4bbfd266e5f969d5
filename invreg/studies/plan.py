"""From the spec of a study to the plans of all its cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invreg.components.operator import UnknownOperator
from invreg.components.study_analyzer import StudyAnalyzer
from invreg.errors import SpecError
from invreg.plugins.registry import Registry, plain_form, spec_of
from invreg.schema.component_spec import ComponentSpec, join_errors
from invreg.specs.matrix import expand, in_words, value_label
from invreg.specs.plan import Plan, make_plan, needs_the_operator
from invreg.specs.spec import parse_spec
from invreg.text import unique_names


@dataclass(frozen=True)
class PlannedCell:
    """A cell: the values of what the study varies, as tables show them, and its plan."""

    values: dict[str, Any]
    plan: Plan


@dataclass(frozen=True)
class StudyPlan:
    """A study with everything built that can be built without data.

    Attributes:
        title: the study's title.
        content: the spec with its `matrix` and `study_analyses`, as a file would give it.
        axes: varied path to its values, as tables show them.
        cells: all cells, in order.
        analyses: the study analyses by the names under which their findings lie.
        specs: their specs with all defaults.
        registry: where the components come from.
    """

    title: str
    content: Mapping[str, Any]
    axes: dict[str, list[Any]]
    cells: list[PlannedCell]
    analyses: dict[str, StudyAnalyzer]
    specs: list[ComponentSpec]
    registry: Registry

    @property
    def digest(self) -> str:
        """Hash of the plans of all cells; the name of the study folder carries it."""
        content = [cell.plan.digest for cell in self.cells]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def plan_study(content: Mapping[str, Any], registry: Registry) -> StudyPlan:
    """All cells of a study with everything checked that can be checked without data.

    Raises:
        SpecError: with the problems of all cells, each said once.
    """
    # As a file would give it: components as their specs, and numbers of Python.
    content = json.loads(json.dumps({key: plain_form(value, key, registry) for key, value in content.items()}))
    base = {key: value for key, value in content.items() if key not in ("matrix", "study_analyses")}
    title = str(base.get("title", "Study"))
    expanded = expand(base, _mapping(content["matrix"]))
    paths = list(dict.fromkeys(path for cell in expanded for path in cell.values))
    raw = {path: _distinct([cell.values[path] for cell in expanded if path in cell.values]) for path in paths}
    cells: list[PlannedCell] = []
    problems: dict[str, SpecError] = {}
    for cell in expanded:
        values = {path: value_label(cell.values[path], raw[path]) for path in paths if path in cell.values}
        try:
            spec = parse_spec({**cell.content, "title": f"{title}: {in_words(values)}"})
            cells.append(PlannedCell(values, make_plan(spec, registry)))
        except SpecError as error:
            problems.setdefault(str(error), SpecError(str(error), where=f"cell {in_words(values)}"))
    analyses, specs = _study_analyses(content.get("study_analyses") or [], registry, problems)
    if any(isinstance(cell.plan.operator, UnknownOperator) for cell in cells):
        for index, (given, analyzer) in enumerate(zip(specs, analyses.values(), strict=True)):
            if analyzer.needs_operator:
                refusal = needs_the_operator(f"study_analyses.{index}", given.name)
                problems[str(refusal)] = refusal
    if problems:
        raise join_errors(list(problems.values()))
    axes = {path: _distinct([cell.values[path] for cell in cells if path in cell.values]) for path in paths}
    return StudyPlan(title, content, axes, cells, analyses, specs, registry)


def _study_analyses(
    given: Any, registry: Registry, problems: dict[str, SpecError]
) -> tuple[dict[str, StudyAnalyzer], list[ComponentSpec]]:
    if not isinstance(given, list):
        raise SpecError(f"{given!r}", where="study_analyses", expected="a list of study analyzers")
    built, specs = [], []
    for index, spec in enumerate(given):
        try:
            built.append(registry.build("study_analyzer", spec, f"study_analyses.{index}"))
            specs.append(ComponentSpec.model_validate(spec_of(built[-1], registry)))
        except SpecError as error:
            problems[str(error)] = error
    return dict(zip(unique_names([spec.name for spec in specs]), built, strict=True)), specs


def _mapping(matrix: Any) -> Mapping[str, Any]:
    if not isinstance(matrix, Mapping) or not matrix:
        raise SpecError(f"{matrix!r}", where="matrix", expected="a mapping of dotted paths to lists of values")
    return matrix


def _distinct(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
