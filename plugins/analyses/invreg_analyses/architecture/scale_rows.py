"""Which stages of a network with several scales stand side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from invreg import Architecture, Stage

#: Stages at the coarsest scale, at most, for a drawing as a U.
_MOST_BELOW = 3


class Sides(NamedTuple):
    """A network as a U.

    Attributes:
        rows: from the top: the stages on the left and on the right, None where there is none. The ends of the network
            are the numbers -1 (left) and n (right), stages count from 0.
        below: the stages at the coarsest scale.
    """

    rows: Sequence[tuple[int | None, int | None]]
    below: Sequence[int]


def find_sides(architecture: Architecture) -> Sides | None:
    """The network as a U; None if it has another form.

    A U has one direction, goes down to a coarsest scale and up again, and its skips lead from one side to the other.
    """
    if architecture.inverse or not architecture.skips:
        return None
    number = {"": -1, **{stage.name: index for index, stage in enumerate(architecture.stages)}}
    pairs = sorted((number[skip.source], number[skip.target]) for skip in architecture.skips)
    # Padding before the outermost skip and cropping behind it are no change of scale.
    start, end = max(pairs[0][0], 0), pairs[0][1]
    levels = _levels(architecture.stages[start : end + 1])
    below = [start + place for place, level in enumerate(levels) if level == max(levels)]
    first, last = below[0], below[-1]
    down, up = levels[: first - start + 1], levels[last - start :]
    is_valley = any(levels) and down == sorted(down) and up == sorted(up, reverse=True)
    if not is_valley or len(below) != last - first + 1 or len(below) > _MOST_BELOW:
        return None
    crosses = any(
        left == next_left or right <= next_right for (left, right), (next_left, next_right) in pairwise(pairs)
    )
    if crosses or any(left >= first or right <= last for left, right in pairs):
        return None
    return Sides(_side_by_side(range(-1, first), range(len(architecture.stages), last, -1), pairs), below)


def _levels(stages: Sequence[Stage]) -> list[int]:
    """How often the image has been halved, for each stage; zeros where something is no image."""
    shapes = [stage.shape_out for stage in stages]
    if any(len(shape) != 3 or 0 in shape for shape in shapes):
        return [0] * len(shapes)
    pixels = [shape[1] * shape[2] for shape in shapes]
    return [round(math.log2(max(pixels) / one) / 2) for one in pixels]


def _side_by_side(
    left: Sequence[int], right: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> list[tuple[int | None, int | None]]:
    """Rows from the top, in which the two of each pair meet; the others stand as low as they can."""
    rows: list[tuple[int | None, int | None]] = []
    for source, target in [*pairs, (None, None)]:
        lefts = [one for one in left if source is None or one < source]
        rights = [one for one in right if target is None or one > target]
        height = max(len(lefts), len(rights))
        rows += zip(_lowest(lefts, height), _lowest(rights, height), strict=True)
        if source is not None:
            rows.append((source, target))
        left = [one for one in left if one not in lefts and one != source]
        right = [one for one in right if one not in rights and one != target]
    return rows


def _lowest(items: list[int], height: int) -> list[int | None]:
    return [*[None] * (height - len(items)), *items]
