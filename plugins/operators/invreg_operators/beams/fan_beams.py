"""Fan beams through an image of square pixels: the geometry, and the lines between their bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import torch
from torch import Tensor

from invreg_operators.beams.lines import Lines, position

#: A mirrored image: with left and right exchanged or not, then turned clockwise so many times by a right angle.
_Mirroring = tuple[bool, int]
#: Rays up to this angle to the columns, in degrees, are followed from row to row, the others from column to column.
_STEEP = 45.0


@dataclass(frozen=True)
class FanGeometry:
    """The geometry of the beams: source positions, detector bins, and the size of the image.

    Lengths are in pixels, angles in degrees. The origin lies in the centre of the image, x points right and y up. At
    the angle theta the source is at D (-sin(theta), cos(theta)), and its ray gamma has the direction
    (sin(theta + gamma), -cos(theta + gamma)).

    Attributes:
        angles: number of source positions, evenly spaced from `start` on; `stop` would be the next one.
        start: the first angle.
        stop: the end of the range.
        detectors: number of bins.
        source: D, the distance of the source from the origin.
        fan: the angle from the first ray to the last one.
        flat: whether the bins have equal widths on a straight detector; else they have equal angles.
        height: pixels of a column of the image.
        width: pixels of a row.
    """

    angles: int
    start: float
    stop: float
    detectors: int
    source: float
    fan: float
    flat: bool
    height: int
    width: int

    @property
    def rays(self) -> Tensor:
        """The angles gamma between the bins, in degrees, `[detectors + 1]`."""
        even = torch.linspace(-1, 1, self.detectors + 1, dtype=torch.float64)
        return (even * math.tan(math.radians(self.fan / 2))).atan().rad2deg() if self.flat else even * self.fan / 2


@dataclass(frozen=True)
class _Bins:
    """Consecutive bins, seen in a mirrored image in which their rays point down, at most about 45 degrees to a side.

    Attributes:
        angle: of the source in the mirrored image.
        first: bin.
        last: bin (left out).
        transposed: whether the mirrored image has the height and the width of the image exchanged.
    """

    angle: float
    first: int
    last: int
    transposed: bool


@lru_cache(maxsize=16)
def fan_lines(geometry: FanGeometry) -> list[Lines]:
    """The lines between the bins. The mirrored images of a square share those of an eighth of evenly spaced angles."""
    found: dict[_Bins, dict[_Mirroring, list[int]]] = {}
    for number in range(geometry.angles):
        angle = geometry.start + number * (geometry.stop - geometry.start) / geometry.angles
        turns = round(angle / 90)
        rest = round(angle - 90 * turns, 9)
        mirrored = rest < 0
        start, stride = number * geometry.detectors, 1
        if mirrored:
            rest, turns, start, stride = -rest, -turns, start + geometry.detectors - 1, -1
        for first, last, further in _sectors(rest, geometry):
            bins = _Bins(rest - 90 * further, first, last, (turns + further) % 2 == 1 and not _is_square(geometry))
            lane = mirrored, (turns + further) % 4
            found.setdefault(bins, {})[lane] = [start + stride * first, stride, last - first]
    # Images that are needed together are computed together.
    alike: dict[tuple[_Mirroring, ...], list[_Bins]] = {}
    for bins in sorted(found, key=lambda bins: -len(found[bins])):
        needed = set(found[bins])
        images = next((images for images in alike if needed <= set(images)), tuple(sorted(needed)))
        alike.setdefault(images, []).append(bins)
    with torch.inference_mode(False):
        return [_lines(geometry, images, some, found) for images, some in alike.items()]


def _is_square(geometry: FanGeometry) -> bool:
    return geometry.height == geometry.width


def _sectors(angle: float, geometry: FanGeometry) -> list[tuple[int, int, int]]:
    """The bins, from the first to the last, and by how many right angles an image is turned for them to point down.

    Where a bin has rays on both sides of a diagonal it stands alone: lines that are steep cross at most two pixels.
    """
    rays = (angle + geometry.rays).tolist()
    kinds = []
    for left, right in pairwise(rays):
        further = round((left + right) / 180)
        kinds.append((further, max(abs(left - 90 * further), abs(right - 90 * further)) > _STEEP + 1e-9))
    sectors, first = [], 0
    for (further, _), bins in groupby(kinds):
        last = first + len(list(bins))
        sectors.append((first, last, further))
        first = last
    return sectors


def _lines(
    geometry: FanGeometry,
    images: tuple[_Mirroring, ...],
    some: list[_Bins],
    found: dict[_Bins, dict[_Mirroring, list[int]]],
) -> Lines:
    height, width = geometry.height, geometry.width
    numbers = torch.arange(height * width).view(height, width, 1)
    height, width = (width, height) if some[0].transposed else (height, width)
    table, distances = [], []
    lines: list[tuple[Tensor, Tensor, Tensor]] = []
    for bins in some:
        theta = math.radians(bins.angle)
        x, y = -geometry.source * math.sin(theta) + width / 2, geometry.source * math.cos(theta) - height / 2
        rays = (geometry.rays[bins.first : bins.last + 1] + bins.angle).deg2rad()
        slopes = rays.tan()
        places = x + y * slopes
        # Rays begin at the source, which is above the image or beside it.
        top = max(0, math.ceil(-y))
        left, right = places + slopes.clamp(max=0), places + slopes.clamp(min=0)
        meets = max(float((right[1:] + i * slopes[1:] - left[:-1] - i * slopes[:-1]).max()) for i in (top, height - 1))
        crosses = math.ceil(float(slopes.abs().max()) - 1e-9) + 1
        first = sum(len(each[0]) for each in lines)
        # What is a whole number is rounded either way.
        cells = max(math.floor(meets + 1e-9) + 2, 3)
        table.append([first, bins.last - bins.first, cells, max(crosses, 2), min(top, height), height])
        distances.append(y + 0.5)
        # Rays of a bin cross a row over this length, on the mean; their strip has the width distance * (difference).
        scales = slopes.asinh().diff() / (rays.diff() * slopes.diff()) / max(height, width)
        lines.append((places, slopes, torch.cat([scales, scales[-1:]])))
    views = torch.tensor([[found[bins].get(image, [0, 1, 0]) for image in images] for bins in some])
    turned = [torch.rot90(numbers.flip(1) if across else numbers, -turns) for across, turns in images]
    places, slopes, scales = (torch.cat(parts) for parts in zip(*lines, strict=True))
    return Lines(
        height,
        width,
        torch.tensor([position(image) for image in turned]),
        torch.tensor(table),
        views,
        torch.tensor(distances, dtype=torch.float64),
        places,
        slopes,
        scales,
    )
