"""Downsampling, the operator of super-resolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, NormEstimate, Shape, ShapeError, SpecError
from invreg_operators.convolution.filters import correlate, correlate_adjoint
from invreg_operators.shared.axes import along_axes, in_basis, outer_product
from invreg_operators.shared.batches import check_batch, check_images
from invreg_operators.shared.boundary import Boundary, BoundaryRule, pad, smallest_size

Filter = Literal["box", "gaussian", "bicubic"]

#: Where the Gaussian is cut off, in standard deviations.
_CUT = 4.0

#: Up to this many pixels on an axis, two products with dense matrices beat filters (measured).
_DENSE = 256


class Downsampling(LinearOperator):
    """Every channel is filtered against aliasing, and one in `factor` pixels is kept on each axis:

    (A x)[i, j] = sum over a, b of g[a] g[b] x[f i + a, f j + b],   images `[B, C, H, W]` to `[B, C, H / f, W / f]`,

    with f = `factor`. A pixel of the measurement lies in the middle of a block of f x f pixels: the weights
    g[a] = w(a - (f - 1) / 2), with sum 1, are symmetric about it, where w(t) is

    - `box`: 1 for |t| < f / 2; the mean over the block, as a sensor with larger pixels measures it;
    - `gaussian`: exp(-t² / (2 std²)), cut off at 4 std;
    - `bicubic`: the cubic convolution kernel with parameter -1/2, stretched by f, as programs that resize images have.

    Both sides of the image must be multiples of the factor. [`invreg_operators.shared.boundary`][] defines how it
    continues beyond its edges. The adjoint is exact for every rule. ||A|| is about 1 / f: a pixel of the measurement is
    a mean of f² ones.

    Source: Keys 1981, IEEE Transactions on Acoustics, Speech, and Signal Processing 29, 1153-1160, for `bicubic`.
    """

    def __init__(
        self,
        factor: Annotated[int, Field(ge=1, le=1024, description="one in so many pixels is kept on each axis")] = 2,
        filter: Annotated[
            Filter,
            Field(
                description="the weights of the mean that a pixel becomes; box: of the block of pixels that it stands "
                "for; gaussian; bicubic: as programs that resize images have it"
            ),
        ] = "gaussian",
        std: Annotated[
            float | None,
            Field(
                ge=0.01,
                le=1024,
                description="standard deviation of the Gaussian, for that filter only; by default factor / 2",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = None,
        boundary: BoundaryRule = "symmetric",
    ) -> None:
        super().__init__()
        if std is not None and filter != "gaussian":
            raise SpecError(
                f"std = {std:g} for the filter {filter!r}",
                where="std",
                expected="none: only the filter gaussian has a standard deviation",
                hint="leave std out, or filter: gaussian",
            )
        self.factor, self.filter, self.std, self.boundary = factor, filter, std, boundary

    def forward(self, x: Tensor) -> Tensor:
        """A x `[B, C, H / f, W / f]`, for x `[B, C, H, W]`.

        Raises:
            ShapeError: if a side is not a multiple of the factor, or too short for the filter and the boundary rule.
        """
        check_batch(x, "downsampling")
        self.range_shape(tuple(x.shape[1:]))
        if self._filters(x.shape[2], x.shape[3]):
            column, row = self._kernels()
            first, step = self.factor // 2, self.factor
            fewer_rows = correlate(x, column, self.boundary)[..., first::step, :]
            return correlate(fewer_rows, row, self.boundary)[..., first::step].clone()
        return along_axes(x, [self._matrix(n, x) for n in x.shape[2:]])

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y `[B, C, H, W]`, for y `[B, C, H / f, W / f]`."""
        check_batch(y, "downsampling.adjoint", "measurements [B, C, H / factor, W / factor]")
        _, height, width = self.domain_shape(tuple(y.shape[1:]))
        if self._filters(height, width):
            column, row = self._kernels()
            first, step = self.factor // 2, self.factor
            wide = y.new_zeros((*y.shape[:3], width))
            wide[..., first::step] = y
            high = y.new_zeros((*y.shape[:2], height, width))
            high[..., first::step, :] = correlate_adjoint(wide, row, self.boundary)
            return correlate_adjoint(high, column, self.boundary)
        return along_axes(y, [self._matrix(n, y).mT for n in (height, width)])

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, in the eigenvectors of the filter of rows and of columns."""
        check_batch(x, "downsampling")
        self.range_shape(tuple(x.shape[1:]))
        vectors, values = zip(*(self._normal_eigenpairs(n, x) for n in x.shape[2:]), strict=True)
        return in_basis(x, vectors, function(outer_product(values)))

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "downsampling")
        channels, height, width = domain_shape
        if height % self.factor or width % self.factor:
            fitting = [side - side % self.factor or self.factor for side in (height, width)]
            raise ShapeError(
                f"images of {height}x{width} pixels",
                where="downsampling",
                expected=f"sides that are multiples of the factor {self.factor}",
                hint=f"images, and crops in training, of {fitting[0]}x{fitting[1]}",
            )
        if min(height, width) < (least := smallest_size(self._reach, self.boundary)):
            raise ShapeError(
                f"images of {height}x{width} pixels",
                where="downsampling",
                expected=f"height >= {least} and width >= {least}: what the filter {self.filter!r} needs with boundary "
                f"{self.boundary!r}",
                hint="larger images, filter 'box', or boundary 'zero' or 'replicate'",
            )
        return channels, height // self.factor, width // self.factor

    def domain_shape(self, range_shape: Shape) -> Shape:
        check_images(range_shape, "downsampling.adjoint")
        shape = range_shape[0], range_shape[1] * self.factor, range_shape[2] * self.factor
        self.range_shape(shape)
        return shape

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The product of the norms of the filters of rows and of columns.

        For images of more than 256 pixels on an axis it is estimated, see `LinearOperator.norm`.
        """
        self.range_shape(domain_shape)
        if max(domain_shape[1:]) > _DENSE:
            return super().norm(domain_shape, tolerance=tolerance, seed=seed)
        double = torch.zeros((), dtype=torch.float64)
        axes = [float(torch.linalg.matrix_norm(self._matrix(n, double), ord=2)) for n in domain_shape[1:]]
        return NormEstimate(axes[0] * axes[1], 0.0)

    def extra_repr(self) -> str:
        std = "" if self.std is None else f", std={self.std:.4g}"
        return f"factor={self.factor}, filter={self.filter!r}{std}, boundary={self.boundary!r}"

    @property
    def _weights(self) -> list[float]:
        return _weights(self.factor, self.filter, self.std or self.factor / 2)

    @property
    def _reach(self) -> int:
        """Pixels beyond the block on each side that have a weight."""
        return (len(self._weights) - self.factor) // 2

    def _filters(self, height: int, width: int) -> bool:
        """Whether images of this size are filtered, and not multiplied with matrices."""
        return max(height, width) > _DENSE and min(height, width) > len(self._weights) // 2

    def _kernels(self) -> tuple[list[list[float]], list[list[float]]]:
        """The filter as a column and as a row, of odd length; the middle of a block is then the pixel factor // 2."""
        values = self._weights + [0.0] * (1 - len(self._weights) % 2)
        return [[value] for value in values], [values]

    def _matrix(self, n: int, like: Tensor) -> Tensor:
        return _axis_matrix(n, self.factor, tuple(self._weights), self.boundary, like.dtype, like.device)

    def _normal_eigenpairs(self, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
        return _axis_eigenpairs(n, self.factor, tuple(self._weights), self.boundary, like.dtype, like.device)


@lru_cache(maxsize=64)
def _weights(factor: int, filter_: Filter, std: float) -> list[float]:
    """g, from as many pixels before a block on as after it."""
    support = {"box": factor / 2, "gaussian": _CUT * std, "bicubic": 2.0 * factor}[filter_]
    reach = max(math.ceil(support - factor / 2), 0)
    places = [a - (factor - 1) / 2 for a in range(-reach, factor + reach)]
    if filter_ == "gaussian":
        nearest = min(map(abs, places))  # at which the weight is 1: a narrow Gaussian must not vanish
        values = [math.exp((nearest**2 - t**2) / (2 * std**2)) for t in places]
    elif filter_ == "bicubic":
        values = [_cubic(abs(t) / factor) for t in places]
    else:
        values = [1.0 for _ in places]
    total = math.fsum(values)
    return [value / total for value in values]


def _cubic(t: float) -> float:
    """Keys' kernel at t >= 0."""
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


@lru_cache(maxsize=64)
def _axis_matrix(
    n: int, factor: int, weights: tuple[float, ...], boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The filter and the choice of pixels on one axis as an n / factor x n matrix."""
    # Not an inference tensor, even if first needed in inference mode: gradients pass through it later.
    with torch.inference_mode(False):
        reach = (len(weights) - factor) // 2
        continued = pad(torch.eye(n, dtype=torch.float64), (reach, 0), boundary)
        windows = continued.unfold(0, len(weights), factor)
        return (windows @ torch.tensor(weights, dtype=torch.float64)).to(device, dtype)


@lru_cache(maxsize=32)
def _axis_eigenpairs(
    n: int, factor: int, weights: tuple[float, ...], boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """For the matrix M of one axis, the eigenvectors of MᵀM, one in each row, and its eigenvalues."""
    with torch.inference_mode(False), torch.no_grad():
        matrix = _axis_matrix(n, factor, weights, boundary, torch.float64, torch.device("cpu"))
        # Of M instead of MᵀM: small singular values are not lost. The vectors are all n, the values those of M.
        _, singular_values, vectors = torch.linalg.svd(matrix)
        values = torch.zeros(n, dtype=torch.float64)
        values[: len(singular_values)] = singular_values**2
        return vectors.to(device, dtype).contiguous(), values.to(device, dtype)
