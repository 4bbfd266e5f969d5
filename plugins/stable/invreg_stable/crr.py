"""Variational reconstruction with a learned convex ridge regularizer."""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    CertificateError,
    ConvergenceWarning,
    LinearOperator,
    Odd,
    Operator,
    Problem,
    Reconstructor,
    Shape,
    ShapeError,
    SpecError,
    StabilityCertificate,
    certificate_content,
    search_range,
    smallest,
)
from invreg_stable.minimisation import ImplicitMinimiser, Minimisers, minimise
from invreg_stable.ridge import Ridge, RidgeWeights

# Eigenvalues of A*A below this share of the largest may be zero: rounding hides them.
_KERNEL = 1e-12
# Bounds that were computed on another machine may differ in their last digits.
_SLACK = 1e-9
# Numbers in an image whose norm is not computed before it is needed.
_LARGE = 2**22


class ConvexRidgeRegularizer(Reconstructor):
    """The minimiser over all images in [0, 1], for a linear operator A, of

        J(x) = ½||A x - z||² + weight R(x) + ½ strong_convexity ||x - ½||²,
        R(x) = 1/scale Σ_i <1, ψ_i(scale (W x)_i)>,

    with learned filters W of norm 1 and learned convex potentials ψ_i, whose derivatives are nondecreasing linear
    splines. Each channel is regularized alone.

    J is convex for all weights, so the iteration converges to a minimiser, and any two minimisers for z₁ and z₂ satisfy

        ||A x₁ - A x₂|| <= ||z₁ - z₂||.

    Where the singular values of A are at least m, and strong_convexity is ρ, with m > 0 or ρ > 0,

        ||x₁ - x₂|| <= max over s >= m of s / (s² + ρ) ||z₁ - z₂||,

    which the certificate says. Training differentiates the minimiser by the implicit function theorem.

    Source: Goujon, Neumayer, Bohra, Ducotterd & Unser 2023, IEEE Trans. Comput. Imaging 9, 781-795 (arXiv 2211.12461).
    Other than there, the ψ_i are even, images are mirrored at their borders, the weights are trained through the
    minimiser instead of steps towards it, and strong_convexity is added.
    """

    needs_training = True

    def __init__(
        self,
        weight: Annotated[
            float,
            Field(
                gt=0,
                description="λ, weight of R against ½||A x - z||²; from there on, training changes the slopes of ψ'",
                json_schema_extra=search_range(1e-2, 30.0, log=True),
            ),
        ] = 0.5,
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="μ: R(x) = 1/μ Σ ψ(μ W x) sees finer differences if it is larger",
                json_schema_extra=search_range(0.5, 8.0, log=True),
            ),
        ] = 1.0,
        strong_convexity: Annotated[
            float, Field(ge=0, description="ρ of ½ρ||x - ½||²: if positive, every reconstruction has a stability bound")
        ] = 0.0,
        filters: Annotated[int, Field(ge=1, le=1024, description="number of ridges")] = 16,
        hidden: Annotated[int, Field(ge=1, le=1024, description="filters of the first of both convolutions")] = 4,
        kernel_size: Annotated[
            int, Odd(), Field(ge=3, le=31, description="side of the kernels of both convolutions")
        ] = 5,
        knots: Annotated[
            int, Field(ge=1, le=1000, description="knots of ψ' at each side of zero, 0.01 from one to the next")
        ] = 10,
        tolerance: Annotated[
            float, Field(gt=0, lt=1, description="gradient, relative to A*z, up to which each image is computed")
        ] = 1e-4,
        max_iterations: Annotated[
            int, Field(ge=1, description="iterations after which an image is given up, with a ConvergenceWarning")
        ] = 1000,
    ) -> None:
        super().__init__()
        self.weight, self.scale, self.strong_convexity = weight, scale, strong_convexity
        self.filters, self.hidden, self.kernel_size, self.knots = filters, hidden, kernel_size, knots
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self._norms: dict[Shape, float] = {}

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that are not linear: J would not be convex."""
        if not isinstance(operator, LinearOperator):
            raise SpecError(
                f"{type(operator).__name__} is not linear: ½||F(x) - z||² is not convex",
                where="crr",
                expected="a LinearOperator",
                hint="tv or iresnet, which take others",
            )

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the weights.

        Raises:
            SpecError: if the operator is not linear, or zero.
            ShapeError: if images are smaller than the filters reach.
        """
        self.check_operator(problem.operator)
        super().setup(problem, image_shape)
        self._norms = {}
        self._shape = self._checked(tuple(image_shape))
        self._range_shape = tuple(problem.operator.range_shape(self._shape))
        if math.prod(self._shape) <= _LARGE:
            self._norm(self._shape)
        self.weights = RidgeWeights(self.filters, self.hidden, self.kernel_size, self.knots)

    @property
    def memory_per_pixel(self) -> float | None:
        """About three arrays of responses, and a dozen of images."""
        return 4.0 * self._shape[0] * (3 * self.filters + 12)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]` in [0, 1] of z `[B, ...range]`.

        Warns:
            ConvergenceWarning: in evaluation, if images were given up before they reached the tolerance.

        Raises:
            ShapeError: if z does not fit the operator.
            ConvergenceError: if the iterates are not finite.
        """
        with torch.autocast(z.device.type, enabled=False):
            shape, ridge = self._image_shape(z), self.weights.ridge(self.scale)
            pulled = self._operator.adjoint(z)
            found = self._minimisers(ridge, pulled.detach(), shape)
            missed = ~found.converged
            if bool(missed.any()) and not self.training:
                warnings.warn(
                    f"crr: {int(missed.sum())} of {len(missed)} images did not reach the tolerance "
                    f"{self.tolerance:g}: their residuals are up to {float(found.residual[missed].max()):.1e} after "
                    f"{self.max_iterations} iterations; try max_iterations > {self.max_iterations} or a larger "
                    "tolerance",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            if not torch.is_grad_enabled():
                return found.x
            slope = self._slope(ridge, found.x, pulled)
            if not slope.requires_grad:
                return found.x
            lipschitz = self._lipschitz(ridge, shape)
            with torch.no_grad():
                curvature = ridge.curvature(found.x)

            def second_derivative(v: Tensor) -> Tensor:
                bent = self.weight * ridge.second_derivative(curvature, v)
                return self._operator.normal(v) + bent + (self.strong_convexity + self.tolerance * lipschitz) * v

            minimiser: Tensor = ImplicitMinimiser.apply(found.x, slope, second_derivative, self.tolerance)
            return minimiser

    @torch.no_grad()
    def solve(self, z: Tensor) -> Minimisers:
        """As `forward`, with the residual and the iterations of each image, and without the warning."""
        self.check_measurements(z)
        z = z.to(self._own_dtype() or z.dtype)
        return self._minimisers(self.weights.ridge(self.scale), self._operator.adjoint(z), self._image_shape(z))

    def regularizer(self, x: Tensor) -> Tensor:
        """R(x), `[B]`, for images `[B, C, H, W]`."""
        return self.weights.ridge(self.scale).value(x)

    def objective(self, x: Tensor, z: Tensor) -> Tensor:
        """J(x), `[B]`."""
        data = (self._operator(x) - z).flatten(1).square().sum(1) / 2
        return data + self.weight * self.regularizer(x) + self.strong_convexity * _square(x - 0.5) / 2

    # -- what is proven

    def certificate(self) -> StabilityCertificate:
        """The stability of the exact minimiser, for images of the shape of `setup`.

        `reconstruction_lipschitz` is the bound above, where A is known to have no singular value near zero (from
        `LinearOperator.normal_function`) or `strong_convexity` is positive. Elsewhere it is None: convergence is
        proven, and a bound of A x alone. `proven` says which, `data_lipschitz` is that bound, 1.

        Raises:
            CertificateError: if weights are not finite.
        """
        state = self.state_dict()
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            raise CertificateError("weights that are not finite", where="crr", expected="trained weights")
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        m, rho = _smallest_singular_value(self._operator, self._shape), self.strong_convexity
        bounds: dict[str, float | None] = {"strong_convexity": _largest_gain(m, rho)}
        bounds["certified"] = smallest(bounds)
        proven = ["the iteration converges to a minimiser", "A times the minimiser is nonexpansive in z"]
        further = {
            "proven": [*proven, *(["the minimiser is Lipschitz continuous in z"] if bounds["certified"] else [])],
            "data_lipschitz": 1.0,
            "smallest_singular_value": m,
            "strong_convexity": rho,
            "image_shape": list(self._shape),
        }
        certified = bounds["certified"]
        content = certificate_content(bounds, {"certified": None}, certified, digest.hexdigest(), "z", further)
        return StabilityCertificate(content)

    def verify(self, certificate: StabilityCertificate) -> None:
        """Makes the certificate again, which takes no search, and compares.

        Raises:
            CertificateError: if it belongs to other weights, or claims what does not hold.
        """
        own = self.certificate()
        if certificate.content["weights"] != own.content["weights"]:
            raise CertificateError("it belongs to other weights", where="certificate", expected="that of these weights")
        sides = ("inverse_lipschitz", "forward_lipschitz")
        claims = [(certificate.content["reconstruction_lipschitz"], own.reconstruction_lipschitz)]
        claims += [
            (bound, own.content[side].get(way)) for side in sides for way, bound in certificate.content[side].items()
        ]
        for claimed, holds in claims:
            if claimed is not None and (holds is None or not claimed >= holds * (1 - _SLACK)):
                raise CertificateError(
                    f"it claims the bound {claimed}",
                    where="certificate",
                    expected="no bound" if holds is None else f"{holds} or more",
                    hint="make a new one: `invreg certify RUN` after certificate.json was deleted",
                )
        same = ("data_lipschitz", "smallest_singular_value", "strong_convexity", "image_shape", "proven", "reads")
        for key in same:
            claimed, holds = certificate.content.get(key), own.content[key]
            close = (
                isinstance(claimed, float) and isinstance(holds, float) and math.isclose(claimed, holds, rel_tol=1e-6)
            )
            if claimed != holds and not close:
                raise CertificateError(f"{key}: {claimed}", where="certificate", expected=repr(holds))

    # -- parts

    @property
    def _operator(self) -> LinearOperator:
        operator = self.problem.operator
        assert isinstance(operator, LinearOperator)  # noqa: S101 (for mypy: `setup` has looked)
        return operator

    def _slope(self, ridge: Ridge, x: Tensor, pulled: Tensor) -> Tensor:
        """J'(x), with pulled = A*z."""
        found = self._operator.normal(x) - pulled + self.weight * ridge.gradient(x)
        return found + self.strong_convexity * (x - 0.5) if self.strong_convexity else found

    @torch.no_grad()
    def _minimisers(self, ridge: Ridge, pulled: Tensor, shape: Shape) -> Minimisers:
        return minimise(
            lambda x, data: self._slope(ridge, x, data),
            pulled,
            start=pulled / self._norm(shape) ** 2,
            lipschitz=self._lipschitz(ridge, shape),
            scale=torch.linalg.vector_norm((pulled + self.strong_convexity / 2).flatten(1), dim=1),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def _lipschitz(self, ridge: Ridge, shape: Shape) -> float:
        """A Lipschitz constant of J'."""
        return self._norm(shape) ** 2 + self.weight * ridge.lipschitz() + self.strong_convexity

    def _norm(self, shape: Shape) -> float:
        if shape not in self._norms:
            found = self._operator.norm_bound(shape)
            if not 0 < found < math.inf:
                raise SpecError(
                    f"{type(self._operator).__name__} has the norm {found} on images {shape}",
                    where="crr",
                    expected="an operator with a finite norm that is not zero",
                )
            self._norms[shape] = found
        return self._norms[shape]

    def _checked(self, shape: Shape) -> Shape:
        if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < self.kernel_size - 1:
            raise ShapeError(
                f"images of shape {shape}",
                where="crr",
                expected=f"(C, H, W) with sides of at least {self.kernel_size - 1}, as far as the filters reach",
                hint="a smaller kernel_size",
            )
        return shape

    def _image_shape(self, z: Tensor) -> Shape:
        """Shape of the images of z: that of `setup`, or the operator's `domain_shape` for another size of z."""
        shape = tuple(z.shape[1:])
        if shape == self._range_shape:
            return self._shape
        if len(shape) == len(self._range_shape):
            try:
                domain = tuple(self._operator.domain_shape(shape))
            except NotImplementedError:
                domain = ()
            if len(domain) == 3 and tuple(self._operator.range_shape(domain)) == shape:
                return self._checked(domain)
        raise ShapeError(
            f"measurements of shape {tuple(z.shape)}",
            where="crr",
            expected=f"[B, {', '.join(map(str, self._range_shape))}], the shape of A x for images {self._shape}",
        )


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _largest_gain(m: float | None, rho: float) -> float | None:
    """The maximum of s / (s² + ρ) over s >= m; None if it is not finite."""
    peak = max(m or 0.0, math.sqrt(rho))
    return peak / (peak**2 + rho) if peak else None


def _smallest_singular_value(operator: LinearOperator, shape: Shape) -> float | None:
    """m with ||A x|| >= m ||x||, from the eigenvalues of A*A; None if they are unknown, or rounding hides them."""
    found: list[Tensor] = []

    def noted(values: Tensor) -> Tensor:
        found.append(values.flatten())
        return values

    twin = copy.deepcopy(operator).double()
    state = [*twin.parameters(), *twin.buffers()]
    like = torch.zeros((1, *shape), dtype=torch.float64, device=state[0].device if state else None)
    try:
        with torch.no_grad():
            twin.normal_function(like, noted)
    except NotImplementedError:
        return None
    values = torch.cat(found)
    least, largest = float(values.min()), float(values.max())
    if least < largest:  # what rounding may have added is taken off
        least -= 1e-14 * largest
    return math.sqrt(least) if least > _KERNEL * largest else None
