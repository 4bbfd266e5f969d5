"""The Radon transform for fan beams."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from invreg import Shape, SpecError
from invreg_operators.beams.beam_operator import BeamOperator, FirstAngle, ImageSize
from invreg_operators.beams.fan_beams import FanGeometry


class FanBeam(BeamOperator):
    """Integrals of each channel along the rays of a fan, images `[B, C, H, W]` to sinograms `[B, C, angles, bins]`.

    At the angle theta_k = start + k (stop - start) / angles the source is at the point D (-sin theta_k, cos theta_k),
    with D the `source_distance`. Its ray gamma has the direction (sin(theta_k + gamma), -cos(theta_k + gamma)), so that
    far sources give the values of `radon` at the same angles. A bin lies between two rays, and holds the mean over the
    angles between them of the integrals along rays, for an image that is constant on each pixel and zero outside:

        (A x)[k, j] = sum over pixels p of x_p |p in the strip j| / (width of the strip at p).

    Areas are exact. The width is taken in the middle of the row of the pixel, or of its column for rays that are
    flatter than 45 degrees, so that a row that a strip crosses counts with the exact mean length of the rays there;
    errors fall with the square of the pixel's size over its distance from the source. The adjoint is the exact
    transpose. The longer side of the image has length 1. The origin is the centre of the image, x points right and y
    up.

    Nothing is kept but the rays. Mirrored images share what is computed in each call, by compiled loops where a C
    compiler is found; elsewhere torch computes the same, much slower.

    Source: Kak & Slaney 1988, section 3.4; Natterer 2001, section III.3.
    """

    where = "fan_beam"

    def __init__(
        self,
        angles: Annotated[int, Field(ge=1, le=100_000, description="number of source positions")] = 90,
        source_distance: Annotated[
            float,
            Field(
                gt=0.5,
                le=1e6,
                description="distance of the source from the centre of the image, at least two pixels outside of the "
                "circle through the corners",
                json_schema_extra={"unit": "longer sides of the image"},
            ),
        ] = 2.0,
        fan_angle: Annotated[
            float | None,
            Field(
                gt=0,
                le=150,
                description="between the first and the last ray; by default the fan covers the circle through the "
                "corners of the image",
                json_schema_extra={"unit": "degrees"},
            ),
        ] = None,
        detector: Annotated[
            Literal["flat", "curved"],
            Field(description="bins of equal width on a straight detector, or of equal angles"),
        ] = "flat",
        detectors: Annotated[
            int | None,
            Field(
                ge=1,
                description="bins of the fan, needs image_size; by default as many as the diagonal has pixels",
            ),
        ] = None,
        start: FirstAngle = 0.0,
        stop: Annotated[
            float,
            Field(
                description="end of the range of angles, left out, at most start + 360",
                json_schema_extra={"unit": "degrees"},
            ),
        ] = 360.0,
        image_size: ImageSize = None,
    ) -> None:
        super().__init__()
        if not 0 < stop - start <= 360:
            raise SpecError(
                f"angles from {start:g} to {stop:g} degrees",
                where="stop",
                expected="start < stop <= start + 360: beyond a whole turn the rays repeat",
            )
        self._take(angles, detectors, start, stop, image_size)
        self.source_distance, self.fan_angle, self.detector = source_distance, fan_angle, detector
        if image_size is not None:
            self.geometry((1, *image_size))

    def geometry(self, domain_shape: Shape) -> FanGeometry:
        """The geometry of the beams for images of this shape.

        Raises:
            ShapeError: if the operator does not take images of this shape.
            SpecError: if the source is too near to images of this shape, or a bin as wide as a right angle.
        """
        height, width, bins = self._sizes(domain_shape)
        radius, source = math.hypot(height, width) / 2, self.source_distance * max(height, width)
        if source < radius + 2:
            raise SpecError(
                f"a source at {self.source_distance:g} from the centre of images of {height}x{width} pixels",
                where="source_distance",
                expected=f"at least {(radius + 2) / max(height, width):.4g}, two pixels outside of the circle through "
                "the corners",
            )
        fan = self.fan_angle or 2 * math.degrees(math.asin(radius / source))
        found = FanGeometry(
            self.angles, self.start, self.stop, bins, source, fan, self.detector == "flat", height, width
        )
        widest = float(found.rays.diff().max())
        if widest > 45:
            raise SpecError(
                f"bins of {widest:.3g} degrees",
                where="detectors",
                expected="bins of at most 45 degrees",
                hint="more detectors, a smaller fan_angle, or a source that is farther away",
            )
        return found

    def extra_repr(self) -> str:
        fan = "" if self.fan_angle is None else f", fan_angle={self.fan_angle:g}"
        bins = "" if self.detectors is None else f", detectors={self.detectors}"
        place = f"source_distance={self.source_distance:g}{fan}, detector={self.detector!r}"
        return f"angles={self.angles}, {place}, start={self.start:g}, stop={self.stop:g}{bins}"
