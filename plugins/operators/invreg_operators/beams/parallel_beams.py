"""Parallel beams through an image of square pixels, and the symmetries by which few of them stand for all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """The geometry of the beams: angles in degrees, detector bins, and the size of the image.

    Lengths are in longer sides of the image. The origin lies in the centre of the image and of the detector, x points
    right and y up. Beam position t at the angle theta is the line x cos(theta) + y sin(theta) = t.

    Attributes:
        angles: number of angles, evenly spaced from `start` on; `stop` would be the next one.
        start: the first angle.
        stop: the end of the range.
        detectors: number of bins.
        bin_width: of a bin, in pixels.
        height: pixels of a column of the image.
        width: pixels of a row.
    """

    angles: int
    start: float
    stop: float
    detectors: int
    bin_width: float
    height: int
    width: int

    @property
    def step(self) -> float:
        """Between two angles, in radians."""
        return math.radians(self.stop - self.start) / self.angles

    @property
    def pixel(self) -> float:
        """Side of a pixel, in longer sides of the image."""
        return 1 / max(self.height, self.width)


class Mirroring(NamedTuple):
    """A symmetry of the square: the image with left and right exchanged (`across`), then with x and y (`diagonal`)."""

    across: bool
    diagonal: bool


def mirrored(images: Tensor, mirroring: Mirroring) -> Tensor:
    """Images `[H, W, ...]` under a symmetry."""
    images = images.flip(1) if mirroring.across else images
    return images.transpose(0, 1).flip(0, 1) if mirroring.diagonal else images


def mirrored_back(images: Tensor, mirroring: Mirroring) -> Tensor:
    """The inverse of `mirrored`."""
    images = images.transpose(0, 1).flip(0, 1) if mirroring.diagonal else images
    return images.flip(1) if mirroring.across else images


class View(NamedTuple):
    """An angle of the geometry: what the beams of a `Part` measure in a mirrored image.

    Attributes:
        angle: its number in the part.
        image: the number of the mirrored image.
        reversed: whether the bins are in reverse order.
    """

    angle: int
    image: int
    reversed: bool


@dataclass(frozen=True)
class Part:
    """Angles from 0 to 45 degrees which, with mirrored images, stand for some angles of the geometry.

    Attributes:
        angles: in radians.
        images: the mirrored images of which these angles are measured, all of the same shape.
        views: the angles of the geometry by their numbers.
        height: pixels of a column of the mirrored images.
        width: pixels of a row.
    """

    angles: tuple[float, ...]
    images: tuple[Mirroring, ...]
    views: dict[int, View]
    height: int
    width: int


def parts(geometry: Geometry) -> list[Part]:
    """The parts of the geometry: one, with four mirrored images, where the image is square and the angles are
    symmetric, as they are by default."""
    found: dict[tuple[float, bool], dict[Mirroring, tuple[int, bool]]] = {}
    exact: dict[tuple[float, bool], float] = {}
    for number in range(geometry.angles):
        half_turns, angle = divmod(geometry.start + number * (geometry.stop - geometry.start) / geometry.angles, 180)
        across = angle > 90
        angle = 180 - angle if across else angle
        diagonal = angle > 45
        angle = 90 - angle if diagonal else angle
        # Images that are not square have another shape when x and y are exchanged.
        key = round(angle, 9), diagonal and geometry.height != geometry.width
        exact.setdefault(key, math.radians(angle))
        found.setdefault(key, {})[Mirroring(across, diagonal)] = number, half_turns % 2 == 1
    alike: dict[tuple[Mirroring, ...], list[tuple[float, bool]]] = {}
    for key in sorted(found, key=lambda key: (-len(found[key]), key)):
        images = next((images for images in alike if set(found[key]) <= set(images)), tuple(sorted(found[key])))
        alike.setdefault(images, []).append(key)
    return [_part(geometry, images, sorted(keys), found, exact) for images, keys in alike.items()]


def _part(
    geometry: Geometry,
    images: tuple[Mirroring, ...],
    keys: list[tuple[float, bool]],
    found: dict[tuple[float, bool], dict[Mirroring, tuple[int, bool]]],
    exact: dict[tuple[float, bool], float],
) -> Part:
    views = {
        number: View(angle, images.index(mirroring), turned)
        for angle, key in enumerate(keys)
        for mirroring, (number, turned) in found[key].items()
    }
    size = geometry.height, geometry.width
    height, width = size[::-1] if images[0].diagonal else size
    return Part(tuple(exact[key] for key in keys), images, views, height, width)
