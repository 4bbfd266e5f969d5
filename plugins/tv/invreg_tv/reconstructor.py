"""Total variation as a reconstruction method."""

from __future__ import annotations

import math
import warnings
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    ConvergenceWarning,
    LinearOperator,
    Operator,
    Problem,
    Reconstructor,
    Shape,
    ShapeError,
    require_known,
    search_range,
)
from invreg_tv.linear import Identity, primal_dual
from invreg_tv.nonlinear import nonlinear_primal_dual
from invreg_tv.norms import derivative_norm, norm_bound
from invreg_tv.solution import TVSolution

#: Numbers in an image whose norm is not computed before it is needed.
_LARGE = 2**22


class TotalVariation(Reconstructor):
    """Variational reconstruction with total variation and a box constraint:

    x = argmin over x in [0, 1]^n of ½||F(x) - z||² + weight TV(x),   TV(x) = Σ |(D₁x, D₂x)|,

    the sum over all pixels and channels; D₁ and D₂ are forward differences, zero across the edge of the image
    (Neumann). TV is isotropic within each channel and does not couple the channels. For volumes `[C, D, H, W]` it is
    the same with three differences, Σ |(D₁x, D₂x, D₃x)|.

    For a linear F the algorithm is that of Chambolle and Pock, and an image is done when its primal-dual gap proves
    that the objective exceeds its minimum by at most `tolerance` times itself. For any other F it is NL-PDHGM
    (Valkonen 2014), started at the minimiser for F = Id, and the gap is that of the linearised problem: it shows that
    a stationary point has been reached. Either way the result of an image does not depend on the batch it is in (up to
    rounding).

    The weight is measured against ½||F(x) - z||²: for an operator c F with measurements c z the same reconstruction
    needs the weight c² weight. The default search range suits operators with a norm near 1.

    Source: Rudin, Osher and Fatemi 1992; Chambolle and Pock 2011; Valkonen 2014, Inverse Problems 30 055012.
    """

    needs_training = False

    def __init__(
        self,
        weight: Annotated[
            float,
            Field(
                description="weight of TV against ½||F(x) - z||²",
                gt=0,
                json_schema_extra=search_range(1e-4, 1e-1, log=True),
            ),
        ] = 3e-3,
        tolerance: Annotated[
            float, Field(description="relative primal-dual gap up to which each image is computed", gt=0, lt=1)
        ] = 1e-3,
        max_iterations: Annotated[
            int, Field(description="iterations after which an image is given up, with a ConvergenceWarning", ge=1)
        ] = 2000,
    ) -> None:
        super().__init__()
        self.weight, self.tolerance, self.max_iterations = weight, tolerance, max_iterations

    def check_operator(self, operator: Operator) -> None:
        """Refuses an operator that cannot be evaluated."""
        require_known(operator, "tv")

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Takes the operator and, if it is linear, its norm (computed once for an operator and an image shape).

        Raises:
            ShapeError: if images are neither [C, H, W] nor [C, D, H, W], or too small for the operator.
            SpecError: if the operator is zero or has no finite norm.
        """
        self.image_shape = tuple(image_shape)
        if len(self.image_shape) not in (3, 4) or min(self.image_shape) < 1:
            raise ShapeError(
                f"image_shape {self.image_shape}", where="tv.setup", expected="(C, H, W), or (C, D, H, W) for volumes"
            )
        self.range_shape = tuple(problem.operator.range_shape(self.image_shape))
        # For images beyond this size, tiles may do without the norm of the whole.
        if isinstance(problem.operator, LinearOperator) and math.prod(self.image_shape) <= _LARGE:
            norm_bound(problem, self.image_shape)
        super().setup(problem, image_shape)

    @property
    def memory_per_pixel(self) -> float | None:
        """About 28 numbers in float32 for the iteration, or as many in float64 for the norm of the operator."""
        return 224.0 * self.image_shape[0] + 32

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]`, or `[B, C, D, H, W]`, in [0, 1] of z `[B, ...range]`.

        Warns:
            ConvergenceWarning: if images were given up before they reached the tolerance.

        Raises:
            DataError: if z is not made of finite real numbers.
            ShapeError: if z does not fit the operator.
            ConvergenceError: if the iterates become NaN or infinite.
        """
        solution = self._solve(z)
        message = self._complaint(solution)
        if message:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return solution.x.to(z.dtype)

    @torch.no_grad()
    def solve(self, z: Tensor) -> TVSolution:
        """As `forward`, with the dual variables, the gap and the iterations of each image, and without the warning.

        Computes in float64 if z is float64, and in float32 otherwise.
        """
        self.check_measurements(z)
        return self._solve(z)

    @torch.no_grad()
    def _solve(self, z: Tensor) -> TVSolution:
        operator = self.problem.operator
        image_shape = self._image_shape(z)
        z = z.contiguous() if z.dtype == torch.float64 else z.float().contiguous()
        with torch.autocast(z.device.type, enabled=False):
            if isinstance(operator, LinearOperator):
                norm = norm_bound(self.problem, image_shape)
                return primal_dual(
                    operator,
                    z,
                    self.weight,
                    start=operator.adjoint(z) / norm**2,
                    norm=norm,
                    tolerance=self.tolerance,
                    max_iterations=self.max_iterations,
                )
            return nonlinear_primal_dual(
                operator,
                z,
                self.weight,
                start=self._start(operator, z, image_shape),
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )

    def _start(self, operator: Operator, z: Tensor, image_shape: Shape) -> Tensor:
        """The minimiser for F = Id; where z is not an image, one gradient step from a grey image comes first."""
        if tuple(z.shape[1:]) != image_shape:
            grey = z.new_full((len(z), *image_shape), 0.5)
            norm = derivative_norm(operator, grey).clamp(min=torch.finfo(z.dtype).tiny ** 0.5)
            z = grey + operator.vjp(grey, z - operator(grey)) / norm.view(-1, *[1] * len(image_shape)) ** 2
        return primal_dual(Identity(), z, self.weight, start=z, norm=1.0, tolerance=1e-2, max_iterations=500).x

    def _image_shape(self, z: Tensor) -> Shape:
        """Shape of the images of z: that of `setup`, or the operator's `domain_shape` for another size of z."""
        shape = tuple(z.shape[1:])
        if shape == self.range_shape:
            return self.image_shape
        operator = self.problem.operator
        if len(shape) == len(self.range_shape):
            try:
                domain = operator.domain_shape(shape) if isinstance(operator, LinearOperator) else shape
                if len(domain) == len(self.image_shape) and tuple(operator.range_shape(domain)) == shape:
                    return tuple(domain)
            except NotImplementedError:
                pass
        expected = ", ".join(map(str, self.range_shape))
        raise ShapeError(
            f"measurements of shape {tuple(z.shape)}",
            where="tv",
            expected=f"[B, {expected}], the shape of F(x) for images {self.image_shape}",
        )

    def _complaint(self, solution: TVSolution) -> str | None:
        missed = ~solution.converged
        if not bool(missed.any()):
            return None
        stuck = int((missed & (solution.iterations < self.max_iterations)).sum())
        parts = [
            f"tv: {int(missed.sum())} of {len(missed)} images did not reach the tolerance {self.tolerance:g}: their "
            f"relative gaps are up to {float(solution.relative_gap[missed].max()):.1e} "
            f"after {int(solution.iterations[missed].max())} iterations"
        ]
        if stuck:
            parts.append(f"{stuck} of them made no more progress: try another weight or a larger tolerance")
        if stuck < int(missed.sum()):
            parts.append(f"try max_iterations > {self.max_iterations}, a larger tolerance or another weight")
        if solution.x.dtype == torch.float32 and self.tolerance < 1e-5:
            parts.append("rounding in float32 may be in the way: try measurements in float64")
        return "; ".join(parts)
