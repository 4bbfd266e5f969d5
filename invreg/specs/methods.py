"""From the methods of a plan to reconstructors that are set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from invreg.components.streams import stream_key
from invreg.components.trainer import Method
from invreg.errors import InvregError
from invreg.schema.component_spec import ComponentSpec
from invreg.schema.parameters import parameters_model

if TYPE_CHECKING:
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem
    from invreg.components.reconstructor import Reconstructor
    from invreg.specs.plan import Plan, PlannedMethod


def make_method(
    plan: Plan, planned: PlannedMethod, problem: Problem, image_shape: Shape, device: torch.device
) -> Method:
    """The method as its trainer sees it; `build` makes fresh, reproducible instances."""
    given = planned.spec.reconstructor
    return Method(
        label=planned.label,
        parameters=given.parameters,
        schema=parameters_model(plan.registry.entry("reconstructor", given.name).cls),
        build=lambda **changes: build_reconstructor(
            plan, planned.label, {**given.model_dump(), **changes}, problem, image_shape, device
        ),
        registry=plan.registry,
    )


def build_reconstructor(
    plan: Plan,
    label: str,
    spec: ComponentSpec | dict[str, Any],
    problem: Problem,
    image_shape: Shape,
    device: torch.device,
) -> Reconstructor:
    """A reconstructor that is set up; its random initial weights depend on the run's seed and the label only."""
    where = f"methods.{label}.reconstructor"
    reconstructor: Reconstructor = plan.registry.build("reconstructor", spec, where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(plan.spec.seed, "initialisation", label))
        try:
            reconstructor.setup(problem, image_shape)
        except InvregError as error:
            raise error.at(where) from None
    return reconstructor.to(device)
