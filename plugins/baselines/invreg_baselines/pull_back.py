"""From measurements to images: A* z / ||A||², for a linear operator A."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from invreg import InvregError, LinearOperator, NormalOperator, Operator, Problem, Reconstructor, Shape, SpecError


class PullBack(nn.Module):
    """z -> A* z / ||A||².

    The operator moves along with this module to another device, but it belongs to the problem: neither its buffers
    nor its parameters are part of this module's state.

    Args:
        problem: with the operator A.
        image_shape: (C, H, W), for which ||A|| is computed; images of other sizes are scaled alike.
        where: the component that asks, for messages.

    Raises:
        SpecError: if the operator is not linear.
        InvregError: if it is zero.
    """

    def __init__(self, problem: Problem, image_shape: Shape, where: str) -> None:
        super().__init__()
        # A tuple hides the module from torch.
        self._normal = (NormalOperator(require_linear(problem.operator, where), tuple(image_shape)),)

    def forward(self, z: Tensor) -> Tensor:
        return self._normal[0].pull_back(z)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._normal[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)


def require_linear(operator: Operator, where: str) -> LinearOperator:
    """The operator.

    Raises:
        SpecError: if it is not linear.
    """
    if not isinstance(operator, LinearOperator):
        raise SpecError(
            f"{type(operator).__name__} is not linear: it has no adjoint", where=where, expected="a LinearOperator"
        )
    return operator


def image_input(problem: Problem, image_shape: Shape, where: str, start: Reconstructor | None = None) -> nn.Module:
    """What brings a measurement to where an image-to-image network can start.

    Args:
        problem: with the operator F: X -> Y.
        image_shape: (C, H, W).
        where: the component that asks, for messages.
        start: the method that shall do it, if one was chosen.

    Returns:
        `start`, set up, if there is one; the identity if measurements have the shape of images, else A* z / ||A||².

    Raises:
        SpecError: if the shapes differ and the operator is not linear; or if `start` has weights, or is not for this
            problem.
    """
    shape = tuple(image_shape)
    if start is not None:
        return _started(start, problem, shape, where)
    range_shape = tuple(problem.operator.range_shape(shape))
    if range_shape == shape:
        return nn.Identity()
    if isinstance(problem.operator, LinearOperator):
        return PullBack(problem, shape, where)
    raise SpecError(
        f"{type(problem.operator).__name__} maps images {shape} to measurements {range_shape} and is not linear",
        where=where,
        expected="an operator that keeps the shape of images, or a LinearOperator, whose adjoint leads back to images",
    )


def check_start(start: Reconstructor, operator: Operator, where: str) -> None:
    """Refuses a start that is not for this operator.

    Raises:
        SpecError: with the place of the start.
    """
    try:
        start.check_operator(operator)
    except InvregError as error:
        raise error.at(f"{where}.start") from None


def _started(start: Reconstructor, problem: Problem, image_shape: Shape, where: str) -> Reconstructor:
    try:
        start.setup(problem, image_shape)
    except InvregError as error:
        raise error.at(f"{where}.start") from None
    if any(parameter.requires_grad for parameter in start.parameters()):
        raise SpecError(
            f"{type(start).__name__} has weights, which nothing has trained",
            where=f"{where}.start",
            expected="a method without weights",
            hint="adjoint or fbp",
        )
    return start
