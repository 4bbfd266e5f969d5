"""Linear diffusion by the implicit Euler method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, NormEstimate, Shape
from invreg_operators.shared.axes import in_basis, outer_sum
from invreg_operators.shared.batches import check_spatial, check_spatial_batch
from invreg_operators.shared.boundary import DiffusionBoundary


class ImplicitDiffusion(LinearOperator):
    """Linear diffusion, u' = Δu from the image u(0) = x until u(time), by implicit Euler steps:

    A = S_h^steps, S_h = (Id - h Δ)^-1, h = time / steps,

    on every channel, with the five-point Laplacian Δ (in volumes, of seven points) and pixels at distance 1. The system
    is solved exactly (up to rounding), in the cosine basis (Neumann) or the sine basis (Dirichlet), in which Δ is
    diagonal.

    S_h is the case g = 1 of Arndt & Nickel 2024, section 3: linear, self-adjoint and firmly nonexpansive,
    ||S_h x||² + ||x - S_h x||² <= ||x||² (Lemma 3.1), and so are its powers.
    """

    def __init__(
        self,
        time: Annotated[
            float,
            Field(
                description="how long the image diffuses, by default as in perona_malik; a Gaussian blur of standard "
                "deviation s corresponds to s² / 2",
                gt=0,
            ),
        ] = 0.75,
        steps: Annotated[
            int, Field(description="implicit Euler steps; the more, the closer to the heat equation", ge=1, le=100_000)
        ] = 1,
        boundary: DiffusionBoundary = "neumann",
    ) -> None:
        super().__init__()
        self.time, self.steps, self.boundary = time, steps, boundary

    def forward(self, x: Tensor) -> Tensor:
        """A x, for x `[B, C, H, W]` or `[B, C, D, H, W]`."""
        return self._function(x, lambda values: values)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, in the basis of the operator."""
        return self._function(x, lambda values: function(values**2))

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_spatial(domain_shape, "implicit_diffusion")
        return tuple(domain_shape)

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The largest eigenvalue, exactly: 1 for `neumann`, less for `dirichlet`."""
        double, cpu = torch.float64, torch.device("cpu")
        values = [_eigenpairs(n, self.boundary, double, cpu)[1] for n in self.range_shape(domain_shape)[1:]]
        return NormEstimate(float(self._eigenvalues(values).max()), 0.0)

    def extra_repr(self) -> str:
        return f"time={self.time:.4g}, steps={self.steps}, boundary={self.boundary!r}"

    def _function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A) x."""
        check_spatial_batch(x, "implicit_diffusion")
        sides = self.range_shape(tuple(x.shape[1:]))[1:]
        vectors, values = zip(*(_eigenpairs(n, self.boundary, x.dtype, x.device) for n in sides), strict=True)
        return in_basis(x, vectors, function(self._eigenvalues(values)))

    def _eigenvalues(self, values: Sequence[Tensor]) -> Tensor:
        """The eigenvalues of A `[H, W]`, or `[D, H, W]`, from those of the second differences on each axis."""
        return (1 - self.time / self.steps * outer_sum(values)) ** -self.steps


@lru_cache(maxsize=32)
def _eigenpairs(n: int, boundary: str, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The second difference on n pixels: its orthonormal eigenvectors, one in each row, and its eigenvalues."""
    # Not inference tensors, even if first needed in inference mode: gradients pass through them later.
    with torch.inference_mode(False):
        pixels = torch.arange(n, dtype=torch.float64)
        if boundary == "neumann":
            angles = pixels * (math.pi / n)
            vectors = torch.cos(angles[:, None] * (pixels + 0.5))
        else:
            angles = (pixels + 1) * (math.pi / (n + 1))
            vectors = torch.sin(angles[:, None] * (pixels + 1))
        vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors.to(device, dtype), (2 * torch.cos(angles) - 2).to(device, dtype)
