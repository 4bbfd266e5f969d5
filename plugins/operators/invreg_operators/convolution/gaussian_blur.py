"""Gaussian blur, the linear operator of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, NormEstimate, Odd, Shape
from invreg_operators.convolution.filters import correlate, correlate_adjoint
from invreg_operators.shared.axes import along_axes, in_basis
from invreg_operators.shared.batches import check_batch
from invreg_operators.shared.boundary import Boundary, BoundaryRule, check_size

#: Up to this many pixels on an axis, two products with dense matrices beat anything that uses the band (measured).
_DENSE = 256


class GaussianBlur(LinearOperator):
    """Convolution of every channel with a truncated, normalised Gaussian:

    (A x)[i, j] = sum over a, b in {-r, ..., r} of g[a] g[b] x[i - a, j - b],
    g[a] proportional to exp(-a² / (2 std²)), sum of g = 1, r = (kernel_size - 1) / 2.

    The image keeps its size; [`invreg_operators.shared.boundary`][] defines how it continues beyond its edges under
    each rule and which sizes that needs. With `symmetric`, `zero` and `circular` the operator is self-adjoint; with
    `symmetric` and `circular` its norm is 1, with `zero` less; with `replicate` and `reflect` it is slightly more, as
    pixels near the edge count more than once. The adjoint is exact for every rule.

    The defaults are those of Arndt & Nickel 2024, section 4 (which leaves the boundary rule open).
    """

    def __init__(
        self,
        kernel_size: Annotated[
            int,
            Field(
                description="entries of the kernel on each axis", ge=1, le=65_535, json_schema_extra={"unit": "pixels"}
            ),
            Odd(),
        ] = 11,
        std: Annotated[
            float, Field(description="standard deviation of the Gaussian", gt=0, json_schema_extra={"unit": "pixels"})
        ] = 5 / 3,
        boundary: BoundaryRule = "symmetric",
    ) -> None:
        super().__init__()
        self.kernel_size, self.std, self.boundary = kernel_size, std, boundary

    def forward(self, x: Tensor) -> Tensor:
        """A x, for x `[B, C, H, W]`.

        Raises:
            ShapeError: if the images are too small for the kernel under this boundary rule.
        """
        check_batch(x, "gaussian_blur")
        height, width = self.range_shape(tuple(x.shape[1:]))[1:]
        if max(height, width) > _DENSE:
            column, row = self._kernels()
            return correlate(correlate(x, column, self.boundary), row, self.boundary)
        return along_axes(self._matrix(height, x), x, self._matrix(width, x))

    def adjoint(self, y: Tensor) -> Tensor:
        check_batch(y, "gaussian_blur.adjoint")
        height, width = self.range_shape(tuple(y.shape[1:]))[1:]
        if max(height, width) > _DENSE:
            column, row = self._kernels()
            return correlate_adjoint(correlate_adjoint(y, row, self.boundary), column, self.boundary)
        return along_axes(self._matrix(height, y).mT, y, self._matrix(width, y).mT)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, in the eigenvectors of the blur of rows and of columns."""
        check_batch(x, "gaussian_blur")
        height, width = self.range_shape(tuple(x.shape[1:]))[1:]
        rows, row_values = self._normal_eigenpairs(height, x)
        columns, column_values = self._normal_eigenpairs(width, x)
        return in_basis(x, rows, columns, function(row_values[:, None] * column_values))

    def normal(self, x: Tensor) -> Tensor:
        """A* A x; for images of up to 256 pixels on an axis by two products with matrices, as A x itself."""
        check_batch(x, "gaussian_blur.normal")
        height, width = self.range_shape(tuple(x.shape[1:]))[1:]
        if max(height, width) > _DENSE:
            return super().normal(x)
        return along_axes(self._matrix(height, x, squared=True), x, self._matrix(width, x, squared=True))

    def range_shape(self, domain_shape: Shape) -> Shape:
        radius = self.kernel_size // 2
        check_size(domain_shape, (radius, radius), self.boundary, "gaussian_blur")
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return None if self.boundary == "circular" else self.kernel_size // 2

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The operator norm: 1 for `symmetric` and `circular`, and the product of the norms of both axes otherwise.

        For images of more than 256 pixels on an axis it is estimated, see `LinearOperator.norm`.
        """
        height, width = self.range_shape(domain_shape)[1:]
        if self.boundary in ("symmetric", "circular"):
            # Symmetric (up to the order of sums) and doubly stochastic.
            return NormEstimate(1.0, 0.0)
        if max(height, width) > _DENSE:
            return super().norm(domain_shape, tolerance=tolerance, seed=seed)
        double = torch.zeros((), dtype=torch.float64)
        axes = [float(torch.linalg.matrix_norm(self._matrix(n, double), ord=2)) for n in (height, width)]
        return NormEstimate(axes[0] * axes[1], 0.0)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, std={self.std:.4g}, boundary={self.boundary!r}"

    def _kernels(self) -> tuple[list[list[float]], list[list[float]]]:
        """The kernel as a column and as a row."""
        values = _gaussian(self.kernel_size, self.std)
        return [[value] for value in values], [values]

    def _normal_eigenpairs(self, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
        return _axis_eigenpairs(n, self.kernel_size, self.std, self.boundary, like.dtype, like.device)

    def _matrix(self, n: int, like: Tensor, *, squared: bool = False) -> Tensor:
        return _axis_matrix(n, self.kernel_size, self.std, self.boundary, squared, like.dtype, like.device)


def _gaussian(kernel_size: int, std: float) -> list[float]:
    radius = kernel_size // 2
    values = [math.exp(-((a / std) ** 2) / 2) for a in range(-radius, radius + 1)]
    total = math.fsum(values)
    return [value / total for value in values]


@lru_cache(maxsize=64)
def _axis_matrix(
    n: int, kernel_size: int, std: float, boundary: Boundary, squared: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The blur of one axis as an n x n matrix M: the blur of the columns of the identity; `squared`: MᵀM."""
    # Not an inference tensor, even if first needed in inference mode: gradients pass through it later.
    with torch.inference_mode(False):
        identity = torch.eye(n, dtype=torch.float64)
        matrix = correlate(identity, [[value] for value in _gaussian(kernel_size, std)], boundary)
        return (matrix.mT @ matrix if squared else matrix).to(device, dtype)


@lru_cache(maxsize=32)
def _axis_eigenpairs(
    n: int, kernel_size: int, std: float, boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """For the blur B of one axis, the eigenvectors of BᵀB, one in each row, and its eigenvalues."""
    with torch.inference_mode(False), torch.no_grad():
        blur = _axis_matrix(n, kernel_size, std, boundary, False, torch.float64, torch.device("cpu"))
        # Of B instead of BᵀB: small singular values are not lost.
        _, singular_values, vectors = torch.linalg.svd(blur)
        return vectors.to(device, dtype).contiguous(), (singular_values**2).to(device, dtype)
