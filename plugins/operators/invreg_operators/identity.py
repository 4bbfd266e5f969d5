"""Nothing but noise: denoising."""

from __future__ import annotations

from torch import Tensor

from invreg.operator import LinearOperator, NormEstimate, Shape


class Identity(LinearOperator):
    """F(x) = x, on tensors of any shape: with noise, the denoising problem."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def adjoint(self, y: Tensor) -> Tensor:
        return y.clone()

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """Exactly 1."""
        return NormEstimate(1.0, 0.0)
