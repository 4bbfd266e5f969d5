"""The measurement itself as a reconstruction: what every method has to exceed."""

from __future__ import annotations

from torch import Tensor

from invreg import Problem, Reconstructor, Shape, SpecError


class Observation(Reconstructor):
    """x = z: the measurement, taken as the image. For operators whose measurements have the shape of the images."""

    needs_training = False

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Compares the shapes.

        Raises:
            SpecError: if measurements have another shape than images.
        """
        range_shape = tuple(problem.operator.range_shape(tuple(image_shape)))
        if range_shape != tuple(image_shape):
            raise SpecError(
                f"{type(problem.operator).__name__} maps images {tuple(image_shape)} to measurements {range_shape}",
                where=type(self).__name__,
                expected="measurements of the shape of the images: only those can be looked at as images",
                hint="adjoint, which brings the measurement back to the images",
            )
        super().setup(problem, image_shape)

    def forward(self, z: Tensor) -> Tensor:
        """z itself."""
        return z
