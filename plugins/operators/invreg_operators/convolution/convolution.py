"""Convolution with a given kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, Shape, SpecError
from invreg_operators.convolution.filters import correlate, correlate_adjoint, flip, in_frequencies, radii
from invreg_operators.shared.batches import check_batch
from invreg_operators.shared.boundary import BoundaryRule, check_size


class Convolution(LinearOperator):
    """Convolution of every channel with a small kernel k of odd height 2r + 1 and odd width 2s + 1:

    (A x)[i, j] = sum over a, b of k[a][b] x[i + r - a, j + s - b].

    This is the mathematical convolution (the kernel is mirrored), as in `scipy.ndimage.convolve` and
    `scipy.signal.convolve2d`, so A maps a single bright pixel to the kernel itself; PyTorch's `conv2d` is a
    correlation and would mirror it. The image keeps its size; [`invreg_operators.shared.boundary`][] defines how it
    continues beyond its edges under each rule and which sizes that needs. The adjoint is exact for every rule.
    """

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

    def forward(self, x: Tensor) -> Tensor:
        """A x, for x `[B, C, H, W]`.

        Raises:
            ShapeError: if the images are too small for the kernel under this boundary rule.
        """
        check_batch(x, "convolution")
        self.range_shape(tuple(x.shape[1:]))
        return correlate(x, flip(self.kernel), self.boundary)

    def adjoint(self, y: Tensor) -> Tensor:
        check_batch(y, "convolution.adjoint")
        self.range_shape(tuple(y.shape[1:]))
        return correlate_adjoint(y, flip(self.kernel), self.boundary)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, for the boundary rule `circular`, under which Fourier transforms make A diagonal."""
        if self.boundary != "circular":
            return super().normal_function(x, function)
        return in_frequencies(x, self.forward, function)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_size(domain_shape, radii(self.kernel), self.boundary, "convolution")
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return None if self.boundary == "circular" else max(radii(self.kernel))

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
