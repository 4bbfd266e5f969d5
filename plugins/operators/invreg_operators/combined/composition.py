"""Operators one after the other."""

from __future__ import annotations

from torch import Tensor

from invreg import InvregError, LinearOperator, Shape
from invreg_operators.combined.parts import Combined, Parts, linear
from invreg_operators.shared.batches import check_spatial_batch


class Composition(Combined):
    """Operators one after the other, the first one first:

    F(x) = F_n(... F_2(F_1(x))),   F'(x) h by the chain rule.

    Images and measurements have the shapes of the first and the last one. If all are linear, so is their composition:
    then it has the adjoint A_1* A_2* ... A_n*. What an operator draws for each image (an uncertain length) is drawn for
    the composition as well.
    """

    def __init__(self, operators: Parts) -> None:
        super().__init__(operators)
        # Whether an operator is linear is asked of its class, and known of this one only now.
        if self.are_linear():
            self.__class__ = LinearComposition

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]` or `[B, C, D, H, W]`."""
        check_spatial_batch(x, "composition")
        self.range_shape(tuple(x.shape[1:]))
        for part in self.parts:
            x = part(x)
        return x

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        *before, last = self.parts
        for part in before:
            x, h = part(x), part.jvp(x, h)
        return last.jvp(x, h)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        points = [x]
        for part in self.parts[:-1]:
            points.append(part(points[-1]))
        for part, point in zip(reversed(self.parts), reversed(points), strict=True):
            v = part.vjp(point, v)
        return v

    def range_shape(self, domain_shape: Shape) -> Shape:
        """Shape of F(x) for one image of `domain_shape`.

        Raises:
            ShapeError: if one of the operators does not take what the one before it gives; `where` says which.
        """
        shape = tuple(domain_shape)
        for index, part in enumerate(self.parts):
            try:
                shape = tuple(part.range_shape(shape))
            except InvregError as error:
                raise error.at(f"composition.operators.{index}", of=part) from None
        return shape

    @property
    def stencil_radius(self) -> int | None:
        """The sum of those of the operators."""
        radii = [part.stencil_radius for part in self.parts]
        return None if None in radii else sum(radius for radius in radii if radius is not None)


class LinearComposition(Composition, LinearOperator):
    """A composition of linear operators, A = A_n ... A_2 A_1: what `Composition` makes of them."""

    registered_class = Composition

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y = A_1* A_2* ... A_n* y."""
        for part in reversed(self.parts):
            y = linear(part).adjoint(y)
        return y

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return self.forward(h)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def domain_shape(self, range_shape: Shape) -> Shape:
        shape = tuple(range_shape)
        for part in reversed(self.parts):
            shape = linear(part).domain_shape(shape)
        return shape
