"""Several measurements of one image."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import InvregError, LinearOperator, Shape, ShapeError
from invreg_operators.combined.parts import Combined, Parts, linear
from invreg_operators.shared.batches import check_spatial_batch


class Stack(Combined):
    """Several measurements of one image, as the channels of one measurement:

    F(x) = (F_1(x), F_2(x), ..., F_n(x)),   F'(x)* v = F_1'(x)* v_1 + ... + F_n'(x)* v_n.

    The channels of F_1(x) come first. All measurements have the same height and width. If all operators are linear, so
    is their stack, with the adjoint A_1* y_1 + ... + A_n* y_n. Noise is drawn on all channels alike. What an operator
    draws for each image (an uncertain length) is drawn for each part of the stack.
    """

    def __init__(self, operators: Parts) -> None:
        super().__init__(operators)
        # Whether an operator is linear is asked of its class, and known of this one only now.
        if self.are_linear():
            self.__class__ = LinearStack

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]` or `[B, C, D, H, W]`."""
        check_spatial_batch(x, "stack")
        self.range_shape(tuple(x.shape[1:]))
        return torch.cat([part(x) for part in self.parts], 1)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([part.jvp(x, h) for part in self.parts], 1)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        pieces = self._split(v, tuple(x.shape[1:]))
        return torch.stack([part.vjp(x, piece) for part, piece in zip(self.parts, pieces, strict=True)]).sum(0)

    def range_shape(self, domain_shape: Shape) -> Shape:
        """Shape of F(x) for one image of `domain_shape`.

        Raises:
            ShapeError: if an operator does not take such images, or the measurements differ in height or width.
        """
        shapes = self._shapes(tuple(domain_shape))
        sizes = [shape[1:] for shape in shapes]
        if len(set(sizes)) > 1:
            told = ", ".join("x".join(map(str, size)) for size in sizes)
            raise ShapeError(
                f"measurements of {told} pixels",
                where="stack",
                expected="measurements of one height and width, which become channels of one",
            )
        return sum(shape[0] for shape in shapes), *sizes[0]

    @property
    def stencil_radius(self) -> int | None:
        """The largest of those of the operators."""
        radii = [part.stencil_radius for part in self.parts]
        return None if None in radii else max(radius for radius in radii if radius is not None)

    def _shapes(self, domain_shape: Shape) -> list[Shape]:
        shapes = []
        for index, part in enumerate(self.parts):
            try:
                shapes.append(tuple(part.range_shape(domain_shape)))
            except InvregError as error:
                raise error.at(f"stack.operators.{index}", of=part) from None
        return shapes

    def _split(self, y: Tensor, domain_shape: Shape) -> tuple[Tensor, ...]:
        """The measurements of the operators, from y `[B, ...range]`."""
        expected = self.range_shape(domain_shape)
        if tuple(y.shape[1:]) != expected:
            raise ShapeError(
                f"measurements of shape {tuple(y.shape[1:])}", where="stack", expected=f"{expected}, of all operators"
            )
        return torch.split(y, [shape[0] for shape in self._shapes(domain_shape)], 1)


class LinearStack(Stack, LinearOperator):
    """A stack of linear operators, A = (A_1, ..., A_n): what `Stack` makes of them."""

    registered_class = Stack

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y = A_1* y_1 + ... + A_n* y_n."""
        check_spatial_batch(y, "stack.adjoint")
        pieces = self._split(y, self.domain_shape(tuple(y.shape[1:])))
        return torch.stack([linear(part).adjoint(one) for part, one in zip(self.parts, pieces, strict=True)]).sum(0)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return self.forward(h)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def domain_shape(self, range_shape: Shape) -> Shape:
        """Shape of the image whose measurement has this shape.

        Raises:
            ShapeError: if there is none.
        """
        first = linear(self.parts[0])
        # How many of the channels belong to the first operator follows from the channels of the image: at most as many.
        for channels in range(1, range_shape[0] + 1 if len(range_shape) in (3, 4) else 0):
            try:
                shape = tuple(first.domain_shape((channels, *range_shape[1:])))
                if self.range_shape(shape) == tuple(range_shape):
                    return shape
            except ShapeError:
                continue
        raise ShapeError(
            f"measurements of shape {tuple(range_shape)}",
            where="stack.adjoint",
            expected="the channels of all operators for one image",
        )
