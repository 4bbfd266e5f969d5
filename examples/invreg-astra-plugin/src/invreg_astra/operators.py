"""Parallel beams through an image, by the projectors of ASTRA on the CPU."""

from __future__ import annotations

import math
import weakref
from typing import Annotated, Any, Literal

import astra
import numpy as np
from pydantic import Field
from torch import Tensor

import invreg
from invreg.interop import operator_from_scipy


class AstraParallelBeam(invreg.LinearOperator):
    """Line integrals of an image along parallel beams, `[B, C, angles, detectors]`, in units of a pixel.

    The image lies centred on the axis of rotation, and its pixels are squares of side 1; angles are evenly spaced in
    [0, 180) degrees. The adjoint is ASTRA's back-projection. With the projectors of the CPU, both use the same matrix,
    in float32: `invreg.testing.check_operator` and each run compare them. Each channel is projected alone.

    Source: van Aarle et al. 2016, Optics Express 24, 25129.
    """

    def __init__(
        self,
        angles: Annotated[int, Field(ge=1, description="number of directions")] = 90,
        detectors: Annotated[
            int | None, Field(ge=1, description="number of detector pixels; none: as the diagonal of the image needs")
        ] = None,
        spacing: Annotated[
            float, Field(gt=0, description="width of a detector pixel", json_schema_extra={"unit": "pixels"})
        ] = 1.0,
        projector: Annotated[
            Literal["line", "strip", "linear"],
            Field(
                description="line: lengths of rays in pixels; strip: areas of beams in pixels; linear: interpolation "
                "between the two nearest pixels"
            ),
        ] = "strip",
    ) -> None:
        super().__init__()
        self.angles, self.detectors, self.spacing, self.projector = angles, detectors, spacing, projector
        self._projectors: dict[tuple[int, int], _Projector] = {}

    def forward(self, x: Tensor) -> Tensor:
        planes = self._plane(x.shape[-2], x.shape[-1])(x.flatten(0, 1)[:, None])
        return planes.view(*x.shape[:2], *planes.shape[-2:])

    def adjoint(self, y: Tensor) -> Tensor:
        _, height, width = self.domain_shape(tuple(y.shape[1:]))
        planes = self._plane(height, width).adjoint(y.flatten(0, 1)[:, None])
        return planes.view(*y.shape[:2], height, width)

    def range_shape(self, domain_shape: invreg.Shape) -> invreg.Shape:
        if len(domain_shape) != 3:
            raise invreg.ShapeError(f"images of shape {domain_shape}", where="astra_parallel", expected="(C, H, W)")
        self._plane(*domain_shape[1:])
        return domain_shape[0], self.angles, self._detectors(*domain_shape[1:])

    def domain_shape(self, range_shape: invreg.Shape) -> invreg.Shape:
        sizes = [size for size in self._projectors if self.range_shape((1, *size))[1:] == tuple(range_shape[1:])]
        if len(sizes) != 1:
            raise invreg.ShapeError(
                f"measurements of shape {range_shape} belong to {len(sizes)} of the image sizes that were projected",
                where="astra_parallel",
                expected="images of one size, projected before",
            )
        return range_shape[0], *sizes[0]

    def _detectors(self, height: int, width: int) -> int:
        return self.detectors or math.ceil(math.hypot(height, width) / self.spacing)

    def _plane(self, height: int, width: int) -> invreg.LinearOperator:
        """The operator on images of one channel."""
        if (height, width) not in self._projectors:
            detectors = self._detectors(height, width)
            angles = np.linspace(0, np.pi, self.angles, endpoint=False)
            geometry = astra.create_proj_geom("parallel", self.spacing, detectors, angles)
            volume = astra.create_vol_geom(height, width)
            self._projectors[height, width] = _Projector(
                astra.create_projector(self.projector, geometry, volume),
                (1, height, width),
                (1, self.angles, detectors),
            )
        return self._projectors[height, width].operator


class _Projector:
    """A projector of ASTRA, which forgets it together with this object; copies share it."""

    def __init__(self, number: int, domain: invreg.Shape, measured: invreg.Shape) -> None:
        self.operator = operator_from_scipy(astra.OpTomo(number), domain, measured)
        weakref.finalize(self, astra.projector.delete, number)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Projector:
        return self
