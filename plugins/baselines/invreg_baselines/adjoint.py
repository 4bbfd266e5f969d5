"""The scaled adjoint as a reconstruction."""

from __future__ import annotations

from torch import Tensor

from invreg import Operator, Problem, Reconstructor, Shape
from invreg_baselines.pull_back import require_linear


class Adjoint(Reconstructor):
    """x = A* z / ||A||², for linear operators A: one Landweber step from zero.

    It is neither clamped nor otherwise brought to the range of images.
    """

    needs_training = False

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that are not linear."""
        require_linear(operator, type(self).__name__)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Computes the norm of the operator on images of this shape.

        Raises:
            SpecError: if the operator is not linear.
            InvregError: if it is zero.
        """
        require_linear(problem.operator, type(self).__name__)
        super().setup(problem, image_shape)
        self._image_shape = tuple(image_shape)
        problem.normal_operator(self._image_shape)

    def forward(self, z: Tensor) -> Tensor:
        """A* z / ||A||², `[B, C, H, W]`."""
        return self.problem.normal_operator(self._image_shape).pull_back(z)
