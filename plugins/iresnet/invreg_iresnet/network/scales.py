"""Chains whose subnetworks work at several resolutions.

At scale s, a state is `pixel_unshuffle(state, s)`: the numbers of s x s neighbouring pixels (s x s x s of volumes)
become channels of one. That is a permutation, so norms and distances stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from invreg_iresnet.network.residuals import Weights


class StageWeights(NamedTuple):
    """The weights of consecutive subnetworks at one scale.

    Attributes:
        scale: s, of the states `[B, M s s, H / s, W / s]`, or `[B, M s s s, D / s, H / s, W / s]`.
        weights: of the subnetworks.
    """

    scale: int
    weights: Weights


def through(state: Tensor, stages: Sequence[StageWeights], apply: Callable[[Tensor, Weights], Tensor]) -> Tensor:
    """What the stages make of a state, one after the other and each at its scale; from full resolution to full.

    Args:
        state: `[B, M, *spatial]`, with sides that all scales divide.
        stages: in the order in which they are applied.
        apply: one stage, at its scale.
    """
    scale = 1
    for stage in stages:
        state = apply(rescaled(state, scale, stage.scale), stage.weights)
        scale = stage.scale
    return rescaled(state, scale, 1)


def rescaled(state: Tensor, old: int, new: int) -> Tensor:
    """The state at another scale: a permutation of its numbers."""
    if old == new:
        return state
    if state.shape[0] == 0:  # torch leaves the shape of an empty batch as it is
        _, channels, *sides = state.shape
        axes = len(sides)
        return state.new_empty(0, channels * new**axes // old**axes, *(side * old // new for side in sides))
    if state.ndim == 5:
        full = state if old == 1 else _shuffled(state, old)
        return full if new == 1 else _unshuffled(full, new)
    full = state if old == 1 else F.pixel_shuffle(state, old)
    return full if new == 1 else F.pixel_unshuffle(full, new)


def _unshuffled(state: Tensor, scale: int) -> Tensor:
    """`pixel_unshuffle` of volumes."""
    many, channels, *sides = state.shape
    split = state.reshape(many, channels, *(part for side in sides for part in (side // scale, scale)))
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(many, channels * scale**3, *(side // scale for side in sides))


def _shuffled(state: Tensor, scale: int) -> Tensor:
    """`pixel_shuffle` of volumes."""
    many, channels, *sides = state.shape
    split = state.reshape(many, channels // scale**3, scale, scale, scale, *sides)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(many, channels // scale**3, *(side * scale for side in sides))
