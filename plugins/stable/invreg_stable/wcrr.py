"""Variational reconstruction with a learned ridge regularizer that is weakly convex."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import StabilityCertificate
from invreg_stable.linear import largest_gain, smallest_singular_value
from invreg_stable.parameters import GradientTolerance, KernelSize, Knots, MaxIterations, Ridges, RidgeWeight, Scale
from invreg_stable.ridge import Ridge, WeakRidgeWeights
from invreg_stable.variational import RidgeMethod

# Of the modulus, so that rounding in float32 does not decide whether J is convex.
_SLACK = 1e-5


class WeaklyConvexRidgeRegularizer(RidgeMethod):
    """A minimiser or critical point over all images in [0, 1], for a linear operator A, of

        J(x) = ½||A x - z||² + weight R(x) + ½ strong_convexity ||x - ½||²,
        R(x) = 1/μ Σ_i <1, ψ_i(μ (W x)_i)>,

    as `crr`, with potentials ψ_i that are concave where that pays: they cost large differences less than in proportion.
    For all weights, weight R(x) + ½ modulus ||x||² is convex: negative slopes of ψ' are scaled down until the bound of
    their part of R'' allows it.

    Where the singular values of A are at least m, and strong_convexity is ρ, with m² + ρ > modulus (denoising, say),
    J is strongly convex, the iteration converges to its one minimiser, and with r <= modulus, a bound of the modulus
    that the weights have,

        ||x₁ - x₂|| <= max over s >= m of s / (s² + ρ - r) ||z₁ - z₂||.

    Elsewhere, J decreases along projected gradients, which converge to a critical point; nothing is proven of its
    stability. Weights are trained where J is convex; elsewhere they are constants.

    Source: Goujon, Neumayer & Unser 2024, SIAM J. Imaging Sci. 17, 91-115 (arXiv 2308.10542). Other than there, W is
    one convolution, each ridge has a ψ_i of its own, for one level of noise, images are mirrored at their borders, and
    the iteration without convexity is not accelerated, so that its convergence is that of Attouch, Bolte & Svaiter 2013
    (Math. Program. 137, theorem 5.3): J is piecewise polynomial and the box is compact.
    """

    label = "wcrr"

    def __init__(
        self,
        weight: RidgeWeight = 0.045,
        scale: Scale = 3.0,
        modulus: Annotated[
            float, Field(gt=0, lt=1, description="λR + ½ modulus ||x||² is convex for all weights")
        ] = 0.9,
        strong_convexity: Annotated[
            float, Field(ge=0, description="ρ of ½ρ||x - ½||²: from modulus on, every reconstruction has a bound")
        ] = 0.0,
        filters: Ridges = 24,
        kernel_size: KernelSize = 5,
        knots: Knots = 20,
        tolerance: GradientTolerance = 1e-4,
        max_iterations: MaxIterations = 1000,
    ) -> None:
        super().__init__()
        self.weight, self.scale, self.modulus, self.strong_convexity = weight, scale, modulus, strong_convexity
        self.filters, self.kernel_size, self.knots = filters, kernel_size, knots
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def _make_weights(self) -> None:
        self._least = smallest_singular_value(self._operator, self._shape)
        # Where derivatives of a reconstruction may not exist, trainers find no weights, and say so before a run.
        self.weights = WeakRidgeWeights(self.filters, self.kernel_size, self.knots).requires_grad_(self.is_convex)

    def ridge(self) -> Ridge:
        return self.weights.ridge(self.scale, self.modulus / self.weight)

    @property
    def is_convex(self) -> bool:
        return (self._least or 0.0) ** 2 + self.strong_convexity > self.modulus

    def certificate(self) -> StabilityCertificate:
        """The stability of the exact minimiser, for images of the shape of `setup`, where J is proven to be convex.

        `weak_convexity` is r. Elsewhere there is no bound, and `proven` says that the iteration converges to a critical
        point.

        Raises:
            CertificateError: if weights are not finite.
        """
        m, rho = self._least, self.strong_convexity
        r = min(self.modulus, self.weight * self.ridge().weak_convexity() * (1 + _SLACK))
        reached = "its one minimiser" if self.is_convex else "a critical point"
        return self._certificate(
            {"strong_convexity": largest_gain(m, rho - r) if self.is_convex else None},
            [f"the iteration converges to {reached}", f"the objective plus {self.modulus:g}/2 ||x||² is convex"],
            {"smallest_singular_value": m, "strong_convexity": rho, "weak_convexity": r},
        )
