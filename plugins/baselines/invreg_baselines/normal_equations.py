"""The equation (A*A + s I) x = A*z, solved by one matrix or by a Chebyshev iteration: both are linear in z."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from invreg import InvregError, LinearOperator, Problem, PullBack, Shape

#: By how much, relative to the exact one, the Chebyshev iteration may miss each component of the solution.
ACCURACY = 1e-5

#: Up to so many numbers, the matrix of z -> x is made: 64 x 64 pixels and 45 angles, say.
_LARGEST_MATRIX = 2**24

# Rows of a matrix that are computed at once.
_ROWS = 256

# A bound that was computed on another machine may differ in its last digits.
SLACK = 1e-9


class NormalEquations(PullBack):
    """A pull-back that solves (B*B + alpha ||A||² I) x = B*z, with B = A or a map that is made of A.

    Args:
        alpha: 0 or more.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self._matrices: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._norm_bounds: dict[Shape, float] = {}

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Finds the shift alpha ||A||².

        Raises:
            SpecError: if the operator is not linear.
            InvregError: if it is zero.
        """
        super().setup(problem, image_shape)
        self._matrices, self._norm_bounds = {}, {}
        self._shape, norm = tuple(image_shape), problem.norm(image_shape).value
        if norm == 0:
            raise InvregError(
                f"the norm of {type(problem.operator).__name__} is zero",
                where=type(self).__name__,
                expected="an operator that does not map every image to zero",
            )
        self._shift = self.alpha * norm**2

    @property
    def _operator(self) -> LinearOperator:
        """A."""
        operator = self.problem.operator
        assert isinstance(operator, LinearOperator)  # noqa: S101 (for mypy: `setup` has looked)
        return operator

    @property
    def _solved(self) -> LinearOperator:
        """B."""
        return self._operator

    @property
    def _range_shape(self) -> Shape:
        return tuple(self._operator.range_shape(self._shape))

    def _matrix(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        if (dtype, device) not in self._matrices:
            found = solution_matrix(self._solved, self._shape, self._shift)
            self._matrices[dtype, device] = found.to(device, dtype)
        return self._matrices[dtype, device]

    def _norm_bound_of(self, image_shape: Shape) -> float:
        """Of A."""
        if image_shape not in self._norm_bounds:
            self._norm_bounds[image_shape] = self._operator.norm_bound(image_shape)
        return self._norm_bounds[image_shape]


def fits_a_matrix(domain_shape: Shape, range_shape: Shape) -> bool:
    """Whether the matrix from measurements to images is small enough to be kept."""
    return math.prod(domain_shape) * math.prod(range_shape) <= _LARGEST_MATRIX


def solution_matrix(operator: LinearOperator, domain_shape: Shape, shift: float) -> Tensor:
    """The transpose of (A*A + s I)^-1 A* in float64, `[numbers of z, numbers of x]`, by a Cholesky factorisation.

    Of A*A + s I and A A* + s I, whose solutions agree, the smaller one is factorised.
    """
    twin, range_shape = copy.deepcopy(operator).double(), operator.range_shape(domain_shape)
    rows = math.prod(range_shape)
    state = [*twin.parameters(), *twin.buffers()]
    device = state[0].device if state else None
    with torch.no_grad(), torch.inference_mode(False):
        unit = torch.eye(rows, dtype=torch.float64, device=device).reshape(rows, *range_shape)
        a = torch.cat([twin.adjoint(unit[i : i + _ROWS]).flatten(1) for i in range(0, rows, _ROWS)])
        if rows <= a.shape[1]:
            return torch.cholesky_solve(a, _factor(a @ a.mT, shift))
        return torch.cholesky_solve(a.mT, _factor(a.mT @ a, shift)).mT.contiguous()


def _factor(gram: Tensor, shift: float) -> Tensor:
    gram.diagonal().add_(shift)
    return torch.linalg.cholesky(gram)


def chebyshev_solution(operator: LinearOperator, y: Tensor, shift: float, norm_bound: float) -> Tensor:
    """q(A*A) y for a polynomial q near t -> 1 / (t + s) on [0, norm_bound²]: |1 - (t + s) q(t)| <= `ACCURACY`.

    That is the Chebyshev iteration. Its number of steps is the same for all y, so it is linear in y.

    Source: Saad 2003, Iterative Methods for Sparse Linear Systems, algorithm 12.1.
    """
    radius = norm_bound**2 / 2
    center = radius + shift
    ratio = center / radius
    x = direction = y / center
    residual, rho = y, 1 / ratio
    for _ in range(_steps(ratio) - 1):
        residual = residual - (operator.adjoint(operator(direction)) + shift * direction)
        following = 1 / (2 * ratio - rho)
        direction = following * rho * direction + 2 * following / radius * residual
        x, rho = x + direction, following
    return x


def _steps(ratio: float) -> int:
    """The smallest k with T_k(ratio) >= 1 / ACCURACY: the residual polynomial is T_k(...) / T_k(ratio)."""
    return math.ceil(math.acosh(1 / ACCURACY) / math.acosh(ratio))


def largest_gain(shift: float, norm_bound: float) -> float:
    """The maximum of s / (s² + shift) over 0 <= s <= norm_bound, at s = sqrt(shift) if that is within."""
    peak = min(math.sqrt(shift), norm_bound)
    return peak / (peak**2 + shift)
