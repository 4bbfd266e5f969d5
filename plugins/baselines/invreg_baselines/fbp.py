"""Filtered back-projection, the classical reconstruction of tomography."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field
from torch import Tensor

from invreg import (
    FilterWindow,
    HasFilteredBackProjection,
    LinearOperator,
    Operator,
    PullBack,
    SpecError,
    UnknownOperator,
    search_choices,
    search_range,
)


class FilteredBackProjection(PullBack):
    """Filtered back-projection, for operators that offer it (`radon`): sinograms are filtered with a ramp, which undoes
    the blur of the back-projection, and projected back.

    The ramp amplifies high frequencies, and noise with them. A window damps them; both its form and its cutoff can be
    searched for on the validation images. The result is neither clamped nor otherwise brought to the range of images.

    Source: Kak & Slaney 1988, Principles of Computerized Tomographic Imaging, section 3.3; Natterer 2001, The
    Mathematics of Computerized Tomography, section V.1.
    """

    def __init__(
        self,
        window: Annotated[
            FilterWindow,
            Field(
                description="damping of high frequencies; ramp: none below the cutoff",
                json_schema_extra=search_choices(get_args(FilterWindow)),
            ),
        ] = "ramp",
        cutoff: Annotated[
            float,
            Field(
                gt=0,
                le=1,
                description="frequency from which on nothing passes, relative to the highest that the detector "
                "resolves; the window is stretched to end there",
                json_schema_extra=search_range(0.2, 1),
            ),
        ] = 1.0,
    ) -> None:
        super().__init__()
        self.window, self.cutoff = window, cutoff

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that offer no filtered back-projection."""
        self._able(operator)
        super().check_operator(operator)

    @property
    def formula(self) -> str:
        return "fbp(z)"

    def forward(self, z: Tensor) -> Tensor:
        """The images `[B, C, H, W]`.

        Raises:
            InvregError: before `setup`.
            ShapeError: if z is not made of measurements of the operator.
        """
        return self._able(self.problem.operator).filtered_back_projection(z, self.window, self.cutoff)

    def extra_repr(self) -> str:
        return f"window={self.window!r}, cutoff={self.cutoff:.4g}"

    def _able(self, operator: Operator) -> HasFilteredBackProjection:
        if not isinstance(operator, HasFilteredBackProjection):
            raise SpecError(
                f"{type(operator).__name__} has no filtered back-projection",
                where=type(self).__name__,
                expected="an operator with the method filtered_back_projection, such as radon",
                hint=_instead(operator),
            )
        return operator


def _instead(operator: Operator) -> str:
    if isinstance(operator, LinearOperator):
        return "adjoint, which every linear operator has"
    if isinstance(operator, UnknownOperator):
        return "a network that is trained on the measured pairs"
    return "tv, which takes operators that are not linear"
