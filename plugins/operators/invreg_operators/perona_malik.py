"""Perona-Malik diffusion, the nonlinear operator of the paper."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from invreg.errors import SpecError
from invreg.operator import Linearization, Operator, Shape
from invreg_operators.batches import check_batch, check_images
from invreg_operators.stencils import Edge, Forward, HalfPoint, Stencil

_STENCILS: dict[str, type[Stencil]] = {"forward": Forward, "edge": Edge, "half_point": HalfPoint}

#: Both stages of Heun's method at one step: the stencils at u and at w = u + h f(u).
_Stages = tuple[Stencil, Stencil]


class PeronaMalik(Operator):
    """Perona-Malik diffusion of every channel: `steps` steps of Heun's method for

    u' = f(u) = div(g(|∇u|) ∇u), u(0) = x, g(s) = 1 / (1 + s² / contrast²),

    where w = u + h f(u), then u <- u + h / 2 (f(u) + f(w)), with h = `step_size` and pixels at distance 1. It smooths
    where the image changes little and keeps (even sharpens) edges whose height exceeds the contrast.

    For h <= 1/4 no value leaves the range of the image (Neumann; with Dirichlet: the range joined with 0): then
    u + h f(u) takes weighted means of neighbouring pixels, and Heun's step is the mean of u and two such steps.

    `jvp` and `vjp` are written by hand. With J = f'(u) and K = f'(w), the derivative of a step is
    v + h / 2 (J v + K (v + h J v)) and its adjoint v + h / 2 (t + J* (v + h t)), t = K* v.

    The defaults, and the choice between two boundary conditions, are those of Arndt & Nickel 2024, section 3,
    equation (3.1), and section 4; the stencil is open there.

    Args:
        contrast: height of the differences that count as edges, on the scale of the images, > 0.
        steps: steps of Heun's method.
        step_size: length h of a step, below 0.3.
        stencil: where g is evaluated: `forward`, at the pixel, from its forward differences (neither symmetric under
            flips nor rotations); `edge`, between two pixels, from their difference; `half_point`, between two pixels,
            from all differences nearby.
        boundary: `neumann`, no flux across the edge (the mean of an image is kept), or `dirichlet`, zero in a frame
            of pixels around the image.

    Raises:
        SpecError: if a parameter is out of its range.
    """

    def __init__(
        self,
        contrast: Annotated[float, Field(description="height of the differences that count as edges", gt=0)] = 0.1,
        steps: Annotated[int, Field(description="steps of Heun's method", ge=1)] = 5,
        step_size: Annotated[float, Field(description="length of a step, < 0.3", gt=0)] = 0.15,
        stencil: Annotated[
            Literal["forward", "edge", "half_point"], Field(description="where the conductivity is evaluated")
        ] = "forward",
        boundary: Annotated[
            Literal["neumann", "dirichlet"], Field(description="no flux across the edge, or zero around the image")
        ] = "neumann",
    ) -> None:
        super().__init__()
        if not (0 < contrast < math.inf):
            raise SpecError(f"contrast {contrast}", where="perona_malik.contrast", expected="a positive number")
        if steps < 1:
            raise SpecError(f"steps {steps}", where="perona_malik.steps", expected="a positive number")
        if not (0 < step_size < 0.3):
            raise SpecError(
                f"step_size {step_size}",
                where="perona_malik.step_size",
                expected="a positive number below 0.3: larger explicit steps overshoot and create oscillations",
                hint="at most 0.25, where no value leaves the range of the image; more steps for more diffusion",
            )
        if stencil not in _STENCILS:
            raise SpecError(
                f"stencil {stencil!r}", where="perona_malik.stencil", expected=f"one of {', '.join(_STENCILS)}"
            )
        if boundary not in ("neumann", "dirichlet"):
            raise SpecError(f"boundary {boundary!r}", where="perona_malik.boundary", expected="neumann or dirichlet")
        self.contrast, self.steps, self.step_size = contrast, steps, step_size
        self.stencil, self.boundary = stencil, boundary

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]` of any size."""
        u, h = self._checked(x), self.step_size
        for _ in range(self.steps):
            k = self._interior(self._at(u).value())
            u = u.add(k.add_(self._interior(self._at(u.add(k, alpha=h)).value())), alpha=h / 2)
        return self._crop(u)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return self._push(self._stages(x), h)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self._pull(list(self._stages(x)), v)

    def linearize(self, x: Tensor) -> Linearization:
        """The derivative F'(x), which keeps all intermediate images and so applies fast many times."""
        return DiffusionDerivative(self, x)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "perona_malik")
        return tuple(domain_shape)
