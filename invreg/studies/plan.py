"""From the spec of a study to the plans of all its cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invreg.components.executor import Executor
from invreg.components.operator import UnknownOperator
from invreg.components.study_analyzer import StudyAnalyzer
from invreg.errors import SpecError, did_you_mean, join_errors
from invreg.plugins.registry import Registry, plain_form, spec_of
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.matrix import expand, in_words, value_label
from invreg.specs.plan import Plan, make_plan, needs_the_operator
from invreg.specs.reading import REFERENCES, read_content
from invreg.specs.references import check_coverage, reference_tables
from invreg.specs.spec import Spec, parse_spec
from invreg.text import unique_names

#: What the spec of a study has and that of a single run has not.
_OF_STUDIES = ("matrix", "study_analyses", "headings", REFERENCES, "executor")


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
        content: the spec with its `matrix`, `study_analyses`, `headings` and `references`, as a file would give it.
        axes: varied path to its values, as tables show them.
        cells: all cells, in order.
        analyses: the study analyses by the names under which their findings lie.
        specs: their specs with all defaults.
        registry: where the components come from.
        executor: where the cells are computed; None for this process, one after the other.
    """

    title: str
    content: Mapping[str, Any]
    axes: dict[str, list[Any]]
    cells: list[PlannedCell]
    analyses: dict[str, StudyAnalyzer]
    specs: list[ComponentSpec]
    registry: Registry
    executor: Executor | None = None

    @property
    def digest(self) -> str:
        """Hash of the plans of all cells; the name of the study folder carries it."""
        content = [cell.plan.digest for cell in self.cells]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def plan_study(content: Mapping[str, Any], registry: Registry, *, to_look_at: bool = False) -> StudyPlan:
    """All cells of a study with everything checked that can be checked without data.

    Args:
        content: the spec of the study.
        registry: where components come from.
        to_look_at: whether no cell will be run with this plan; equal components of cells are then built once.

    Raises:
        SpecError: with the problems of all cells, each said once.
    """
    # As a file would give it: components as their specs, and numbers of Python.
    content = json.loads(json.dumps({key: plain_form(value, key, registry) for key, value in content.items()}))
    base = {key: value for key, value in content.items() if key not in _OF_STUDIES}
    title = str(base.get("title", "Study"))
    expanded = expand(base, _mapping(content["matrix"]))
    paths = list(dict.fromkeys(path for cell in expanded for path in cell.values))
    raw = {path: _distinct([cell.values[path] for cell in expanded if path in cell.values]) for path in paths}
    cells: list[PlannedCell] = []
    problems: dict[str, SpecError] = {}
    executor = _executor(content.get("executor"), registry, problems)
    built: dict[tuple[str, str], Any] | None = {} if to_look_at or executor is not None else None
    for cell in expanded:
        values = {path: value_label(cell.values[path], raw[path]) for path in paths if path in cell.values}
        try:
            spec = parse_spec({**cell.content, "title": f"{title}: {in_words(values)}"})
            cells.append(PlannedCell(values, make_plan(spec, registry, built)))
        except SpecError as error:
            problems.setdefault(str(error), SpecError(str(error), where=f"cell {in_words(values)}"))
    analyses, specs = _study_analyses(content.get("study_analyses") or [], registry, problems)
    _check_headings(content.get("headings"), analyses, problems)
    _check_references(content.get(REFERENCES), analyses, paths, cells, problems)
    if any(isinstance(cell.plan.operator, UnknownOperator) for cell in cells):
        for index, (given, analyzer) in enumerate(zip(specs, analyses.values(), strict=True)):
            if analyzer.needs_operator:
                refusal = needs_the_operator(f"study_analyses.{index}", given.name)
                problems[str(refusal)] = refusal
    if problems:
        raise join_errors(list(problems.values()))
    axes = {path: _distinct([cell.values[path] for cell in cells if path in cell.values]) for path in paths}
    return StudyPlan(title, content, axes, cells, analyses, specs, registry, executor)


def study_content(
    source: Spec | Mapping[str, Any] | str | Path, overrides: Iterable[str], executor: Any = None
) -> dict[str, Any]:
    """What a spec says, with an executor in place of its own, and then `path=value` overrides.

    An executor that is given by its name alone keeps the parameters that the spec has for it.

    Raises:
        SpecError: if the file is missing or malformed, or an override has no place.
    """
    content = read_content(source)
    own = content.get("executor")
    if executor is not None and not (isinstance(own, Mapping) and own.get("name") == executor):
        content["executor"] = executor
    content = read_content(content, overrides)
    if isinstance(own := content.get("executor"), Mapping) and "name" not in own:
        content["executor"] = {"name": "local", **own}  # `--jobs 4` alone
    return content


def _executor(given: Any, registry: Registry, problems: dict[str, SpecError]) -> Executor | None:
    try:
        return None if given is None else registry.build("executor", given, "executor")
    except SpecError as error:
        problems[str(error)] = error
        return None


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


def _check_headings(given: Any, analyses: Mapping[str, Any], problems: dict[str, SpecError]) -> None:
    """Headings change nothing but the report; one for an analysis that is not there would be lost."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise SpecError(f"{given!r}", where="headings", expected="a mapping of study analyses to texts")
    for key, text in given.items():
        error = None
        if key not in analyses:
            hint = did_you_mean(str(key), analyses)
            error = SpecError("is no study analysis of this spec", where=f"headings.{key}", hint=hint)
        elif not isinstance(text, str):
            error = SpecError(f"{text!r}", where=f"headings.{key}", expected="a text, as in Figures 4 and 5")
        if error is not None:
            problems[str(error)] = error


def _check_references(
    given: Any,
    analyses: Mapping[str, Any],
    paths: Collection[str],
    cells: Sequence[PlannedCell],
    problems: dict[str, SpecError],
) -> None:
    """References change nothing but the report; what is said there of cells that do not exist would be lost."""
    metrics = dict.fromkeys(spec.name for cell in cells for spec in cell.plan.spec.metrics)
    if not cells:  # and so no metrics
        return
    try:
        tables = reference_tables(given, analyses, paths, metrics)
        if not problems:
            check_coverage(tables, [(cell.values, cell.plan.spec.methods) for cell in cells])
    except SpecError as error:
        problems.update((str(one), one) for one in error.problems or [error])


def _mapping(matrix: Any) -> Mapping[str, Any]:
    if not isinstance(matrix, Mapping) or not matrix:
        raise SpecError(f"{matrix!r}", where="matrix", expected="a mapping of dotted paths to lists of values")
    return matrix


def _distinct(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
