"""From measurements to images: A* z / ||A||², for a linear operator A."""

from __future__ import annotations

from invreg import InvregError, LinearOperator, Operator, Problem, Reconstructor, Shape, SpecError


def needs_pull_back(problem: Problem, image_shape: Shape, where: str) -> bool:
    """Whether measurements have another shape than images, so that A* z / ||A||² takes their place.

    Args:
        problem: with the operator F: X -> Y.
        image_shape: (C, H, W).
        where: the place, for messages.

    Raises:
        SpecError: if the shapes differ and the operator is not linear.
    """
    range_shape = tuple(problem.operator.range_shape(image_shape))
    if range_shape == image_shape:
        return False
    if isinstance(problem.operator, LinearOperator):
        return True
    raise SpecError(
        f"{type(problem.operator).__name__} maps images {image_shape} to measurements {range_shape} and is not linear",
        where=where,
        expected="an operator that keeps the shape of images, or a LinearOperator, whose adjoint leads back to images",
    )


def check_start(start: Reconstructor, operator: Operator, name: str) -> None:
    """Refuses a start that has weights, or is not for this operator.

    Args:
        start: the method.
        operator: the operator.
        name: the parameter that it is the value of.

    Raises:
        SpecError: with the place of the start.
    """
    if start.needs_training:
        raise _has_weights(start)
    try:
        start.check_operator(operator)
    except InvregError as error:
        raise error.at(name, of=start) from None


def set_up_start(start: Reconstructor, problem: Problem, image_shape: Shape, name: str) -> Reconstructor:
    """The start, set up.

    Args:
        start: the method.
        problem: the problem.
        image_shape: (C, H, W).
        name: the parameter that it is the value of.

    Raises:
        SpecError: if it has weights, or is not for this problem.
    """
    try:
        start.setup(problem, image_shape)
    except InvregError as error:
        raise error.at(name, of=start) from None
    if any(parameter.requires_grad for parameter in start.parameters()):
        raise _has_weights(start)
    return start


def _has_weights(start: Reconstructor) -> SpecError:
    return SpecError(
        f"{type(start).__name__} has weights, which nothing has trained",
        where="start",
        expected="a method without weights",
        hint="adjoint or fbp",
    )
