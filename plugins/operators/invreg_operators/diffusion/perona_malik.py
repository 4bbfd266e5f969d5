"""Perona-Malik diffusion, the nonlinear operator of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from invreg import Linearization, Operator, Shape
from invreg_operators.diffusion.stencils import Edge, Forward, HalfPoint, Stencil
from invreg_operators.shared.batches import check_batch, check_direction, check_images
from invreg_operators.shared.boundary import DiffusionBoundary

_STENCILS: dict[str, type[Stencil]] = {"forward": Forward, "edge": Edge, "half_point": HalfPoint}

#: One step of Heun's method: the stencils at u and at w = u + h f(u).
Stages = tuple[Stencil, Stencil]


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
    """

    def __init__(
        self,
        contrast: Annotated[
            float,
            Field(
                description="height of the differences that count as edges",
                gt=0,
                json_schema_extra={"unit": "the grey scale"},
            ),
        ] = 0.1,
        steps: Annotated[int, Field(description="steps of Heun's method", ge=1, le=100_000)] = 5,
        step_size: Annotated[
            float,
            Field(
                description="length h of a step; up to 0.25 no value leaves the range of the image, larger steps "
                "overshoot and create oscillations: take more steps for more diffusion",
                gt=0,
                lt=0.3,
            ),
        ] = 0.15,
        stencil: Annotated[
            Literal["forward", "edge", "half_point"],
            Field(
                description="where the conductivity g is evaluated; forward: at the pixel, from its forward "
                "differences, neither symmetric under flips nor rotations; edge: between two pixels, from their "
                "difference; half_point: between two pixels, from all differences nearby"
            ),
        ] = "forward",
        boundary: DiffusionBoundary = "neumann",
    ) -> None:
        super().__init__()
        self.contrast, self.steps, self.step_size = contrast, steps, step_size
        self.stencil, self.boundary = stencil, boundary

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]` of any size."""
        check_batch(x, "perona_malik")
        self.range_shape(tuple(x.shape[1:]))
        u, h = x, self.step_size
        for _ in range(self.steps):
            k = self._crop(self._at(u).value())
            w = u.add(k, alpha=h)
            u = u.add(k + self._crop(self._at(w).value()), alpha=h / 2)
        return u

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return self.push(self.stages(x), _same_shape(x, h))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.pull(list(self.stages(x)), _same_shape(x, v))

    def linearize(self, x: Tensor) -> Linearization:
        """The derivative F'(x); it keeps the stencils at x, and so applies faster than `jvp` and `vjp`."""
        return DiffusionDerivative(self, x)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "perona_malik")
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int:
        """f sees one pixel in each direction with every stencil; a step applies it twice."""
        return 2 * self.steps

    def extra_repr(self) -> str:
        return (
            f"contrast={self.contrast}, steps={self.steps}, step_size={self.step_size}, "
            f"stencil={self.stencil!r}, boundary={self.boundary!r}"
        )

    def stages(self, x: Tensor) -> Iterator[Stages]:
        """The stencils at both stages of every step, in the order of the steps: all that the derivative needs."""
        check_batch(x, "perona_malik")
        self.range_shape(tuple(x.shape[1:]))
        u, h = x, self.step_size
        for step in range(self.steps):
            first = self._at(u)
            k = self._crop(first.value())
            second = self._at(u.add(k, alpha=h))
            yield first, second
            if step < self.steps - 1:
                u = u.add(k + self._crop(second.value()), alpha=h / 2)

    def push(self, stages: Iterable[Stages], v: Tensor) -> Tensor:
        """F'(x) v, from the stages at x."""
        h = self.step_size
        for first, second in stages:
            t = self._crop(first.jvp(self._frame(v)))
            v = v.add(t + self._crop(second.jvp(self._frame(v.add(t, alpha=h)))), alpha=h / 2)
        return v

    def pull(self, stages: Sequence[Stages], v: Tensor) -> Tensor:
        """F'(x)* v, from the stages at x."""
        h = self.step_size
        for first, second in reversed(stages):
            t = self._crop(second.vjp(self._frame(v)))
            v = v.add(t + self._crop(first.vjp(self._frame(v.add(t, alpha=h)))), alpha=h / 2)
        return v

    def _at(self, u: Tensor) -> Stencil:
        return _STENCILS[self.stencil](self._frame(u), 1 / self.contrast**2)

    def _frame(self, u: Tensor) -> Tensor:
        """Dirichlet: the image in a frame of zeros. Beyond it all is zero, where no flux is as good as any."""
        return pad(u, (1, 1, 1, 1)) if self.boundary == "dirichlet" else u

    def _crop(self, u: Tensor) -> Tensor:
        """The adjoint of `_frame`: the frame does not change with time."""
        return u[..., 1:-1, 1:-1] if self.boundary == "dirichlet" else u


class DiffusionDerivative(Linearization):
    """The derivative of Perona-Malik diffusion at one point, with the stencils there kept in memory.

    Args:
        operator: the diffusion.
        x: the point(s), `[B, C, H, W]`.
    """

    def __init__(self, operator: PeronaMalik, x: Tensor) -> None:
        super().__init__(operator, x)
        self._diffusion = operator
        self._stages = list(operator.stages(x))

    def forward(self, x: Tensor) -> Tensor:
        return self._diffusion.push(self._stages, _same_shape(self.x, x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._diffusion.pull(self._stages, _same_shape(self.x, y))


def _same_shape(x: Tensor, direction: Tensor) -> Tensor:
    check_direction(x, direction, "perona_malik")
    return direction
