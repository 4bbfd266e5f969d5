"""The scaled adjoint as a reconstruction."""

from __future__ import annotations

from torch import Tensor

from invreg import LinearOperator, Problem, PullBack, Shape


class Adjoint(PullBack):
    """x = A* z / ||A||², for linear operators A: one Landweber step from zero.

    It is neither clamped nor otherwise brought to the range of images.
    """

    @property
    def formula(self) -> str:
        return "A*z / ‖A‖²"

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Computes the norm of the operator on images of this shape.

        Raises:
            SpecError: if the operator is not linear.
            InvregError: if it is zero.
        """
        super().setup(problem, image_shape)
        self._image_shape = tuple(image_shape)
        problem.normal_operator(self._image_shape)

    def forward(self, z: Tensor) -> Tensor:
        """A* z / ||A||², `[B, C, H, W]`."""
        return self.problem.normal_operator(self._image_shape).pull_back(z)

    def norm_bound(self, image_shape: Shape) -> float:
        """A bound of ||A|| over the ||A||² of the images given to `setup`."""
        normal = self.problem.normal_operator(self._image_shape)
        assert isinstance(normal.operator, LinearOperator)  # noqa: S101 (for mypy)
        return normal.operator.norm_bound(tuple(image_shape)) / normal.norm_squared
