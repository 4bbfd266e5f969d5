"""From a suite to the plans of all its runs, and the methods that are left out, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from invreg.benchmarks.suite import Suite, digest_of, reconstructor_name
from invreg.components.dataset import Splits
from invreg.components.foreign import blamed
from invreg.components.problem import Problem
from invreg.errors import DataError, ShapeError, SpecError, did_you_mean, join_errors, recorded_warnings
from invreg.plugins.registry import Registry, spec_of
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.methods import ReconstructorBuilder, make_method
from invreg.specs.plan import Plan, make_plan
from invreg.specs.spec import parse_spec
from invreg.studies.plan import PlannedCell, StudyPlan

#: What a cell of a benchmark is called by, as tables of studies show it.
PROBLEM, LABEL, SEED = "problem", "label", "seed"


@dataclass(frozen=True)
class LeftOut:
    """A method for which a problem is not made."""

    problem: str
    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan(StudyPlan):
    """A suite as a study: one run for each problem, method and seed.

    Attributes:
        suite: the suite.
        terms: all that results must share to be compared: everything in the suite but its methods, with all defaults.
        pixels: of the images of each problem, the hash of all pixels.
        left_out: methods for which a problem is not made.
    """

    suite: Suite
    terms: Mapping[str, Any]
    pixels: Mapping[str, str]
    left_out: Sequence[LeftOut]

    @property
    def digest(self) -> str:
        """Hash of the terms: a suite with a further method goes on in the same folder."""
        return digest_of(self.terms)


def plan_benchmark(
    suite: Suite,
    registry: Registry,
    command: str,
    *,
    problems: Collection[str] = (),
    methods: Collection[str] = (),
    executor: Any = None,
) -> BenchmarkPlan:
    """All runs of a suite, with everything checked that can be checked before anything is computed.

    Args:
        suite: the suite at one size.
        registry: where components come from.
        command: which repeats the benchmark, for its folder and its page.
        problems: names of the problems to do; all if empty.
        methods: labels of the methods to do; all if empty.
        executor: the spec of what computes the runs; this process if None.

    Raises:
        SpecError: if a name or a parameter is wrong, or a method fits no problem.
        DataError: if the images cannot be used.
    """
    chosen = _chosen(problems, suite.problems, "problem")
    labels = _chosen(methods, suite.methods, "method")
    terms = _terms(suite, registry)
    cells: list[PlannedCell] = []
    left_out: list[LeftOut] = []
    errors: list[SpecError] = []
    images: dict[str, Splits] = {}
    pixels: dict[str, str] = {}
    for name in chosen:
        data = suite.data_of(name)
        key = data.model_dump_json()
        if key not in images:
            images[key] = _images(registry, data)
        pixels[name] = str(images[key].fingerprint()["pixels"])
        for label in labels:
            try:
                own = _cells(suite, registry, name, label, images[key], left_out)
                cells += own
            except SpecError as error:
                errors += error.problems or [error]
    errors = list({str(error): error for error in errors}.values())  # what is wrong with a method is wrong everywhere
    errors += _unused_parameters(suite, registry, chosen)
    if not errors and (len(chosen) == len(suite.problems) or not cells):
        errors += _useless(labels, cells, left_out)
    if errors:
        raise join_errors(errors)
    content = {
        "title": f"{suite.title} {suite.size}",
        "command": command,
        "terms": dict(terms),
        "pixels": pixels,
        "left_out": [[one.problem, one.label, one.reason] for one in left_out],
        "matrix": {"include": [dict(cell.values) for cell in cells]},
    }
    return BenchmarkPlan(
        title=f"{suite.title} {suite.size}",
        content=content,
        axes={key: list(dict.fromkeys(cell.values[key] for cell in cells)) for key in (PROBLEM, LABEL, SEED)},
        cells=cells,
        analyses={},
        specs=[],
        registry=registry,
        executor=None if executor is None else registry.build("executor", executor, "executor"),
        suite=suite,
        terms=terms,
        pixels=pixels,
        left_out=left_out,
    )


def _chosen(given: Collection[str], known: Collection[str], what: str) -> list[str]:
    """The names that were given, in the order of the suite; all if none were."""
    for name in given:
        if name not in known:
            raise SpecError(
                f"no {what} {name!r} in this suite",
                where=f"{what}s",
                expected=f"one of {', '.join(known)}",
                hint=did_you_mean(name, known),
            )
    return [name for name in known if not given or name in given]


def _terms(suite: Suite, registry: Registry) -> dict[str, Any]:
    """What has to agree, with all defaults, so that a version with other defaults has other terms."""

    def resolved(kind: str, given: ComponentSpec, where: str) -> Any:
        return spec_of(registry.build(kind, given, where), registry)

    return {
        "title": suite.title,
        "version": suite.version,
        "size": suite.size,
        "metrics": [resolved("metric", metric, f"metrics.{i}") for i, metric in enumerate(suite.metrics)],
        "attack": resolved("analyzer", suite.attack, "attack"),
        "trainers": {name: resolved("trainer", one, f"trainers.{name}") for name, one in suite.trainers.items()},
        "problems": {
            name: {
                "data": resolved("dataset", suite.data_of(name), f"problems.{name}.data"),
                "operator": resolved("operator", one.operator, f"problems.{name}.operator"),
                "noise": resolved("noise", one.noise, f"problems.{name}.noise"),
                "seeds": suite.seeds_of(name),
                "parameters": one.parameters,
            }
            for name, one in suite.problems.items()
        },
    }


def _images(registry: Registry, data: ComponentSpec) -> Splits:
    dataset = registry.build("dataset", data, "data")
    with blamed(dataset, "data", DataError):
        return dataset.splits()


def _cells(
    suite: Suite, registry: Registry, problem: str, label: str, images: Splits, left_out: list[LeftOut]
) -> list[PlannedCell]:
    """The cells of a method on a problem, one for each seed; none if it is left out, which is noted."""
    name = reconstructor_name(suite.methods[label])
    known = registry.parameters("reconstructor", name).model_fields if name in registry.names("reconstructor") else ()
    _check_trainer(suite, registry, label)
    specs = {seed: parse_spec(suite.cell(problem, label, seed, known)) for seed in suite.seeds_of(problem)}
    given = next(iter(specs.values())).methods[label].reconstructor
    reconstructor = registry.build("reconstructor", given, f"methods.{label}.reconstructor")
    operator = registry.build("operator", suite.problems[problem].operator)
    reason = _refusal(lambda: reconstructor.check_operator(operator), reconstructor)
    plans = {} if reason else {seed: make_plan(spec, registry) for seed, spec in specs.items()}
    for plan in list(plans.values())[:1]:  # what does not fit with one seed does with none
        reason = why_not(plan, label, images)
    if reason is not None:
        left_out.append(LeftOut(problem, label, reason))
        return []
    return [PlannedCell({PROBLEM: problem, LABEL: label, SEED: seed}, plan) for seed, plan in plans.items()]


def _check_trainer(suite: Suite, registry: Registry, label: str) -> None:
    """A trainer that is given by its name alone is one of the suite, or registered."""
    given = suite.methods[label]
    name = given.get("trainer") if isinstance(given, Mapping) else None
    known = [*suite.trainers, *registry.entries("trainer")]
    if isinstance(name, str) and name not in known:
        raise SpecError(
            f"there is no trainer {name!r}",
            where=f"methods.{label}.trainer",
            expected=f"one of the suite, {', '.join(suite.trainers) or 'which has none'}, or a trainer with parameters",
            hint=did_you_mean(name, known),
        )


def why_not(plan: Plan, label: str, images: Splits) -> str | None:
    """Why a problem is not made for a method or its trainer, in their own words; None if it is."""
    device = torch.device("cpu")
    build = ReconstructorBuilder(plan, label, Problem(plan.operator, plan.noise), images.test.image_shape, device)
    trainer = plan.methods[label].trainer

    def ask() -> None:
        reconstructor = build.first()
        if trainer is not None:
            trainer.check(make_method(plan, build), reconstructor)

    return _refusal(ask, trainer or plan)


def _refusal(ask: Callable[[], None], component: object) -> str | None:
    """What a question is answered with, if it is refused."""
    try:
        with recorded_warnings([]), blamed(component, "", SpecError):  # a run gives warnings again
            ask()
    except (SpecError, ShapeError) as error:
        return error.what
    return None


def _unused_parameters(suite: Suite, registry: Registry, problems: Collection[str]) -> list[SpecError]:
    """Parameters of problems that no method of the suite has: they are misspelt."""
    names = {reconstructor_name(method) for method in suite.methods.values()} & set(registry.names("reconstructor"))
    known = {field for name in names for field in registry.parameters("reconstructor", name).model_fields}
    return [
        SpecError(
            "no method of the suite has this parameter",
            where=f"problems.{name}.parameters.{parameter}",
            hint=did_you_mean(parameter, known),
        )
        for name in problems
        for parameter in suite.problems[name].parameters
        if parameter not in known
    ]


def _useless(labels: list[str], cells: list[PlannedCell], left_out: list[LeftOut]) -> list[SpecError]:
    """Methods that fit none of the problems."""
    used = {cell.values[LABEL] for cell in cells}
    reasons = {one.label: one.reason for one in left_out}
    return [
        SpecError(
            f"fits none of the problems: {reasons[label]}",
            where=f"methods.{label}",
            expected="a method that is made for one of them",
            hint="other problems, or leave this method out",
        )
        for label in labels
        if label not in used
    ]
