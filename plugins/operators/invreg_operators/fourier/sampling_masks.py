"""Masks of the measured frequencies."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from invreg import generator, stream_key

Pattern = Literal["lines", "random", "radial"]

_GOLDEN_TURN = (math.sqrt(5) - 1) / 2
# More spokes than this many per pixel of the longer side show no further frequency.
_SPOKES_PER_PIXEL = 16


@lru_cache(maxsize=32)
def sampling_mask(
    height: int, width: int, pattern: Pattern, acceleration: float, center_fraction: float, density: float, seed: int
) -> Tensor:
    """The measured frequencies of images of this size, `[height, width]` of bool, frequency zero in the centre.

    Depends on its arguments only. Frequency zero is always measured.
    """
    # Not inference tensors, even if first needed in inference mode: gradients pass through them later.
    with torch.inference_mode(False):
        random = generator(stream_key(seed, "fourier sampling", height, width))
        if pattern == "lines":
            chosen = _chosen(_distance(1, width)[0], acceleration, center_fraction, density, random)
            return chosen.expand(height, width).clone()
        distance = _distance(height, width)
        if pattern == "random":
            return _chosen(distance.flatten(), acceleration, center_fraction, density, random).view(height, width)
        turn = float(torch.rand((), generator=random, dtype=torch.float64))
        return _spokes(
            _center(distance.flatten(), acceleration, center_fraction).view(height, width), acceleration, turn
        )


def _distance(height: int, width: int) -> Tensor:
    """Of each frequency to zero, where the sides of the rectangle of frequencies are at 1; the corners are beyond."""
    rows, columns = (
        (torch.arange(side, dtype=torch.float64) - side // 2) / max(side // 2, 1) for side in (height, width)
    )
    return torch.hypot(rows[:, None], columns)


def _budget(total: int, acceleration: float) -> int:
    return max(round(total / acceleration), 1)


def _center(distance: Tensor, acceleration: float, fraction: float) -> Tensor:
    """The lowest frequencies: this fraction of all, at least frequency zero, at most as many as may be measured."""
    count = min(max(round(fraction * len(distance)), 1), _budget(len(distance), acceleration))
    center = torch.zeros(len(distance), dtype=torch.bool)
    center[torch.argsort(distance, stable=True)[:count]] = True
    return center


def _chosen(distance: Tensor, acceleration: float, fraction: float, density: float, random: torch.Generator) -> Tensor:
    """The centre and a random choice of the others, with weights (1 - r)^density, without replacement."""
    chosen = _center(distance, acceleration, fraction)
    missing = _budget(len(distance), acceleration) - int(chosen.sum())
    # The largest of log(weight) + Gumbel noise are a choice without replacement with these weights. The floor lets the
    # corners in once everything else is taken.
    weight = (1 - distance / (distance.max() + 1e-3)).clamp_min(1e-6)
    uniform = torch.rand(len(distance), generator=random, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    score = density * weight.log() - (-uniform.log()).log()
    score[chosen] = -math.inf
    chosen[torch.argsort(score, descending=True, stable=True)[:missing]] = True
    return chosen


def _spokes(mask: Tensor, acceleration: float, turn: float) -> Tensor:
    """Lines through frequency zero, one golden angle after the other, until enough frequencies are measured."""
    height, width = mask.shape
    budget = _budget(height * width, acceleration)
    reach = math.hypot(height, width) / 2
    along = torch.arange(-reach, reach + 0.5, 0.5, dtype=torch.float64)
    for number in range(_SPOKES_PER_PIXEL * max(height, width)):
        if int(mask.sum()) >= budget:
            break
        angle = math.pi * ((turn + number * _GOLDEN_TURN) % 1)
        rows = (along * math.sin(angle)).round().long() + height // 2
        columns = (along * math.cos(angle)).round().long() + width // 2
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        mask[rows[inside], columns[inside]] = True
    return mask
