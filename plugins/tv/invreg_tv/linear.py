"""Total variation for linear operators, by the primal-dual algorithm of Chambolle and Pock."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import LinearOperator, generator
from invreg_tv.differences import add_adjoint
from invreg_tv.iteration import Iteration, Look, minimise
from invreg_tv.solution import Box, TVSolution
from invreg_tv.updates import Follower

#: Over-relaxation; the method converges below 2, and 1.8 saves about a third of the iterations.
RELAXATION = 1.8
#: The steps grow with the weight, but no further than to this multiple of ||A||²: from about there on minimisers are
#: constant, and the dual variable weight * p stays the same.
LARGEST_WEIGHT = 0.5
#: Dual step for the data: `LATE` sqrt(weight) / ||A||, and in iteration k at least `EARLY` / k, which takes the first
#: iterations faster to where the data are.
LATE, EARLY = 1.5, 1.4
#: ρ / weight, the dual step for the gradient with a dual variable in the unit ball.
GRADIENT_STEP = 8.0
#: The same for denoising, times sqrt(weight).
DENOISING_STEP = 3.0


def primal_dual(
    operator: LinearOperator,
    z: Tensor,
    weight: float,
    *,
    start: Tensor,
    norm: float,
    box: Box | None = (0.0, 1.0),
    tolerance: float = 1e-3,
    max_iterations: int = 2000,
    check_every: int = 10,
) -> TVSolution:
    """Minimises ½||A x - z||² + weight TV(x) over all x in the box, for each image of a batch.

    With K = (A, gradient), dual variables y and weight * p, |p| <= 1, one iteration is

        x⁺ = P_box(x - τ (A* y + weight gradient*(p))),            x̄ = 2 x⁺ - x
        y⁺ = (y + σ (A x̄ - z)) / (1 + σ)
        p⁺ = P_{|.| <= 1}(p + ρ gradient(x̄) / weight)

    followed by over-relaxation, (x, y, p) + 1.8 ((x⁺, y⁺, p⁺) - (x, y, p)). This converges if τ (σ ||A||² + 8 ρ) <= 1,
    8 being a bound of ||gradient||²; for volumes that is 12. The choice ρ = 8 weight, σ = 1.5 sqrt(weight) / ||A|| was
    found by experiment (blur, weights from 1e-4 to 0.5, images in [0, 1]) and is near the best one in that whole range;
    in iteration k, σ is at least 1.4 / k, which ends after finitely many iterations. If A and z are multiplied by a
    constant c and the weight by c², neither the minimiser nor any iterate x changes. As y = A s - z for an image s, an
    iteration needs only A*A.

    Denoising, A = Id, needs no y: with the proximal map of the data term,

        x⁺ = P_box((x + τ (z - weight gradient*(p))) / (1 + τ)),

    8 τ ρ <= 1 (12 τ ρ <= 1 for volumes) and ρ = 3 sqrt(weight).

    An image is done when its primal-dual gap is below `tolerance` times its objective. It then leaves the batch, and
    its result does not depend on the others.

    Source: Chambolle and Pock 2011, J. Math. Imaging Vis. 40, Algorithm 1 and Theorem 1; over-relaxation: Condat 2013,
    J. Optim. Theory Appl. 158, Theorem 3.3.

    Args:
        operator: A, with its adjoint.
        z: measurements, `[B, ...range]`, float32 or float64.
        weight: weight of TV, positive.
        start: images to start from, `[B, C, H, W]`.
        norm: ||A|| or a little more.
        box: lowest and highest value of a pixel; None for no bounds.
        tolerance: relative gap to reach.
        max_iterations: iterations after which an image is given up.
        check_every: iterations from one look at the gap to the next.

    Raises:
        ConvergenceError: if the iterates become NaN or infinite.
    """
    start = start.clamp(*(box or (-torch.inf, torch.inf)))
    image = operator(start)
    state: Iteration
    if torch.equal(image, start) and _is_identity(operator, start):
        state = _Denoising(z, weight, start, box)
    else:
        state = _Iteration(operator, z, weight, start, box, norm, image - z)
    return minimise(state, tolerance=tolerance, max_iterations=max_iterations, check_every=check_every)


class _Iteration(Iteration):
    """With y = A s - z for an image s, so that A*A is all that an iteration needs of A.

    s is kept as its distance d from where y was last computed: A* y = A*A d + A* y₀ then loses nothing in float32, as
    d is small, while A*A s - A* z would.
    """

    def __init__(
        self,
        operator: LinearOperator,
        z: Tensor,
        weight: float,
        start: Tensor,
        box: Box | None,
        norm: float,
        residual: Tensor,
    ) -> None:
        super().__init__(z, weight, start, box)
        self._operator, self._norm = operator, norm
        self._effective_weight = min(weight, LARGEST_WEIGHT * norm**2)
        self._ones = z.new_ones(len(z))
        self._centre = self.updates.x.clone()
        self._d = torch.zeros_like(self._centre)
        self._pulled_back = operator.adjoint(residual).contiguous()

    def advance(self, iteration: int, *, kept: bool) -> None:
        sigma = max(LATE * self._effective_weight**0.5 / self._norm, EARLY / iteration)
        gradient = self.gradient_norm_squared * GRADIENT_STEP * self._effective_weight
        tau = 0.99 / (sigma * self._norm**2 + gradient)
        ascent = GRADIENT_STEP * self._effective_weight / self.weight
        self.updates.advance(
            self._operator.normal(self._d),
            self.weight,
            tau * self._ones,
            ascent,
            RELAXATION * self._ones,
            constant=self._pulled_back,
            follower=Follower(self._d, self._centre, RELAXATION * sigma / (1 + sigma)),
            kept=kept,
        )

    def look(self, tolerance: float) -> Look:
        self._centre += self._d
        self._d.zero_()
        y = self._operator(self._centre) - self.z
        self._pulled_back = self._operator.adjoint(y).contiguous()
        x = self.updates.x_next
        return self.gap(x, y, self._operator(x) - self.z, self._pulled_back, tolerance)


class _Denoising(Iteration):
    """A = Id: the proximal map of data term and box is P_box((x + τ z) / (1 + τ)), and there is no y to iterate."""

    def __init__(self, z: Tensor, weight: float, start: Tensor, box: Box | None) -> None:
        super().__init__(z, weight, start, box)
        self._ones, self._data = z.new_ones(len(z)), -z
        self._waiting = 0

    def advance(self, iteration: int, *, kept: bool) -> None:
        self._waiting += 1  # nothing comes between the steps: they are made at once, image after image
        if not kept:
            return
        rho = DENOISING_STEP * min(self.weight, LARGEST_WEIGHT) ** 0.5
        tau = 0.99 / (self.gradient_norm_squared * rho)
        self.updates.advance(
            self._data,
            self.weight,
            tau / (1 + tau) * self._ones,
            rho / self.weight,
            RELAXATION * self._ones,
            pull=1.0,
            steps=self._waiting,
            kept=True,
        )
        self._waiting = 0

    def look(self, tolerance: float) -> Look:
        """The gap of P_box(z - weight gradient*(p⁺)), for which only the term of TV is left."""
        p = self.updates.p_next
        x = add_adjoint(self.z, p, -self.weight, out=torch.empty_like(self.z)).clamp_(*self.bounds)
        residual = x - self.z
        return self.gap(x, residual, residual, residual)


def _is_identity(operator: LinearOperator, like: Tensor) -> bool:
    """Whether A x = A* x = x for a random image x, which no other linear operator satisfies (almost surely)."""
    x = torch.randn((1, *like.shape[1:]), generator=generator(0)).to(like)
    return torch.equal(operator(x), x) and torch.equal(operator.adjoint(x), x)


class Identity(LinearOperator):
    """A = Id, which makes [`primal_dual`][invreg_tv.linear.primal_dual] total variation denoising."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y
