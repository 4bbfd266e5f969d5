"""From a spec to components, with everything checked that can be checked without data."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from invreg.components.analyzer import Analyzer
from invreg.components.dataset import ImageDataset, MeasuredDataset
from invreg.components.metric import Metric
from invreg.components.noise import Noise
from invreg.components.operator import Operator, UnknownOperator
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor, certainly_lacks
from invreg.components.trainer import Trainer
from invreg.computing.memory import TooLarge, within_memory
from invreg.errors import SpecError, join_errors
from invreg.plugins.discovery import OWN
from invreg.plugins.registry import Registry, spec_of
from invreg.schema.component_spec import ComponentSpec
from invreg.specs.spec import MethodSpec, Spec
from invreg.text import unique_names

#: The shape of an image for which methods are set up before there are images.
_SMALL = (1, 32, 32)


@dataclass(frozen=True)
class PlannedMethod:
    """A method whose parameters are known to be good.

    Attributes:
        label: its name in the spec.
        spec: reconstructor and trainer with all defaults.
        trainer: None for a method that is not trained.
        unused: the reconstructor that was built when the spec was checked, until it is set up and trained or loaded.
    """

    label: str
    spec: MethodSpec
    trainer: Trainer | None
    unused: list[Reconstructor]


@dataclass(frozen=True)
class Plan:
    """A spec with all defaults filled in, and its components.

    Attributes:
        spec: the resolved spec.
        digest: hash of the resolved spec without its title and its analyses; the name of the run folder carries it. So
            a finished run that is asked for one more analysis is the same run, and nothing is trained again.
    """

    spec: Spec
    digest: str
    registry: Registry
    dataset: ImageDataset
    operator: Operator
    noise: Noise
    metrics: dict[str, Metric]
    methods: dict[str, PlannedMethod]
    analyses: dict[str, Analyzer]


def make_plan(spec: Spec, registry: Registry, built: dict[tuple[str, str], Any] | None = None) -> Plan:
    """Builds everything that the spec names; no data is read. What was built remembers its spec with all defaults.

    Args:
        spec: what to plan.
        registry: where components come from.
        built: components of other plans, by kind and spec, to which those of this one are added: plans that are only
            looked at share them.

    Raises:
        SpecError: with all problems that were found, each with its path in the spec.
    """
    problems: list[SpecError] = []

    def attempt(kind: str, given: ComponentSpec, where: str) -> tuple[Any, Any]:
        key = (kind, given.model_dump_json()) if built is not None else ("", "")
        try:
            if built and key in built:
                return built[key]
            component = registry.build(kind, given, where)
            made = component, ComponentSpec.model_validate(spec_of(component, registry))
            if built is not None:
                built[key] = made
            return made
        except SpecError as error:
            problems.append(error)
            return None, given

    dataset, data_spec = attempt("dataset", spec.data, "data")
    operator, operator_spec = attempt("operator", spec.operator, "operator")
    noise, noise_spec = attempt("noise", spec.noise, "noise")
    metrics = [(given.name, *attempt("metric", given, f"metrics.{i}")) for i, given in enumerate(spec.metrics)]
    analyses = [(given.name, *attempt("analyzer", given, f"analyses.{i}")) for i, given in enumerate(spec.analyses)]
    methods = {label: _plan_method(label, given, attempt, problems) for label, given in spec.methods.items()}
    repeated = [name for name, uses in Counter(given.name for given in spec.metrics).items() if uses > 1]
    problems += [SpecError(f"the metric {name!r} is listed twice", where="metrics") for name in sorted(repeated)]
    if operator is not None:
        problems += _unfit(methods, operator)
    problem = Problem(operator, noise) if operator is not None and noise is not None else None
    problems += [
        nothing_trains(label, method.spec)
        for label, method in methods.items()
        # Of a trainer that could not be built it is not known what it does.
        if not (method.trainer.fits_weights() if method.trainer else method.spec.trainer)
        and method.spec.start_from is None
        and needs_training(method, problem, registry)
    ]
    if dataset is not None and operator is not None:
        problems += _unmeasured(dataset, operator)
    problems += [
        needs_the_operator(f"analyses.{index}", name)
        for index, (name, analyzer, _) in enumerate(analyses)
        if isinstance(operator, UnknownOperator) and analyzer is not None and analyzer.needs_operator
    ]
    problems += _unable(methods, [(name, analyzer) for name, analyzer, _ in analyses if analyzer is not None])
    if problems:
        raise join_errors(problems)
    resolved = spec.model_copy(
        update={
            "data": data_spec,
            "operator": operator_spec,
            "noise": noise_spec,
            "metrics": [resolved for *_, resolved in metrics],
            "analyses": [resolved for *_, resolved in analyses],
            "methods": {label: method.spec for label, method in methods.items()},
        }
    )
    return Plan(
        spec=resolved,
        digest=_digest(resolved),
        registry=registry,
        dataset=dataset,
        operator=operator,
        noise=noise,
        metrics={name: metric for name, metric, _ in metrics},
        methods=methods,
        analyses=dict(zip(unique_names([name for name, *_ in analyses]), (a for _, a, _ in analyses), strict=True)),
    )


def _plan_method(
    label: str, given: MethodSpec, attempt: Callable[..., tuple[Any, Any]], problems: list[SpecError]
) -> PlannedMethod:
    reconstructor, spec = attempt("reconstructor", given.reconstructor, f"methods.{label}.reconstructor")
    trainer, trainer_spec = None, None
    if given.trainer is not None:
        trainer, trainer_spec = attempt("trainer", given.trainer, f"methods.{label}.trainer")
    unused = [] if reconstructor is None else [reconstructor]
    start = given.start_from
    try:
        start = start and start.resolved()
    except SpecError as error:
        problems.append(error.at(f"methods.{label}"))
    planned = MethodSpec(reconstructor=spec, trainer=trainer_spec, start_from=start)
    return PlannedMethod(label, planned, trainer, unused)


def _unfit(methods: Mapping[str, PlannedMethod], operator: Operator) -> list[SpecError]:
    """What speaks against using the methods with this operator."""
    problems = []
    for label, planned in methods.items():
        for reconstructor in planned.unused:
            try:
                reconstructor.check_operator(operator)
            except SpecError as error:
                error.at(f"methods.{label}.reconstructor", of=reconstructor)
                problems.append(error)
    return problems


def _unmeasured(dataset: ImageDataset, operator: Operator) -> list[SpecError]:
    """What speaks against measuring the images of this data set."""
    if not isinstance(operator, UnknownOperator) or isinstance(dataset, MeasuredDataset):
        return []
    return [
        SpecError(
            f"{type(operator).__name__} cannot measure the images of {type(dataset).__name__}: nothing but "
            "measurements is known of it",
            where="operator",
            expected="data that bring their measurements along",
            hint="data: {name: measured_pairs, ...}, or an operator with a formula",
        )
    ]


def needs_the_operator(where: str, name: str) -> SpecError:
    """An analysis that evaluates an operator of which nothing but measurements is known."""
    return SpecError(
        f"{name!r} evaluates the operator, of which nothing but measurements is known",
        where=where,
        expected="an operator with a formula",
        hint="leave this analysis out",
    )


def _unable(methods: Mapping[str, PlannedMethod], analyses: Sequence[tuple[str, Analyzer]]) -> list[SpecError]:
    """What speaks against the analyses, as far as the classes of the methods show it."""
    classes = [type(reconstructor) for method in methods.values() for reconstructor in method.unused]
    if len(classes) < len(methods):
        return []  # what could not be built may be what an analysis needs
    return [
        nothing_to_analyse(index, name, analyzer)
        for index, (name, analyzer) in enumerate(analyses)
        if all(any(certainly_lacks(cls, needed) for needed in analyzer.requires) for cls in classes)
    ]


#: A method is set up for its size where the largest number among its parameters, or their product, is above these.
_LARGE_NUMBER, _LARGE_PRODUCT = 4096, 10**12


def check_sizes(plan: Plan) -> None:
    """Refuses methods whose weights this machine cannot hold, without filling them; most are too small to be looked at.

    A run finds the same when it sets its methods up.

    Raises:
        SpecError: with the memory that each would take.
    """
    problems: list[SpecError] = []
    for label, method in plan.methods.items():
        if not _may_be_large(method):
            continue
        where = f"methods.{label}.reconstructor"
        try:
            second: Reconstructor = plan.registry.build("reconstructor", method.spec.reconstructor, where)
            with torch.random.fork_rng(devices=[]), within_memory(where, fill=False):
                second.setup(Problem(plan.operator, plan.noise), _SMALL)
        except TooLarge as error:
            problems.append(error)
        except Exception:  # noqa: BLE001, S112 (made for other images: the run will see)
            continue
    if problems:
        raise join_errors(problems)


def _may_be_large(method: PlannedMethod) -> bool:
    numbers = list(_whole_numbers(method.spec.reconstructor.parameters))
    return max(numbers, default=0) > _LARGE_NUMBER or math.prod(numbers) > _LARGE_PRODUCT


def follows_from_its_text(plan: Plan) -> bool:
    """Whether the same text gives the same plan as long as nothing is installed or removed.

    Components of third-party plugins may look at anything, models to start from and files that are named may change,
    and large methods depend on the memory that is free.
    """
    return (
        plan.registry.built_from <= {OWN}
        and not any(method.spec.start_from or _may_be_large(method) for method in plan.methods.values())
        and not _names_files(plan.spec.model_dump(mode="json", exclude={"title"}))
    )


def _names_files(value: Any) -> bool:
    """Whether a text, but the name of a component, may be the path of something on the disk."""
    if isinstance(value, Mapping):
        return any(_names_files(item) for key, item in value.items() if key != "name")
    if isinstance(value, list):
        return any(map(_names_files, value))
    try:
        return isinstance(value, str) and (value.startswith("~") or Path(value).exists())
    except (OSError, ValueError):  # not a path
        return False


def _whole_numbers(value: Any) -> Iterator[int]:
    """The whole numbers above 1 in the parameters of a component; of a list, the largest."""
    if isinstance(value, Mapping):
        value = list(value.values())
        for item in value:
            yield from _whole_numbers(item)
    elif isinstance(value, list | tuple):
        yield max((number for item in value for number in _whole_numbers(item)), default=1)
    elif isinstance(value, int) and value > 1:
        yield value


def needs_training(method: PlannedMethod, problem: Problem | None, registry: Registry) -> bool:
    """Whether a method has weights to train, as far as that can be seen without images."""
    for reconstructor in method.unused:
        if reconstructor.needs_training is not None or has_weights(reconstructor):
            return bool(reconstructor.needs_training) or has_weights(reconstructor)
        if problem is None or type(reconstructor).setup is Reconstructor.setup:
            return False
        try:
            second: Reconstructor = registry.build("reconstructor", method.spec.reconstructor)
            with torch.random.fork_rng(devices=[]):
                second.setup(problem, _SMALL)
        except Exception:  # noqa: BLE001 (not made for such an image: the run will see)
            return False
        return has_weights(second)
    return False


def has_weights(reconstructor: Reconstructor) -> bool:
    """Whether it has parameters that a trainer would change."""
    return any(parameter.requires_grad for parameter in reconstructor.parameters())


def nothing_trains(label: str, spec: MethodSpec) -> SpecError:
    """A method with weights and without a trainer of weights."""
    if spec.trainer is None:
        nested, where, what = False, f"methods.{label}", "nothing trains them"
    else:
        nested, where = "trainer" in spec.trainer.parameters, f"methods.{label}.trainer"
        what = f"{spec.trainer.name!r} does not train them" + (" without a trainer of its own" if nested else "")
    return SpecError(
        f"{spec.reconstructor.name!r} has weights, but {what}",
        where=f"{where}.trainer" if nested else where,
        expected="a trainer",
        hint="trainer: {name: reconstruction}",
    )


def nothing_to_analyse(index: int, name: str, analyzer: Analyzer) -> SpecError:
    """An analysis that no method has the capabilities for."""
    return SpecError(
        f"no method of this spec can be analysed by {name!r}",
        where=f"analyses.{index}",
        expected=f"a method that offers {', '.join(capability.__name__ for capability in analyzer.requires)}",
        hint="add one, or leave this analysis out",
    )


def _digest(spec: Spec) -> str:
    content = spec.model_dump(mode="json", exclude={"title", "analyses"})
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
