"""Reconstruction by gradient steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

import invreg


class Landweber(invreg.Reconstructor):
    """Gradient steps from zero, x <- x + A*(z - A x) / ||A||²; stopping early is the regularisation."""

    def __init__(
        self,
        iterations: Annotated[
            int,
            Field(
                ge=1,
                description="number of steps; the noisier z, the fewer",
                json_schema_extra=invreg.search_range(1, 200, log=True),
            ),
        ] = 30,
    ) -> None:
        super().__init__()
        self.iterations = iterations

    def check_operator(self, operator: invreg.Operator) -> None:
        if not isinstance(operator, invreg.LinearOperator):
            raise invreg.SpecError(
                f"landweber cannot invert {type(operator).__name__}",
                expected="a linear operator",
                hint="tv or a network",
            )

    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        self.check_operator(problem.operator)
        super().setup(problem, image_shape)
        self.step = 1 / problem.norm(image_shape).value ** 2

    def forward(self, z: Tensor) -> Tensor:
        operator = self.problem.operator
        x = self.step * operator.adjoint(z)
        for _ in range(self.iterations - 1):
            x = x + self.step * operator.adjoint(z - operator(x))
        return x
