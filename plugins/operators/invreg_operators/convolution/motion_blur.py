"""Blur by motion along a straight line, with a length that is known, or known roughly."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field

from invreg import Shape, SpecError
from invreg_operators.convolution.filters import radii
from invreg_operators.convolution.kernel_operator import KernelOperator
from invreg_operators.shared.boundary import BoundaryRule, check_size

#: The shortest path, in pixels.
_SHORTEST = 0.1

_Length = Annotated[
    float, Field(description="length of the path", ge=_SHORTEST, le=1024, json_schema_extra={"unit": "pixels"})
]
_Angle = Annotated[
    float,
    Field(
        description="direction of the path, counter-clockwise from a row; 90 is along a column",
        ge=-360,
        le=360,
        json_schema_extra={"unit": "degrees"},
    ),
]

#: Shares of the path that are smaller are rounding errors at the edge of a pixel.
_ROUNDING = 1e-9


class MotionBlur(KernelOperator):
    """The mean of every channel over a straight path of the camera, centred at each pixel:

    (A x)[i, j] = sum over a, b of k[a, b] x[i - a, j - b],   k[a, b] = |path in the pixel (a, b)| / length,

    for a path through the centre of the pixel (0, 0), `length` pixels long, in the direction (cos(angle), sin(angle)),
    where the first axis points right and the second one up. Images are constant on each pixel and keep their size;
    the weights are exact, and their sum is 1. k is symmetric about its centre, so that a path and the opposite one
    blur alike. [`invreg_operators.shared.boundary`][] defines how an image continues beyond its edges. The adjoint is
    exact for every rule.
    """

    where = "motion_blur"

    def __init__(self, length: _Length = 9.0, angle: _Angle = 0.0, boundary: BoundaryRule = "symmetric") -> None:
        super().__init__()
        self.length, self.angle, self.boundary = length, angle, boundary

    def kernel(self) -> list[list[float]]:
        """k, rows from the top to the bottom."""
        return [list(row) for row in _path(self.length, self.angle)]

    def rows(self) -> list[list[float]]:
        return self.kernel()

    def extra_repr(self) -> str:
        return f"length={self.length:g}, angle={self.angle:g}, boundary={self.boundary!r}"


class UncertainMotionBlur(MotionBlur):
    """Blur by a motion whose length is known roughly: each image is measured with a path of its own,

        z_n = A(L_n) x_n + noise,   L_n uniform in [length - deviation, length + deviation], rounded to 1/16,

    with A(L) the blur of [`MotionBlur`][invreg_operators.convolution.motion_blur.MotionBlur].

    L_n belongs to what is random in a measurement, beside the noise: it follows from the same key (`realisation`), so
    that it is the same for every method, batch size and device.

    As an operator this is A(length). `forward`, `adjoint`, the norm and what methods and analyses compute with them
    are those of the nominal length, as the length of a measurement is not known to them. The difference
    (A(L_n) - A(length)) x_n is a part of z that no noise model describes: residuals are larger than the noise.
    """

    where = "uncertain_motion_blur"

    def __init__(
        self,
        length: _Length = 9.0,
        deviation: Annotated[
            float,
            Field(
                description="largest distance of a length to the nominal one; at most length - 0.1",
                ge=0,
                json_schema_extra={"unit": "pixels"},
            ),
        ] = 3.0,
        angle: _Angle = 0.0,
        boundary: BoundaryRule = "symmetric",
    ) -> None:
        super().__init__(length, angle, boundary)
        if deviation > length - _SHORTEST:
            raise SpecError(
                f"lengths from {length - deviation:g} to {length + deviation:g}",
                where="deviation",
                expected=f"at most {length - _SHORTEST:g}, for this length: paths have at least {_SHORTEST:g} pixels",
            )
        self.deviation = deviation

    def realisation(self, generator: torch.Generator) -> MotionBlur:
        """The blur of one measurement, with its length drawn."""
        uniform = float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))
        # Sixteenths of a pixel: more are not seen, and the kernels of so many lengths are kept.
        drawn = round(16 * (self.length + (2 * uniform - 1) * self.deviation)) / 16
        shortest, longest = max(self.length - self.deviation, _SHORTEST), self.length + self.deviation
        return MotionBlur(min(max(drawn, shortest), longest), self.angle, self.boundary)

    def range_shape(self, domain_shape: Shape) -> Shape:
        longest = _path(self.length + self.deviation, self.angle)
        check_size(domain_shape, radii(longest), self.boundary, self.where)
        return tuple(domain_shape)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, deviation={self.deviation:g}"


@lru_cache(maxsize=64)
def _path(length: float, angle: float) -> tuple[tuple[float, ...], ...]:
    """k, with as many rows and columns as the path reaches."""
    right, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def inside(pixel: int, speed: float) -> tuple[float, float]:
        """Where on the path, from -1/2 to 1/2 times its length, one coordinate is that of a row or column."""
        if abs(speed) * length / 2 < _ROUNDING:
            return (-length / 2, length / 2) if pixel == 0 else (0.0, 0.0)
        ends = sorted(((pixel - 0.5) / speed, (pixel + 0.5) / speed))
        return max(ends[0], -length / 2), min(ends[1], length / 2)

    def reach(speed: float) -> int:
        return max(math.ceil(abs(speed) * length / 2 - 0.5 - _ROUNDING), 0)

    rows = [inside(-a, up) for a in range(-reach(up), reach(up) + 1)]
    columns = [inside(b, right) for b in range(-reach(right), reach(right) + 1)]
    lengths = [[min(row[1], column[1]) - max(row[0], column[0]) for column in columns] for row in rows]
    kept = [[part if part > _ROUNDING * length else 0.0 for part in row] for row in lengths]
    total = math.fsum(part for row in kept for part in row)
    return tuple(tuple(part / total for part in row) for row in kept)
