"""What nonlinear operators share that act on each value alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from invreg import Operator, Shape
from invreg_operators.shared.batches import check_direction, check_spatial, check_spatial_batch


class Pointwise(Operator):
    """F(x)[p] = f(x[p]) for a function f of one value; F'(x) multiplies by f'(x), and is its own adjoint.

    Subclasses write `value` and `slope`. Where f has a kink, both give the derivative from the left.
    """

    #: The name of the component, for messages.
    where: ClassVar[str]

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """f(x), for x of any shape."""

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """f'(x), for x of any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]` or `[B, C, D, H, W]`."""
        check_spatial_batch(x, self.where)
        self.range_shape(tuple(x.shape[1:]))
        return self.value(x)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        """F'(x) h; x and h `[B, C, H, W]`.

        Raises:
            ShapeError: if x and h have different shapes.
        """
        check_spatial_batch(x, self.where)
        check_direction(x, h, self.where)
        return self.slope(x) * h

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.jvp(x, v)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_spatial(domain_shape, self.where)
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int:
        return 0
