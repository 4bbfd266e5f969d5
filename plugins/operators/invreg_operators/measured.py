"""The operator of measurements whose formula is not known."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import Shape, UnknownOperator


class Measured(UnknownOperator):
    """An unknown operator F, of which nothing but measured pairs is known: F(x) cannot be computed.

    For data that bring their measurements along, such as measured_pairs. Methods that learn from pairs work with it,
    and invertible networks learn F. Methods and analyses that evaluate F are refused.
    """

    def __init__(
        self,
        shape: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...] | None,
            Field(min_length=1, description="of one measurement, as in [1, 180, 95]; none: that of the images"),
        ] = None,
    ) -> None:
        super().__init__()
        self.shape = shape

    def range_shape(self, domain_shape: Shape) -> Shape:
        return tuple(domain_shape) if self.shape is None else tuple(self.shape)
