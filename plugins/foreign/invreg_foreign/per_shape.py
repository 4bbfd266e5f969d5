"""Operators that are made anew for each shape of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor

from invreg import LinearOperator, Operator, Shape, ShapeError


class PerShape(Operator):
    """An operator behind which stands one of another package for each shape of images, made when it is first needed.

    Subclasses write `make`. Copies make their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[Shape, Operator] = {}
        self._ranges: dict[Shape, Shape] = {}

    @abstractmethod
    def make(self, image_shape: Shape) -> Operator:
        """The operator for images of this shape, (C, H, W).

        Raises:
            ShapeError: if there is none.
        """

    def of(self, image_shape: Shape) -> Operator:
        """The operator behind this one, for images of this shape."""
        shape = tuple(image_shape)
        if shape not in self._made:
            self._made[shape] = self.make(shape)
            self._ranges[shape] = tuple(self._made[shape].range_shape(shape))
        return self._made[shape]

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]`."""
        result: Tensor = self.of(tuple(x.shape[1:]))(x)
        return result

    def range_shape(self, domain_shape: Shape) -> Shape:
        self.of(domain_shape)
        return self._ranges[tuple(domain_shape)]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        before = self.place
        super()._apply(fn, recurse)
        if self.place != before:
            # Made again now, as it cannot be made while torch.func transforms a call.
            shapes = list(self._made)
            self._made.clear()
            for shape in shapes:
                self.of(shape)
        return self

    @property
    def place(self) -> object:
        """Where it computes, and how precisely; None where that is always the same."""
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        import copy

        new = type(self).__new__(type(self))
        memo[id(self)] = new
        memo[id(self._made)] = {}
        for value in self.__dict__.values():
            if getattr(value, "is_shared", False):
                memo[id(value)] = value
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new


class LinearPerShape(PerShape, LinearOperator):
    """As `PerShape`, for linear operators."""

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y, for y `[B, ...range]` of images whose shape has been asked for."""
        return self.adjoint_for(self.domain_shape(tuple(y.shape[1:])), y)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """A* v, for images of the shape of x."""
        return self.adjoint_for(tuple(x.shape[1:]), v)

    def adjoint_for(self, image_shape: Shape, y: Tensor) -> Tensor:
        """A* y, for images of this shape."""
        inner = self.of(image_shape)
        if not isinstance(inner, LinearOperator):
            raise TypeError(f"{type(inner).__name__} is not linear")
        return inner.adjoint(y)

    def domain_shape(self, range_shape: Shape) -> Shape:
        """The shape of images that are measured with this shape, among those that have been asked for.

        Raises:
            ShapeError: if there are several.
            NotImplementedError: if there is none, and measurements are not images of the same shape.
        """
        found = [domain for domain, measured in self._ranges.items() if measured == tuple(range_shape)]
        if len(found) > 1 and tuple(range_shape) in found:
            found = [tuple(range_shape)]
        if len(found) > 1:
            raise ShapeError(
                f"measurements of shape {tuple(range_shape)} may be of images {' or '.join(map(str, found))}",
                where=type(self).__name__,
                expected="images of one size",
            )
        return found[0] if found else super().domain_shape(range_shape)
