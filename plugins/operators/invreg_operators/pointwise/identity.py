"""The identity, for denoising."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from invreg import LinearOperator, NormEstimate, Shape
from invreg_operators.shared.batches import check_spatial, check_spatial_batch


class Identity(LinearOperator):
    """F(x) = x, for images `[B, C, H, W]` and volumes `[B, C, D, H, W]`: with noise, the denoising problem."""

    def forward(self, x: Tensor) -> Tensor:
        check_spatial_batch(x, "identity")
        self.range_shape(tuple(x.shape[1:]))
        return x.clone()

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(1) x."""
        return self.forward(x) * function(x.new_ones(()))

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_spatial(domain_shape, "identity")
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int:
        return 0

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """Exactly 1."""
        return NormEstimate(1.0, 0.0)
