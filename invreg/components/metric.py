"""Measures of image quality."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from invreg.schema.component import Component
from invreg.schema.kinds import base_of


@base_of("metric")
class Metric(Component, ABC):
    """A measure of the distance or similarity between reconstructions and true images."""

    #: Whether a larger value is a better one.
    higher_is_better: ClassVar[bool]

    #: The unit of its values, as figures and tables show it; empty for a pure number.
    unit: ClassVar[str] = ""

    @abstractmethod
    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """One value per image, `[B]`, for reconstructions and truths of the same shape `[B, C, H, W]`."""
