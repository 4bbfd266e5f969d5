"""Convolution with a given kernel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import SpecError
from invreg_operators.convolution.kernel_operator import KernelOperator
from invreg_operators.shared.boundary import BoundaryRule


class Convolution(KernelOperator):
    """Convolution of every channel with a small kernel k of odd height 2r + 1 and odd width 2s + 1:

    (A x)[i, j] = sum over a, b of k[a][b] x[i + r - a, j + s - b].

    This is the mathematical convolution (the kernel is mirrored), as in `scipy.ndimage.convolve` and
    `scipy.signal.convolve2d`, so A maps a single bright pixel to the kernel itself; PyTorch's `conv2d` is a
    correlation and would mirror it. The image keeps its size; [`invreg_operators.shared.boundary`][] defines how it
    continues beyond its edges under each rule and which sizes that needs. The adjoint is exact for every rule.
    """

    where = "convolution"

    def __init__(
        self,
        kernel: Annotated[
            list[list[float]],
            Field(
                description="rows of k, odd numbers of rows and of columns, not all zero; used as given, not normalised"
            ),
        ],
        boundary: BoundaryRule = "zero",
    ) -> None:
        super().__init__()
        _check_shape(kernel)
        self.kernel, self.boundary = kernel, boundary

    def rows(self) -> list[list[float]]:
        return self.kernel

    def extra_repr(self) -> str:
        return f"{len(self.kernel)}x{len(self.kernel[0])}, boundary={self.boundary!r}"


def _check_shape(kernel: list[list[float]]) -> None:
    lengths = sorted({len(row) for row in kernel})
    if len(lengths) != 1:
        raise SpecError(
            f"rows of lengths {lengths}", where="kernel", expected="an odd number of rows, all of the same odd length"
        )
    if len(kernel) % 2 == 0 or lengths[0] % 2 == 0:
        raise SpecError(
            f"a kernel of {len(kernel)} x {lengths[0]} entries",
            where="kernel",
            expected="odd numbers of rows and columns: an even kernel has no centre and would move the image",
            hint="add a row or a column of zeros on the side towards which the image may move",
        )
    if not any(map(any, kernel)):
        raise SpecError("a kernel of zeros", where="kernel", expected="at least one entry that is not zero")
