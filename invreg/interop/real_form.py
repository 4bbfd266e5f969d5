"""Complex and stacked measurements as one real tensor, by an isometry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invreg.components.operator import Shape
from invreg.errors import InvregError, ShapeError


@dataclass(frozen=True)
class _Part:
    """One tensor of a measurement: its shape without the batch, and whether it is complex."""

    shape: Shape
    is_complex: bool

    @property
    def real_shape(self) -> Shape:
        """As real numbers: real and imaginary part of a channel follow each other as two channels."""
        first, *rest = self.shape or (1,)
        return (2 * first if self.is_complex else first, *rest)

    def pack(self, y: Tensor) -> Tensor:
        y = y.reshape(len(y), *(self.shape or (1,)))
        return torch.stack([y.real, y.imag], 2).flatten(1, 2) if self.is_complex else y

    def unpack(self, z: Tensor) -> Tensor:
        if self.is_complex:
            real, imaginary = z.unflatten(1, (-1, 2)).unbind(2)
            z = torch.complex(real.contiguous(), imaginary.contiguous())
        return z.reshape(len(z), *self.shape)


@dataclass(frozen=True)
class RealForm:
    """How the measurements of a batch, of one or several tensors, real or complex, become one real tensor.

    A complex tensor `[B, C, ...]` becomes `[B, 2 C, ...]`: real and imaginary part of each channel. Several tensors
    become channels one after the other if all sizes but the first agree, otherwise one row `[B, 1, 1, N]` of all
    their values. Both keep the Euclidean inner product, Re<y, y'> in the complex case: the adjoint of a measurement
    followed by `pack` is `unpack` followed by the real part of the adjoint.

    Attributes:
        parts: the tensors of a measurement.
        nesting: the lists that hold them, with the number of each part in its place; 0 for one tensor.
    """

    parts: tuple[_Part, ...]
    nesting: Any

    @classmethod
    def of(cls, y: Any, where: str) -> RealForm:
        """The form of measurements such as y, of a batch of one.

        Args:
            y: a tensor, or a list of measurements (a `TensorList`).
            where: what measures, for messages.

        Raises:
            InvregError: if it holds anything else than floating-point tensors `[1, ...]`.
        """
        parts = tuple(_Part(tuple(one.shape[1:]), one.is_complex()) for one in _leaves(y, where))
        return cls(parts, _nesting(y, iter(range(len(parts)))))

    @property
    def is_plain(self) -> bool:
        """Whether measurements are one real tensor already."""
        return self.nesting == 0 and not self.parts[0].is_complex and self.parts[0].shape != ()

    @property
    def shape(self) -> Shape:
        """Shape of one measurement as a real tensor."""
        shapes = [part.real_shape for part in self.parts]
        if self._joins_channels:
            return sum(shape[0] for shape in shapes), *shapes[0][1:]
        return 1, 1, sum(map(math.prod, shapes))

    def pack(self, y: Any) -> Tensor:
        """Measurements of a batch as one real tensor `[B, ...]`."""
        if self.is_plain and isinstance(y, Tensor):
            return y
        real = [part.pack(one) for part, one in zip(self.parts, _leaves(y, ""), strict=True)]
        if self._joins_channels:
            return torch.cat(real, 1)
        return torch.cat([one.flatten(1) for one in real], 1)[:, None, None]

    def unpack(self, z: Tensor) -> Any:
        """The inverse of `pack`; lists come as lists.

        Raises:
            ShapeError: if z does not have the shape of such measurements.
        """
        if tuple(z.shape[1:]) != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise ShapeError(f"measurements of shape {tuple(z.shape)}", expected=f"[B, {expected}]")
        if self.is_plain:
            return z
        shapes = [part.real_shape for part in self.parts]
        if self._joins_channels:
            real: Sequence[Tensor] = z.split([shape[0] for shape in shapes], 1)
        else:
            rows = z.flatten(1).split([math.prod(shape) for shape in shapes], 1)
            real = [row.reshape(len(z), *shape) for row, shape in zip(rows, shapes, strict=True)]
        return _nested([part.unpack(one) for part, one in zip(self.parts, real, strict=True)], self.nesting)

    @property
    def _joins_channels(self) -> bool:
        return len({part.real_shape[1:] for part in self.parts}) == 1


def is_list(y: Any) -> bool:
    """Whether a measurement is a list of measurements: a list, a tuple or a `TensorList` of DeepInverse."""
    return isinstance(y, list | tuple) or type(y).__name__ == "TensorList"


def _leaves(y: Any, where: str) -> Iterator[Tensor]:
    if is_list(y):
        for index in range(len(y)):
            yield from _leaves(y[index], where)
    elif isinstance(y, Tensor) and (y.is_floating_point() or y.is_complex()) and y.dim() and (not where or len(y) == 1):
        yield y
    else:
        found = f"{type(y).__name__} {y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InvregError(
            f"one image is measured as {found}",
            where=where,
            expected="tensors [1, ...] of floating-point numbers, real or complex, or a list of them",
        )


def _nesting(y: Any, numbers: Iterator[int]) -> Any:
    return [_nesting(y[index], numbers) for index in range(len(y))] if is_list(y) else next(numbers)


def _nested(leaves: Sequence[Tensor], nesting: Any) -> Any:
    return leaves[nesting] if isinstance(nesting, int) else [_nested(leaves, one) for one in nesting]
