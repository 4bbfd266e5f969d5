"""Parallel beams through an image, by the projectors of ASTRA on the CPU."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import astra
import numpy as np
from pydantic import Field
from torch import Tensor

import invreg
from invreg.interop import operator_from_scipy

Projector = Literal["line", "strip", "linear"]


class AstraParallelBeam(invreg.LinearOperator):
    """Line integrals of a square image along parallel beams, `[B, C, angles, detectors]`, in units of a pixel.

    The image lies centred on the axis of rotation, and its pixels are squares of side 1, as wide as those of the
    detector, which is as long as the diagonal of the image; angles are evenly spaced in [0, 180) degrees. Products are
    those with the sparse matrix that ASTRA gives for its projector, so that the adjoint is its transpose, in any
    precision. (ASTRA's own projection and back-projection are the same products in float32.) Each channel is projected
    alone.

    Source: van Aarle et al. 2016, Optics Express 24, 25129.
    """

    def __init__(
        self,
        angles: Annotated[int, Field(ge=1, description="number of directions")] = 90,
        projector: Annotated[
            Projector,
            Field(
                description="line: lengths of rays in pixels; strip: areas of beams in pixels; linear: interpolation "
                "between the two nearest pixels"
            ),
        ] = "strip",
    ) -> None:
        super().__init__()
        self.angles, self.projector = angles, projector
        self._planes: dict[int, invreg.LinearOperator] = {}

    def forward(self, x: Tensor) -> Tensor:
        measured = self.range_shape(tuple(x.shape[1:]))
        return self._plane(x.shape[-1])(x.reshape(-1, 1, *x.shape[2:])).view(len(x), *measured)

    def adjoint(self, y: Tensor) -> Tensor:
        shape = self.domain_shape(tuple(y.shape[1:]))
        return self._plane(shape[-1]).adjoint(y.reshape(-1, 1, *y.shape[2:])).view(len(y), *shape)

    def range_shape(self, domain_shape: invreg.Shape) -> invreg.Shape:
        if len(domain_shape) != 3 or domain_shape[1] != domain_shape[2] or min(domain_shape) < 1:
            raise invreg.ShapeError(
                f"images of shape {domain_shape}", where="astra_parallel", expected="square images (C, N, N)"
            )
        return domain_shape[0], self.angles, math.ceil(domain_shape[1] * math.sqrt(2))

    def domain_shape(self, range_shape: invreg.Shape) -> invreg.Shape:
        side = int(range_shape[-1] / math.sqrt(2))
        if len(range_shape) != 3 or side < 1 or self.range_shape((range_shape[0], side, side)) != tuple(range_shape):
            raise invreg.ShapeError(
                f"measurements of shape {range_shape}",
                where="astra_parallel",
                expected=f"(C, {self.angles}, N √2 rounded up), for images (C, N, N)",
            )
        return range_shape[0], side, side

    def _plane(self, side: int) -> invreg.LinearOperator:
        """The operator on images of one channel."""
        if side not in self._planes:
            measured = self.range_shape((1, side, side))
            matrix = projection_matrix(side, self.angles, measured[-1], self.projector)
            self._planes[side] = operator_from_scipy(matrix, (1, side, side), measured)
        return self._planes[side]


def projection_matrix(side: int, angles: int, detectors: int, projector: Projector) -> Any:
    """ASTRA's sparse matrix, angles * detectors x side², in float32; rows and columns of it are row-major."""
    number = make_projector(side, angles, detectors, projector)
    try:
        matrix = astra.projector.matrix(number)
        try:
            return astra.matrix.get(matrix)
        finally:
            astra.matrix.delete(matrix)
    finally:
        astra.projector.delete(number)


def make_projector(side: int, angles: int, detectors: int, projector: Projector) -> int:
    """A projector of ASTRA, by the number that it goes by there; whoever makes it deletes it."""
    geometry = astra.create_proj_geom("parallel", 1.0, detectors, np.linspace(0, np.pi, angles, endpoint=False))
    number: int = astra.create_projector(projector, geometry, astra.create_vol_geom(side, side))
    return number
