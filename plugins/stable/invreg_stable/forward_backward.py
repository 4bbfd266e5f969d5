"""Fixed points of gradient steps on the data followed by a nonexpansive denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import CertificateError, Problem, Shape
from invreg_stable.denoiser import AveragedDenoiser, Layer, denoised
from invreg_stable.fixed_point import FixedPoints, ImplicitFixedPoint, iterate
from invreg_stable.linear import StableLinearMethod, smallest_singular_value


class ForwardBackwardMethod(StableLinearMethod):
    """Base of methods that reconstruct the fixed point of

        G(x) = D(x - η (A*(A x - z) + ρ (x - A*z / ||A||²))),    η = 1 / (||A||² + ρ),

    with an averaged denoiser D, ||A|| its bound, ρ = `anchor` and x in [0, 1].

    G is averaged and maps the box to itself, so the iteration converges to a fixed point (Krasnosel'skii & Mann). Write
    B x = (A x, √ρ x), and z' = (z, √ρ A*z / ||A||²), so that G(x) = D(x - η B*(B x - z')) with η ||B||² <= 1. Two fixed
    points x₁, x₂ with the difference d, for measurements with the difference ζ, satisfy

        ||B d|| <= ||ζ'||:

    as D is nonexpansive, ||d||² <= ||d - η B*(B d - ζ')||², hence 2 <B d, B d - ζ'> <= η ||B*(B d - ζ')||²
    <= ||B d - ζ'||², which is ||B d||² <= ||ζ'||². So, with singular values of A of at least m,

        ||d|| <= √((1 + ρ / ||A||²) / (m² + ρ)) ||ζ||.

    Subclasses set the attributes below in their constructor.
    """

    anchor: float
    layers: int
    filters: int
    threshold: float

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the weights.

        Raises:
            SpecError: if the operator is not linear, or zero.
            ShapeError: if images are smaller than the filters reach.
        """
        super().setup(problem, image_shape)
        self.denoiser = AveragedDenoiser(self.layers, self.filters, self.kernel_size, self.threshold)

    @property
    def memory_per_pixel(self) -> float | None:
        """About two arrays of responses, one of all taps, and a dozen of images."""
        return 4.0 * self._shape[0] * (2 * self.filters + self.kernel_size**2 + 12)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]` in [0, 1] of z `[B, ...range]`.

        Warns:
            ConvergenceWarning: in evaluation, if images were given up before they reached the tolerance.

        Raises:
            ShapeError: if z does not fit the operator.
            ConvergenceError: if the iterates are not finite.
        """
        with torch.autocast(z.device.type, enabled=False):
            shape, layers = self._image_shape(z), self.denoiser.layers()
            pulled = self._operator.adjoint(z)
            found = self._fixed_points(layers, pulled.detach(), shape, self.tolerance)
            self._warn_of(found.converged, found.residual)
            if not torch.is_grad_enabled():
                return found.x
            image = self._update(layers, found.x, pulled, shape)
            if not image.requires_grad:
                return found.x
            fixed = [Layer(layer.kernels.detach(), layer.thresholds.detach()) for layer in layers]
            with torch.enable_grad():
                x = found.x.detach().requires_grad_()
                beside = self._update(fixed, x, pulled.detach(), shape)

            def pull_back(v: Tensor) -> Tensor:
                return torch.autograd.grad(beside, x, v, retain_graph=True)[0]

            result: Tensor = ImplicitFixedPoint.apply(image, pull_back, self.tolerance, self.max_iterations)
            return result

    @torch.no_grad()
    def solve(self, z: Tensor, tolerance: float | None = None) -> FixedPoints:
        """As `forward`, with the residual and the iterations of each image, and without the warning."""
        self.check_measurements(z)
        z = z.to(self._own_dtype() or z.dtype)
        shape, pulled = self._image_shape(z), self._operator.adjoint(z)
        return self._fixed_points(self.denoiser.layers(), pulled, shape, tolerance or self.tolerance)

    # -- parts

    def _update(self, layers: list[Layer], x: Tensor, pulled: Tensor, shape: Shape) -> Tensor:
        """G(x), with pulled = A*z."""
        square = self._norm(shape) ** 2
        slope = self._operator.normal(x) - pulled
        if self.anchor:
            slope = slope + self.anchor * (x - pulled / square)
        return denoised(x - slope / (square + self.anchor), layers)

    @torch.no_grad()
    def _fixed_points(self, layers: list[Layer], pulled: Tensor, shape: Shape, tolerance: float) -> FixedPoints:
        start = (pulled / self._norm(shape) ** 2).clamp(0, 1)
        scale = torch.linalg.vector_norm(start.flatten(1), dim=1)
        return iterate(
            lambda x, data: self._update(layers, x, data, shape), pulled, start, scale, tolerance, self.max_iterations
        )

    def _least(self) -> float | None:
        """m: no singular value of A is smaller; None if that is not known, or 0."""
        return smallest_singular_value(self._operator, self._shape)

    def _gain(self, m: float | None, shape: Shape) -> float | None:
        """The bound of Lip(R) above, for images of this shape; None if there is none."""
        square = (m or 0.0) ** 2 + self.anchor
        return ((1 + self.anchor / self._norm(shape) ** 2) / square) ** 0.5 if square else None

    def _layer_norms(self) -> list[float]:
        """Bounds of the norms of all W in D, in float64.

        Raises:
            CertificateError: if one is larger than 1.
        """
        norms = self.denoiser.norms()
        if not all(norm <= 1 for norm in norms):  # false for NaN, too
            raise CertificateError(
                f"filters of the norms {', '.join(f'{norm:.6g}' for norm in norms)}",
                where=self.label,
                expected="at most 1: weights of ordinary size",
            )
        return norms
