"""Variational reconstruction with a learned convex ridge regularizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import StabilityCertificate
from invreg_stable.linear import largest_gain, smallest_singular_value
from invreg_stable.parameters import GradientTolerance, KernelSize, Knots, MaxIterations, Ridges, RidgeWeight, Scale
from invreg_stable.ridge import Ridge, RidgeWeights
from invreg_stable.variational import RidgeMethod


class ConvexRidgeRegularizer(RidgeMethod):
    """The minimiser over all images in [0, 1], for a linear operator A, of

        J(x) = ½||A x - z||² + weight R(x) + ½ strong_convexity ||x - ½||²,
        R(x) = 1/μ Σ_i <1, ψ_i(μ (W x)_i)>,

    with learned filters W of norm 1 and learned convex potentials ψ_i, whose derivatives are nondecreasing linear
    splines. Each channel is regularized alone.

    J is convex for all weights, so the iteration converges to a minimiser, and any two minimisers for z₁ and z₂ satisfy

        ||A x₁ - A x₂|| <= ||z₁ - z₂||.

    Where the singular values of A are at least m, and strong_convexity is ρ, with m > 0 or ρ > 0,

        ||x₁ - x₂|| <= max over s >= m of s / (s² + ρ) ||z₁ - z₂||,

    which the certificate says. Training differentiates the minimiser by the implicit function theorem.

    Source: Goujon, Neumayer, Bohra, Ducotterd & Unser 2023, IEEE Trans. Comput. Imaging 9, 781-795 (arXiv 2211.12461).
    Other than there, W is one convolution, the ψ_i are even, images are mirrored at their borders, the weights are
    trained through the minimiser instead of steps towards it, and strong_convexity is added.
    """

    label = "crr"

    def __init__(
        self,
        weight: RidgeWeight = 0.045,
        scale: Scale = 3.0,
        strong_convexity: Annotated[
            float, Field(ge=0, description="ρ of ½ρ||x - ½||²: if positive, every reconstruction has a stability bound")
        ] = 0.0,
        filters: Ridges = 24,
        kernel_size: KernelSize = 5,
        knots: Knots = 20,
        tolerance: GradientTolerance = 1e-4,
        max_iterations: MaxIterations = 1000,
    ) -> None:
        super().__init__()
        self.weight, self.scale, self.strong_convexity = weight, scale, strong_convexity
        self.filters, self.kernel_size, self.knots = filters, kernel_size, knots
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def _make_weights(self) -> None:
        self.weights = RidgeWeights(self.filters, self.kernel_size, self.knots)

    def ridge(self) -> Ridge:
        return self.weights.ridge(self.scale)

    def certificate(self) -> StabilityCertificate:
        """The stability of the exact minimiser, for images of the shape of `setup`.

        `reconstruction_lipschitz` is the bound above, where A is known to have no singular value near zero (from
        `LinearOperator.normal_function`) or `strong_convexity` is positive. Elsewhere it is None: convergence is
        proven, and a bound of A x alone. `proven` says which, `data_lipschitz` is that bound, 1.

        Raises:
            CertificateError: if weights are not finite.
        """
        m, rho = smallest_singular_value(self._operator, self._shape), self.strong_convexity
        return self._certificate(
            {"strong_convexity": largest_gain(m, rho)},
            ["the iteration converges to a minimiser", "A times the minimiser is nonexpansive in z"],
            {"data_lipschitz": 1.0, "smallest_singular_value": m, "strong_convexity": rho},
        )
