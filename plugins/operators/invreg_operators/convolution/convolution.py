"""Convolution with a given kernel."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field

from invreg import SpecError
from invreg_operators.convolution.filters import Kernel, size
from invreg_operators.convolution.kernel_operator import KernelOperator
from invreg_operators.shared.boundary import BoundaryRule


class Convolution(KernelOperator):
    """Convolution of every channel with a small kernel k of odd height 2r + 1 and odd width 2s + 1:

    (A x)[i, j] = sum over a, b of k[a][b] x[i + r - a, j + s - b].

    A kernel with three axes, planes of rows, is for volumes `[B, C, D, H, W]`, with the same sum over three axes; one
    plane filters each slice alone.

    This is the mathematical convolution (the kernel is mirrored), as in `scipy.ndimage.convolve` and
    `scipy.signal.convolve2d`, so A maps a single bright pixel to the kernel itself; PyTorch's `conv2d` is a
    correlation and would mirror it. The image keeps its size; [`invreg_operators.shared.boundary`][] defines how it
    continues beyond its edges under each rule and which sizes that needs. The adjoint is exact for every rule.
    """

    where = "convolution"

    def __init__(
        self,
        kernel: Annotated[
            list[list[float | list[float]]],
            Field(
                description="rows of k, odd numbers of rows and of columns, not all zero; used as given, not "
                "normalised; planes of rows for volumes"
            ),
        ],
        boundary: BoundaryRule = "zero",
    ) -> None:
        super().__init__()
        _check_shape(kernel)
        self.kernel, self.boundary = kernel, boundary

    def rows(self) -> Kernel:
        return cast("Kernel", self.kernel)

    def extra_repr(self) -> str:
        return f"{'x'.join(map(str, size(self.rows())))}, boundary={self.boundary!r}"


def _check_shape(kernel: list[list[float | list[float]]]) -> None:
    nested = {isinstance(entry, list) for row in kernel for entry in row}
    if len(nested) > 1:
        raise SpecError(
            "numbers beside rows of numbers",
            where="kernel",
            expected="rows of numbers; for volumes, planes of such rows",
        )
    planes: Any = kernel if nested == {True} else [kernel]
    heights = sorted({len(plane) for plane in planes})
    if len(heights) != 1:
        raise SpecError(
            f"planes of {' and '.join(map(str, heights))} rows",
            where="kernel",
            expected="an odd number of planes, all of the same odd number of rows",
        )
    lengths = sorted({len(row) for plane in planes for row in plane})
    if len(lengths) != 1:
        raise SpecError(
            f"rows of lengths {lengths}", where="kernel", expected="an odd number of rows, all of the same odd length"
        )
    entries = size(cast("Kernel", kernel))
    if not all(number % 2 for number in entries):
        raise SpecError(
            f"a kernel of {' x '.join(map(str, entries))} entries",
            where="kernel",
            expected="odd numbers of rows and columns: an even kernel has no centre and would move the image",
            hint="add a row or a column of zeros on the side towards which the image may move",
        )
    if not any(any(row) for plane in planes for row in plane):
        raise SpecError("a kernel of zeros", where="kernel", expected="at least one entry that is not zero")
