"""Norms of operators and of their derivatives, from which the step sizes follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg import Operator, Problem, Shape, SpecError, generator

#: What Lanczos iteration finds is a lower bound: the steps are made for a little more.
_MARGIN = 1.01


def norm_bound(problem: Problem, image_shape: Shape) -> float:
    """||A|| on images of this shape, with a margin of 1 %.

    Should the operator be changed after `setup`, its norm is out of date; that cannot pass unnoticed, as every result
    is checked by its gap.

    Raises:
        SpecError: if the operator is zero, or its norm not finite.
    """
    norm = _MARGIN * problem.norm(image_shape).value
    if not 0 < norm < math.inf:
        raise SpecError(
            f"{type(problem.operator).__name__} has the norm {norm} on images {image_shape}",
            where="tv",
            expected="an operator with a finite norm that is not zero",
        )
    return norm


def derivative_norm(operator: Operator, x: Tensor, iterations: int = 10) -> Tensor:
    """Estimates of ||F'(x)|| from below, `[B]`, by power iteration from the same start for each image."""
    start = torch.randn(x.shape[1:], generator=generator(0)).to(x)
    v, norm = start.expand_as(x), x.new_zeros(len(x))
    derivative = operator.linearize(x)
    for _ in range(iterations):
        v = v / lengths(v).clamp(min=torch.finfo(x.dtype).tiny).view(-1, *[1] * (v.dim() - 1))
        image = derivative(v)
        norm = lengths(image)
        v = derivative.adjoint(image)
    return norm


def lengths(v: Tensor) -> Tensor:
    """The Euclidean norm of each item of a batch, `[B]`."""
    return v.flatten(1).norm(dim=1)
