"""The Radon transform for parallel beams."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from invreg import FILTER_WINDOWS, FilterWindow, Shape, SpecError
from invreg_operators.beams.beam_operator import BeamOperator, FirstAngle, ImageSize
from invreg_operators.beams.beam_product import back_project
from invreg_operators.beams.parallel_beams import Geometry
from invreg_operators.beams.ramp_filter import ramp_filtered
from invreg_operators.shared.batches import check_batch


class Radon(BeamOperator):
    """Line integrals of each channel along parallel beams, images `[B, C, H, W]` to sinograms `[B, C, angles, bins]`,

        (A x)[k, j] = (1/w) integral over |t - t_j| <= w/2 of integral over x cos(theta_k) + y sin(theta_k) = t,

    for an image that is constant on each pixel and zero outside; the integrals are exact. The longer side of the image
    has length 1 for any number of pixels, so that images in [0, 1] have values in [0, sqrt(2)]. The origin is
    the centre of the image and of the detector, x points right and y up. The angles are

        theta_k = start + k (stop - start) / angles,   k = 0, ..., angles - 1,

    and the bins of width w have the centres t_j = (j - (bins - 1) / 2) w. The adjoint is the exact transpose.

    ||A||² is about the number of angles divided by the number of pixels of a side where a bin is a pixel wide.

    The matrix has about 2.3 entries for each pixel and angle. It is kept, with its transpose, where it takes at most
    40 MiB. Entries of larger ones are computed in each call, once for mirrored images, by compiled loops where a C
    compiler is found; elsewhere by torch, and at most 20 MB are kept.

    Source: Natterer 2001, The Mathematics of Computerized Tomography, chapters II and V; Kak & Slaney 1988, chapter 3.
    """

    where = "radon"

    def __init__(
        self,
        angles: Annotated[int, Field(ge=1, le=100_000, description="number of angles")] = 60,
        detectors: Annotated[
            int | None,
            Field(
                ge=1,
                description="bins, together as long as the diagonal of the image, needs image_size; by default they "
                "are a pixel wide, as many as the diagonal needs",
            ),
        ] = None,
        start: FirstAngle = 0.0,
        stop: Annotated[
            float,
            Field(
                description="end of the range of angles, left out, at most start + 180; less than a half turn is "
                "a limited-angle problem",
                json_schema_extra={"unit": "degrees"},
            ),
        ] = 180.0,
        image_size: ImageSize = None,
    ) -> None:
        super().__init__()
        if not 0 < stop - start <= 180:
            raise SpecError(
                f"angles from {start:g} to {stop:g} degrees",
                where="stop",
                expected="start < stop <= start + 180: beyond a half turn the lines repeat",
            )
        self._take(angles, detectors, start, stop, image_size)

    def filtered_back_projection(self, z: Tensor, window: FilterWindow = "ramp", cutoff: float = 1.0) -> Tensor:
        """The images `[B, C, H, W]` of sinograms z `[B, C, angles, bins]` by filtered back-projection,

            x = Delta theta sum_k q_k(t),   q_k = the row k of z after the ramp filter,

        where q_k is read as a step function and averaged over each pixel: the exact transpose does that. For ranges of
        less than a half turn the directions that were not measured are missing. Nothing is clamped.

        Args:
            z: the sinograms.
            window: damps high frequencies: ramp (not at all), shepp_logan, cosine, hamming, hann.
            cutoff: frequency at which the window ends, relative to the highest that bins of this width resolve.

        Raises:
            ShapeError: if no image has a measurement of this shape.
            SpecError: for another window, or a cutoff outside (0, 1].

        Source: Kak & Slaney 1988, section 3.3; Natterer 2001, section V.1.
        """
        if window not in FILTER_WINDOWS:
            raise SpecError(f"window {window!r}", where="radon", expected=f"one of {', '.join(FILTER_WINDOWS)}")
        if not 0 < cutoff <= 1:
            raise SpecError(f"cutoff {cutoff}", where="radon", expected="a number in (0, 1]")
        check_batch(z, "radon", "sinograms [B, C, angles, bins]")
        geometry = self.geometry(self.domain_shape(tuple(z.shape[1:])))
        filtered = ramp_filtered(z, geometry.bin_width * geometry.pixel, window, cutoff)
        # The transpose sums area / w over the bins of a pixel; times w / (area of a pixel) it is a mean.
        return back_project(filtered, geometry) * (geometry.step * geometry.bin_width / geometry.pixel)

    def geometry(self, domain_shape: Shape) -> Geometry:
        """The geometry of the beams for images of this shape.

        Raises:
            ShapeError: if the operator does not take images of this shape.
        """
        height, width, bins = self._sizes(domain_shape)
        bin_width = math.hypot(height, width) / bins if self.detectors else 1.0
        return Geometry(self.angles, self.start, self.stop, bins, bin_width, height, width)

    def extra_repr(self) -> str:
        bins = "" if self.detectors is None else f", detectors={self.detectors}"
        return f"angles={self.angles}, start={self.start:g}, stop={self.stop:g}{bins}"
