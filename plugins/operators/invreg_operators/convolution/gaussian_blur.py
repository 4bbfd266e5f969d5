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
from invreg_operators.convolution.filters import Kernel, correlate, correlate_adjoint
from invreg_operators.shared.axes import along_axes, in_basis, outer_product
from invreg_operators.shared.batches import check_spatial, check_spatial_batch
from invreg_operators.shared.boundary import Boundary, BoundaryRule, check_size

#: Up to this many pixels on an axis, two products with dense matrices beat anything that uses the band (measured).
_DENSE = 256


class GaussianBlur(LinearOperator):
    """Convolution of every channel with a truncated, normalised Gaussian:

    (A x)[i, j] = sum over a, b in {-r, ..., r} of g[a] g[b] x[i - a, j - b],
    g[a] proportional to exp(-a² / (2 std²)), sum of g = 1, r = (kernel_size - 1) / 2.

    A volume is convolved with the Gaussian of three axes. The image keeps its size;
    [`invreg_operators.shared.boundary`][] defines how it continues beyond its edges under each rule and which sizes
    that needs. With `symmetric`, `zero` and `circular` the operator is self-adjoint; with `symmetric` and `circular`
    its norm is 1, with `zero` less; with `replicate` and `reflect` it is slightly more, as pixels near the edge count
    more than once. The adjoint is exact for every rule.

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
        """A x, for x `[B, C, H, W]` or `[B, C, D, H, W]`.

        Raises:
            ShapeError: if the images are too small for the kernel under this boundary rule.
        """
        check_spatial_batch(x, "gaussian_blur")
        sides = self._sides(x)
        if max(sides) > _DENSE:
            for kernel in self._kernels(len(sides)):
                x = correlate(x, kernel, self.boundary)
            return x
        return along_axes(x, [self._matrix(n, x) for n in sides])

    def adjoint(self, y: Tensor) -> Tensor:
        check_spatial_batch(y, "gaussian_blur.adjoint")
        sides = self._sides(y)
        if max(sides) > _DENSE:
            for kernel in reversed(self._kernels(len(sides))):
                y = correlate_adjoint(y, kernel, self.boundary)
            return y
        return along_axes(y, [self._matrix(n, y).mT for n in sides])

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, in the eigenvectors of the blur of each axis."""
        check_spatial_batch(x, "gaussian_blur")
        vectors, values = zip(*(self._normal_eigenpairs(n, x) for n in self._sides(x)), strict=True)
        return in_basis(x, vectors, function(outer_product(values)))

    def normal(self, x: Tensor) -> Tensor:
        """A* A x; for images of up to 256 pixels on an axis by products with matrices, as A x itself."""
        check_spatial_batch(x, "gaussian_blur.normal")
        sides = self._sides(x)
        if max(sides) > _DENSE:
            return super().normal(x)
        return along_axes(x, [self._matrix(n, x, squared=True) for n in sides])

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_spatial(domain_shape, "gaussian_blur")
        radii = [self.kernel_size // 2] * (len(domain_shape) - 1)
        check_size(domain_shape, radii, self.boundary, "gaussian_blur")
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return None if self.boundary == "circular" else self.kernel_size // 2

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The operator norm: 1 for `symmetric` and `circular`, and the product of the norms of all axes otherwise.

        For images of more than 256 pixels on an axis it is estimated, see `LinearOperator.norm`.
        """
        sides = self.range_shape(domain_shape)[1:]
        if self.boundary in ("symmetric", "circular"):
            # Symmetric (up to the order of sums) and doubly stochastic.
            return NormEstimate(1.0, 0.0)
        if max(sides) > _DENSE:
            return super().norm(domain_shape, tolerance=tolerance, seed=seed)
        double = torch.zeros((), dtype=torch.float64)
        axes = [float(torch.linalg.matrix_norm(self._matrix(n, double), ord=2)) for n in sides]
        return NormEstimate(math.prod(axes), 0.0)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, std={self.std:.4g}, boundary={self.boundary!r}"

    def _sides(self, x: Tensor) -> Shape:
        """The sides of the images, which are large enough."""
        return self.range_shape(tuple(x.shape[1:]))[1:]

    def _kernels(self, axes: int) -> list[Kernel]:
        """The kernel of each axis, as one of all axes: for images a column and a row."""
        values = torch.tensor(_gaussian(self.kernel_size, self.std), dtype=torch.float64)
        shapes = [[-1 if axis == own else 1 for axis in range(axes)] for own in range(axes)]
        return [values.view(shape).tolist() for shape in shapes]

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
