"""Operators and test images that the tests of total variation share."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, NormEstimate, Operator, Shape


def gaussian_matrix(n: int, std: float = 5 / 3, radius: int = 5) -> Tensor:
    """A Gaussian blur of n pixels with symmetric boundary, as a float64 matrix."""
    taps = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2) / (2 * std**2))
    taps /= taps.sum()
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for offset, tap in zip(range(-radius, radius + 1), taps, strict=True):
            j = i + offset
            while not 0 <= j < n:
                j = -1 - j if j < 0 else 2 * n - 1 - j
            matrix[i, j] += tap
    return matrix


class MatrixBlur(LinearOperator):
    """Symmetric Gaussian blur by two matrix products; its norm is 1."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("matrix", gaussian_matrix(n))

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.matrix.to(x.dtype)
        return matrix @ x @ matrix.T

    def adjoint(self, y: Tensor) -> Tensor:
        matrix = self.matrix.to(y.dtype)
        return matrix.T @ y @ matrix


class Measurements(LinearOperator):
    """Inner products of the image with the rows of a matrix: the range has another shape than the domain."""

    def __init__(self, matrix: Tensor, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.shape = shape
        self.norms_computed = 0

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (self.matrix.shape[0],)

    def domain_shape(self, range_shape: Shape) -> Shape:
        return self.shape

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.T.to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y.dtype)).view(-1, *self.shape)

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        self.norms_computed += 1
        return super().norm(domain_shape, tolerance=tolerance, seed=seed)


class Disguised(Operator):
    """A linear operator that does not say that it is linear."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.inner = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class SaturatingBlur(Operator):
    """F(x) = s(B x) with s(t) = t / (1 + t²)^½, pixel by pixel: a camera that saturates."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.blur = MatrixBlur(n)

    def forward(self, x: Tensor) -> Tensor:
        blurred = self.blur(x)
        return blurred / (1 + blurred.square()).sqrt()


def shapes_image(n: int, seed: int = 0) -> Tensor:
    """A float64 image of n x n pixels in [0, 1]: rectangles, a ramp and a disc."""
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(*[torch.linspace(0, 1, n, dtype=torch.float64)] * 2, indexing="ij")
    image = 0.2 + 0.4 * columns
    for _ in range(4):
        top, left, height, width, grey = torch.rand(5, generator=rng, dtype=torch.float64).tolist()
        inside = (rows > top) & (rows < top + height / 2) & (columns > left) & (columns < left + width / 2)
        image = torch.where(inside, grey, image)
    return torch.where((rows - 0.5) ** 2 + (columns - 0.4) ** 2 < 0.03, 0.9, image)[None]


def shapes(count: int, n: int) -> Tensor:
    """`count` such images as a batch `[count, 1, n, n]`, float64."""
    return torch.stack([shapes_image(n, seed) for seed in range(count)])


def noise(like: Tensor, std: float, seed: int = 0) -> Tensor:
    return std * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(like)
