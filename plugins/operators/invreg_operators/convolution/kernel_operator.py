"""What convolutions share whose kernel is given by its rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from invreg import LinearOperator, Shape
from invreg_operators.convolution.filters import Kernel, correlate, correlate_adjoint, flip, in_frequencies, radii
from invreg_operators.shared.batches import check_spatial_batch
from invreg_operators.shared.boundary import BoundaryRule, check_size


class KernelOperator(LinearOperator):
    """Convolution of every channel, under a boundary rule. Subclasses write `rows`."""

    #: The name of the component, for messages.
    where: ClassVar[str]
    boundary: BoundaryRule

    @abstractmethod
    def rows(self) -> Kernel:
        """The kernel: rows from the top to the bottom, or planes of such rows for volumes; odd numbers of entries."""

    def forward(self, x: Tensor) -> Tensor:
        """A x, for x `[B, C, H, W]`, or `[B, C, D, H, W]` where the kernel has three axes.

        Raises:
            ShapeError: if the images are too small for the kernel under this boundary rule.
        """
        check_spatial_batch(x, self.where)
        self.range_shape(tuple(x.shape[1:]))
        return correlate(x, flip(self.rows()), self.boundary)

    def adjoint(self, y: Tensor) -> Tensor:
        check_spatial_batch(y, f"{self.where}.adjoint")
        self.range_shape(tuple(y.shape[1:]))
        return correlate_adjoint(y, flip(self.rows()), self.boundary)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, for the boundary rule `circular`, under which Fourier transforms make A diagonal."""
        if self.boundary != "circular":
            return super().normal_function(x, function)
        return in_frequencies(x, self.forward, function)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_size(domain_shape, radii(self.rows()), self.boundary, self.where)
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return None if self.boundary == "circular" else max(radii(self.rows()))
