"""The Wiener filter for images whose spectrum follows a power law."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, Problem, Shape, require_images, search_range
from invreg_baselines.normal_equations import (
    ACCURACY,
    SLACK,
    NormalEquations,
    chebyshev_solution,
    fits_a_matrix,
    largest_gain,
)


class Wiener(NormalEquations):
    """x = argmin ||A x - z||² + alpha ||A||² <x, S^-1 x>, for linear operators A: the Wiener filter.

    It is the best linear estimate of an image with mean zero and covariance c S from z = A x + noise, if the noise is
    white with the variance alpha ||A||² c. The covariance is diagonal in the cosine transform (DCT-II),

        S(ω) = (1 + length² |ω|²)^(-decay / 2),    |ω|² = (π k / H)² + (π l / W)²:

    a power law, as of photographs, beyond the frequency 1 / length. With B = A S^½ and ||S|| = 1,

        x = P z,    P = S^½ (B*B + alpha ||A||² I)^-1 B*,    ||P|| <= 1 / (2 sqrt(alpha) ||A||).

    The equation is solved by one matrix where images are small, and by a Chebyshev iteration otherwise; both are linear
    in z. A need not be diagonal in the transform. The result is neither clamped nor otherwise brought to the range of
    images.

    Source: Engl, Hanke & Neubauer 1996, Regularization of Inverse Problems, chapter 8, for ||S^-½ x|| as a penalty;
    Field 1987, J. Opt. Soc. Am. A 4, for the power law.
    """

    def __init__(
        self,
        alpha: Annotated[
            float,
            Field(
                gt=0,
                le=1e6,
                description="variance of the noise relative to ||A||² times that of an image at frequency zero",
                json_schema_extra=search_range(1e-5, 0.1, log=True),
            ),
        ] = 1e-3,
        decay: Annotated[
            float,
            Field(
                ge=0,
                le=8,
                description="exponent of the power law of S; 0 for Tikhonov regularisation",
                json_schema_extra=search_range(1.0, 4.0),
            ),
        ] = 2.0,
        length: Annotated[
            float, Field(gt=0, le=1e4, description="pixels; S follows the power law for waves of 2π length and shorter")
        ] = 5.0,
    ) -> None:
        super().__init__(alpha)
        self.decay, self.length = decay, length

    @property
    def formula(self) -> str:
        return f"S^½ (B*B + {self.alpha:g} ‖A‖² I)⁻¹ B*z, B = A S^½"

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Finds how the equation is solved.

        Raises:
            SpecError: if the operator is not linear.
            InvregError: if it is zero.
            ShapeError: for volumes.
        """
        require_images(image_shape, "wiener", hint="tikhonov, which takes volumes")
        super().setup(problem, image_shape)
        self._has_matrix = fits_a_matrix(self._shape, self._range_shape)
        self._root = _Root(self.decay, self.length)

    def forward(self, z: Tensor) -> Tensor:
        """P z, `[B, C, H, W]`, for z `[B, ...range]`."""
        # Physics keeps the precision of the measurements, also where a network behind it runs under autocast.
        with torch.autocast(z.device.type, enabled=False):
            if self._has_matrix and tuple(z.shape[1:]) == self._range_shape:
                return self._root((z.flatten(1) @ self._matrix(z.dtype, z.device)).reshape(-1, *self._shape))
            shaped = self._solved
            y = shaped.adjoint(z)
            # ||B|| <= ||A||, as ||S|| = 1.
            return self._root(chebyshev_solution(shaped, y, self._shift, self._norm_bound_of(tuple(y.shape[1:]))))

    def norm_bound(self, image_shape: Shape) -> float:
        """A bound of ||P||: that of `PullBack` where there is a matrix, and elsewhere what holds for all operators."""
        shape = tuple(image_shape)
        if self._has_matrix and shape == self._shape:
            return min(super().norm_bound(shape), largest_gain(self._shift, math.inf) * (1 + SLACK))
        return largest_gain(self._shift, math.inf) * (1 + ACCURACY) * (1 + SLACK)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}, decay={self.decay:g}, length={self.length:g}"

    @property
    def _solved(self) -> LinearOperator:
        return _Shaped(self._operator, self._root)


class _Root:
    """S^½, self-adjoint with its spectrum in (0, 1]."""

    def __init__(self, decay: float, length: float) -> None:
        self._decay, self._length = decay, length
        self._known: dict[tuple[int, int, torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """S^½ x, for x `[B, C, H, W]`."""
        down, across, gain = self._parts(x)
        found: Tensor = down.mT @ (gain * (down @ x @ across.mT)) @ across
        return found

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both transforms, and the root of S, `[H, W]`."""
        height, width = x.shape[-2:]
        key = (height, width, x.dtype, x.device)
        if key not in self._known:
            with torch.no_grad(), torch.inference_mode(False):
                rows, columns = (math.pi * torch.arange(n, dtype=torch.float64) / n for n in (height, width))
                square = rows.square()[:, None] + columns.square()
                gain = (1 + self._length**2 * square) ** (-self._decay / 4)
                made = (_cosines(height), _cosines(width), gain)
                self._known[key] = (made[0].to(x), made[1].to(x), made[2].to(x))
        return self._known[key]


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II, `[frequencies, pixels]`, in float64."""
    places = torch.arange(n, dtype=torch.float64)
    found = torch.cos(math.pi * places[:, None] * (places + 0.5) / n) * math.sqrt(2 / n)
    found[0] /= math.sqrt(2)
    return found


class _Shaped(LinearOperator):
    """B = A S^½."""

    def __init__(self, operator: LinearOperator, root: _Root) -> None:
        super().__init__()
        self.operator, self._root = operator, root

    def forward(self, x: Tensor) -> Tensor:
        return self.operator(self._root(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._root(self.operator.adjoint(y))

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.operator.range_shape(domain_shape)
