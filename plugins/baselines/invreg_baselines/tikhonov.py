"""Tikhonov regularisation, the linear reconstruction that makes a linear problem nearly the identity."""

from __future__ import annotations

import copy
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, Problem, Shape, SpecError, search_range
from invreg_baselines.normal_equations import (
    ACCURACY,
    SLACK,
    NormalEquations,
    chebyshev_solution,
    fits_a_matrix,
    largest_gain,
)

# Eigenvalues of A*A below this share of the largest are zero, up to rounding.
_KERNEL = 1e-12


class Tikhonov(NormalEquations):
    """x = argmin ||A x - z||² + alpha ||A||² ||x||², for linear operators A: Tikhonov regularisation.

    That is x = P z with

        P = (A*A + alpha ||A||² I)^-1 A*.

    P A is self-adjoint with its spectrum in [0, 1 / (1 + alpha)], so it is firmly nonexpansive, and

        ||P|| = max over the singular values s of A of s / (s² + alpha ||A||²) <= 1 / (2 sqrt(alpha) ||A||).

    The equation is solved in a transform where the operator knows one in which A*A is diagonal
    (`LinearOperator.normal_function`), by one matrix where images are small, and by a Chebyshev iteration otherwise.
    Each of them is linear in z. The result is neither clamped nor otherwise brought to the range of images.

    Source: Engl, Hanke & Neubauer 1996, Regularization of Inverse Problems, section 5.1.
    """

    def __init__(
        self,
        alpha: Annotated[
            float,
            Field(
                ge=0,
                le=1e6,
                description="weight of ||x||² relative to ||A||²; 0 only for operators that are known to have no "
                "kernel",
                json_schema_extra=search_range(1e-3, 0.3, log=True),
            ),
        ] = 0.01,
    ) -> None:
        super().__init__(alpha)
        self._is_spectral = False

    @property
    def formula(self) -> str:
        return f"(A*A + {self.alpha:g} ‖A‖² I)⁻¹ A*z" if self.alpha else "(A*A)⁻¹ A*z"

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Finds how the equation is solved.

        Raises:
            SpecError: if the operator is not linear, or alpha is 0 and it has a kernel, or may have one.
            InvregError: if it is zero.
        """
        super().setup(problem, image_shape)
        values = _eigenvalues(self._operator, self._shape)
        self._is_spectral = values is not None
        if not self.alpha and (values is None or float(values.min()) <= _KERNEL * float(values.max())):
            name, has = type(problem.operator).__name__, "may have" if values is None else "has"
            raise SpecError(
                f"alpha 0 for {name}, which {has} a kernel: images that it maps to zero",
                where="alpha",
                expected="a positive weight, without which they are not determined",
                hint="alpha: 0.01",
            )
        self._has_matrix = not self._is_spectral and fits_a_matrix(self._shape, self._range_shape)
        if self._has_matrix:
            device = next((b.device for b in problem.operator.buffers()), torch.device("cpu"))
            try:
                self._matrix(torch.float32, device)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                raise SpecError(
                    f"alpha {self.alpha:g}, which is lost in rounding: A*A + alpha ‖A‖² I cannot be factorised",
                    where="alpha",
                    expected="a weight far above 1e-16",
                    hint="alpha: 0.01",
                ) from None

    def forward(self, z: Tensor) -> Tensor:
        """P z, `[B, C, H, W]`, for z `[B, ...range]`."""
        operator = self._operator
        # Physics keeps the precision of the measurements, also where a network behind it runs under autocast.
        with torch.autocast(z.device.type, enabled=False):
            if self._has_matrix and tuple(z.shape[1:]) == self._range_shape:
                return (z.flatten(1) @ self._matrix(z.dtype, z.device)).reshape(-1, *self._shape)
            y = operator.adjoint(z)
            if self._is_spectral:
                return operator.normal_function(y, lambda values: 1 / (values + self._shift))
            return chebyshev_solution(operator, y, self._shift, self._norm_bound_of(tuple(y.shape[1:])))

    def norm_bound(self, image_shape: Shape) -> float:
        """A bound of ||P||: where the spectrum of A is known its maximum, and elsewhere what holds for all operators.

        Only for an alpha above 1 and for images for which the equation is solved by the Chebyshev iteration does it
        depend on `LinearOperator.norm_bound`.
        """
        operator, shape = self._operator, tuple(image_shape)
        if self._is_spectral:
            values = _eigenvalues(operator, shape)
            assert values is not None  # noqa: S101 (for mypy: `setup` has looked)
            return float((values.clamp_min(0).sqrt() / (values + self._shift)).max()) * (1 + SLACK)
        largest = self._norm_bound_of(shape) if self.alpha > 1 else math.inf
        missed = 0.0 if self._has_matrix and shape == self._shape else ACCURACY
        return largest_gain(self._shift, largest) * (1 + missed) * (1 + SLACK)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


def _eigenvalues(operator: LinearOperator, image_shape: Shape) -> Tensor | None:
    """Those of A*A, in float64, as often as they like; None if no transform is known."""
    found: list[Tensor] = []

    def noted(values: Tensor) -> Tensor:
        found.append(values)
        return values

    twin = copy.deepcopy(operator).double()
    state = [*twin.parameters(), *twin.buffers()]
    like = torch.zeros((1, *image_shape), dtype=torch.float64, device=state[0].device if state else None)
    try:
        with torch.no_grad():
            twin.normal_function(like, noted)
    except NotImplementedError:
        return None
    return torch.cat([values.flatten() for values in found])
