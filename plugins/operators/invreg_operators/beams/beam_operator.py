"""What the operators that integrate along beams share: shapes, and the choice of bins."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from invreg import LinearOperator, Shape, ShapeError, SpecError
from invreg_operators.beams.beam_product import back_project, project
from invreg_operators.beams.fan_beams import FanGeometry
from invreg_operators.beams.parallel_beams import Geometry
from invreg_operators.shared.batches import check_batch, check_images

_Pixels = Annotated[int, Field(ge=1, le=65_536)]
FirstAngle = Annotated[float, Field(description="first angle", json_schema_extra={"unit": "degrees"})]
ImageSize = Annotated[
    tuple[_Pixels, _Pixels] | None,
    Field(
        description="height and width of the images; by default they are square, of any size, which the "
        "adjoint derives from the number of bins",
        json_schema_extra={"unit": "pixels"},
    ),
]


class BeamOperator(LinearOperator):
    """Integrals of images `[B, C, H, W]` in sinograms `[B, C, angles, bins]`, with the exact transpose as its adjoint.

    By default there are as many bins as the diagonal of the image has pixels, from which the side of a square follows.
    """

    #: The name of the component, for messages.
    where: ClassVar[str]

    def _take(
        self,
        angles: int,
        detectors: int | None,
        start: float,
        stop: float,
        image_size: tuple[int, int] | None,
    ) -> None:
        if detectors is not None and image_size is None:
            raise SpecError(
                f"{detectors} detectors for images of unknown size",
                where="detectors",
                expected="image_size as well: a sinogram alone does not determine how many pixels its image has",
                hint="image_size: [96, 96]",
            )
        self.angles, self.detectors, self.start, self.stop = angles, detectors, start, stop
        self.image_size = image_size

    @abstractmethod
    def geometry(self, domain_shape: Shape) -> Geometry | FanGeometry:
        """The geometry of the beams for images of this shape.

        Raises:
            ShapeError: if the operator does not take images of this shape.
        """

    def forward(self, x: Tensor) -> Tensor:
        """A x `[B, C, angles, bins]`, for x `[B, C, H, W]`."""
        check_batch(x, self.where)
        return project(x, self.geometry(tuple(x.shape[1:])))

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y `[B, C, H, W]`, for y `[B, C, angles, bins]`.

        Raises:
            ShapeError: if no image has a measurement of this shape.
        """
        check_batch(y, self.where, "sinograms [B, C, angles, bins]")
        return back_project(y, self.geometry(self.domain_shape(tuple(y.shape[1:]))))

    def range_shape(self, domain_shape: Shape) -> Shape:
        geometry = self.geometry(domain_shape)
        return domain_shape[0], geometry.angles, geometry.detectors

    def domain_shape(self, range_shape: Shape) -> Shape:
        """Shape of the image whose sinogram has this shape.

        Raises:
            ShapeError: if there is none.
        """
        if len(range_shape) == 3:
            # The diagonal of a square determines its side: bins - 1 < sqrt(2) side <= bins.
            side = math.isqrt(range_shape[2] ** 2 // 2)
            size = self.image_size or (side, side)
            shape = (range_shape[0], *size)
            if min(size) >= 1 and self.range_shape(shape) == tuple(range_shape):
                return shape
        if self.image_size is not None:
            _, angles, bins = self.range_shape((1, *self.image_size))
            expected = f"(channels, {angles}, {bins}), for images of {self.image_size[0]}x{self.image_size[1]} pixels"
        else:
            expected = f"(channels, {self.angles}, the whole number from the diagonal of a square image on)"
        raise ShapeError(f"sinograms of shape {tuple(range_shape)}", where=self.where, expected=expected)

    def _sizes(self, domain_shape: Shape) -> tuple[int, int, int]:
        """Height and width of images of this shape, and the number of bins.

        Raises:
            ShapeError: if the operator does not take images of this shape.
        """
        check_images(domain_shape, self.where)
        height, width = domain_shape[1:]
        if self.image_size is None and height != width:
            raise ShapeError(
                f"images of {height}x{width} pixels",
                where=self.where,
                expected="square images, unless image_size is given",
                hint=f"image_size: [{height}, {width}]",
            )
        if self.image_size not in (None, (height, width)):
            assert self.image_size is not None  # noqa: S101 (for mypy: the line above says so)
            raise ShapeError(
                f"images of {height}x{width} pixels",
                where=self.where,
                expected=f"{self.image_size[0]}x{self.image_size[1]}, the image_size of the operator",
                hint=f"data of that size, for training, too, where crops count; or image_size: [{height}, {width}]",
            )
        return height, width, self.detectors or math.isqrt(height**2 + width**2 - 1) + 1
