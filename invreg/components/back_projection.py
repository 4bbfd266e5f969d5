"""Filtered back-projection: what operators of tomography may offer, and its filter."""

from __future__ import annotations

from typing import Literal, Protocol, get_args, runtime_checkable

from torch import Tensor

FilterWindow = Literal["ramp", "shepp_logan", "cosine", "hamming", "hann"]
"""A window by which the ramp filter is damped at high frequencies; `ramp` is the filter alone."""

FILTER_WINDOWS: tuple[FilterWindow, ...] = get_args(FilterWindow)
"""All windows."""


@runtime_checkable
class HasFilteredBackProjection(Protocol):
    """A linear operator whose measurements filtered back-projection turns into images."""

    def filtered_back_projection(self, z: Tensor, window: FilterWindow, cutoff: float) -> Tensor:
        """Images `[B, C, H, W]` of the measurements z `[B, ...range]`, linear in z.

        Args:
            z: measurements.
            window: how frequencies below the cutoff are damped.
            cutoff: the share of the highest frequency from which on nothing passes, in (0, 1].
        """
        ...
