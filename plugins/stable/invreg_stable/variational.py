"""Variational reconstruction with a ridge regularizer, convex or not: minimisers, and derivatives of them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from invreg import Problem, Shape
from invreg_stable.linear import StableLinearMethod
from invreg_stable.minimisation import ImplicitMinimiser, Minimisers, Underivable, minimise
from invreg_stable.ridge import Ridge


class RidgeMethod(StableLinearMethod):
    """Base of methods that minimise, over all images in [0, 1],

        J(x) = ½||A x - z||² + weight R(x) + ½ strong_convexity ||x - ½||².

    Subclasses set the attributes below in their constructor, make weights in `setup`, and write `ridge`.
    """

    weight: float
    scale: float
    strong_convexity: float
    filters: int
    knots: int

    @abstractmethod
    def ridge(self) -> Ridge:
        """R, as a function of the weights."""

    @property
    def is_convex(self) -> bool:
        """Whether J is proven to be convex for the problem of `setup`: then the iteration is accelerated."""
        return True

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the weights.

        Raises:
            SpecError: if the operator is not linear, or zero.
            ShapeError: if images are smaller than the filters reach.
        """
        super().setup(problem, image_shape)
        self._make_weights()

    @abstractmethod
    def _make_weights(self) -> None:
        """Makes the weights, for the problem that is kept."""

    @property
    def memory_per_pixel(self) -> float | None:
        """About three arrays of responses, one of all taps, and a dozen of images."""
        return 4.0 * self._shape[0] * (3 * self.filters + self.kernel_size**2 + 12)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]` in [0, 1] of z `[B, ...range]`.

        Warns:
            ConvergenceWarning: in evaluation, if images were given up before they reached the tolerance.

        Raises:
            ShapeError: if z does not fit the operator.
            ConvergenceError: if the iterates are not finite.
            InvregError: in backward passes, if J is not proven to be convex.
        """
        with torch.autocast(z.device.type, enabled=False):
            shape, ridge = self._image_shape(z), self.ridge()
            pulled = self._operator.adjoint(z)
            found = self._minimisers(ridge, pulled.detach(), shape)
            self._warn_of(found.converged, found.residual)
            if not torch.is_grad_enabled():
                return found.x
            slope = self._slope(ridge, found.x, pulled)
            if not slope.requires_grad:
                return found.x
            if not self.is_convex:
                point: Tensor = Underivable.apply(found.x, slope, self.label)
                return point
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
        return self._minimisers(self.ridge(), self._operator.adjoint(z), self._image_shape(z))

    def regularizer(self, x: Tensor) -> Tensor:
        """R(x), `[B]`, for images `[B, C, H, W]`."""
        return self.ridge().value(x)

    def objective(self, x: Tensor, z: Tensor) -> Tensor:
        """J(x), `[B]`."""
        data = (self._operator(x) - z).flatten(1).square().sum(1) / 2
        anchored = (x - 0.5).flatten(1).square().sum(1)
        return data + self.weight * self.regularizer(x) + self.strong_convexity * anchored / 2

    # -- parts

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
            accelerated=self.is_convex,
        )

    def _lipschitz(self, ridge: Ridge, shape: Shape) -> float:
        """A Lipschitz constant of J'."""
        return self._norm(shape) ** 2 + self.weight * ridge.lipschitz() + self.strong_convexity
