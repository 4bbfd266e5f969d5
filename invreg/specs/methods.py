"""From the methods of a plan to reconstructors that are set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from invreg.components.foreign import blamed
from invreg.components.trainer import Method
from invreg.computing.memory import within_memory
from invreg.computing.streams import stream_key
from invreg.errors import InvregError, SpecError
from invreg.schema.parameters import parameters_model

if TYPE_CHECKING:
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem
    from invreg.components.reconstructor import Reconstructor
    from invreg.specs.plan import Plan, PlannedMethod


class ReconstructorBuilder:
    """Makes the reconstructors of one method and sets them up.

    Initial weights depend on the run's seed and the label only. The first reconstructor is the one that the plan holds
    already: it is looked at when the spec is checked, and then trained or loaded.

    Args:
        plan: the plan.
        label: the method.
        problem: operator and noise, on the device.
        image_shape: (C, H, W) of the images.
        device: where reconstructors are put.
    """

    def __init__(self, plan: Plan, label: str, problem: Problem, image_shape: Shape, device: torch.device) -> None:
        self.label, self.problem = label, problem
        self._plan, self._image_shape, self._device = plan, image_shape, device
        self._first: Reconstructor | None = None

    @property
    def _planned(self) -> PlannedMethod:
        return self._plan.methods[self.label]

    def first(self) -> Reconstructor:
        """The reconstructor that comes next, to look at."""
        if self._first is None:
            unused = self._planned.unused
            self._first = self._set_up(unused.pop()) if unused else self._built(self._planned.spec.reconstructor)
        return self._first

    def __call__(self, **changes: Any) -> Reconstructor:
        """A reconstructor of its own for the caller; keyword arguments change parameters from those of the spec."""
        return self.of({**self._planned.spec.reconstructor.model_dump(), **changes})

    def of(self, spec: Mapping[str, Any]) -> Reconstructor:
        """A reconstructor of its own for the caller, with the name and the parameters of a complete spec."""
        if spec != self._planned.spec.reconstructor.model_dump():
            return self._built(spec)
        built, self._first = self.first(), None
        return built

    def _built(self, spec: Any) -> Reconstructor:
        return self._set_up(self._plan.registry.build("reconstructor", spec, self._where))

    def _set_up(self, reconstructor: Reconstructor) -> Reconstructor:
        try:
            set_up(reconstructor, self.problem, self._image_shape, self._plan.spec.seed, self.label)
        except InvregError as error:
            raise error.at(self._where, of=reconstructor) from None
        return reconstructor.to(self._device)

    def started(self, **changes: Any) -> Reconstructor:
        """As a call, with the weights of the model that the method starts from, if it does.

        Raises:
            SpecError: if they cannot be read, were changed, or do not fit.
        """
        reconstructor = self(**changes)
        self.give_start(reconstructor)
        return reconstructor

    def give_start(self, reconstructor: Reconstructor) -> None:
        """Gives a reconstructor the weights that the method starts from, if it does; see `started`."""
        if (start := self._planned.spec.start_from) is not None:
            try:
                start.give(reconstructor)
            except SpecError as error:
                raise error.at(f"methods.{self.label}") from None

    @property
    def _where(self) -> str:
        return f"methods.{self.label}.reconstructor"


def set_up(reconstructor: Reconstructor, problem: Problem, image_shape: Shape, seed: int, label: str) -> None:
    """Sets a reconstructor up, with the initial weights of a seed and a label."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(seed, "initialisation", label))
        with within_memory(), blamed(reconstructor, ""):
            reconstructor.setup(problem, image_shape)


def make_method(plan: Plan, build: ReconstructorBuilder) -> Method:
    """The method as its trainer sees it."""
    given = plan.methods[build.label].spec.reconstructor
    return Method(
        label=build.label,
        parameters=given.parameters,
        schema=parameters_model(plan.registry.entry("reconstructor", given.name).cls),
        build=build.started,
        registry=plan.registry,
    )
