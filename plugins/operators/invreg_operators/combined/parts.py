"""What operators that are made of several operators share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from invreg import LinearOperator, Operator, SpecError, UnknownOperator

Parts = Annotated[list[Operator], Field(min_length=1, description="operators by name, with their parameters")]


class Combined(Operator):
    """An operator made of several; `self.operators` are its parts.

    Args:
        operators: the parts.

    Raises:
        SpecError: if one of them cannot be evaluated.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        for index, operator in enumerate(operators):
            if isinstance(operator, UnknownOperator):
                raise SpecError(
                    f"{type(operator).__name__} cannot be evaluated",
                    where=f"operators.{index}",
                    expected="operators with a formula",
                )
        self.operators = nn.ModuleList(operators)

    @property
    def parts(self) -> list[Operator]:
        """The operators, in their order."""
        return [part for part in self.operators if isinstance(part, Operator)]

    def are_linear(self) -> bool:
        """Whether all parts are linear."""
        return all(isinstance(part, LinearOperator) for part in self.parts)

    def realisation(self, generator: torch.Generator) -> Operator:
        """The same of the realisations of the parts; the operator itself, where no part draws anything."""
        drawn = [part.realisation(generator) for part in self.parts]
        unchanged = all(one is part for one, part in zip(drawn, self.parts, strict=True))
        return self if unchanged else type(self)(drawn)


def linear(part: Operator) -> LinearOperator:
    """A part of a linear operator."""
    assert isinstance(part, LinearOperator)  # noqa: S101 (for mypy: the constructor has looked)
    return part
