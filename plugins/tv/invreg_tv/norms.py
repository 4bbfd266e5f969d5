"""Norms of operators and of their derivatives, from which the step sizes follow."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from invreg import LinearOperator, Operator, Shape, SpecError, generator

#: What Lanczos iteration finds is a lower bound: the steps are made for a little more.
_MARGIN = 1.01

# A search sets up one reconstructor after the other for the same operator. Should an operator be changed afterwards,
# its norm here is out of date; that cannot pass unnoticed, as every result is checked by its gap.
_known: WeakKeyDictionary[LinearOperator, dict[Shape, float]] = WeakKeyDictionary()


def norm_bound(operator: LinearOperator, image_shape: Shape) -> float:
    """||A|| on images of this shape, with a margin of 1 %; computed once for an operator and a shape.

    Raises:
        SpecError: if the operator is zero, or its norm not finite.
    """
    norms = _known.setdefault(operator, {})
    if image_shape not in norms:
        norm = _MARGIN * operator.norm(image_shape).value
        if not 0 < norm < math.inf:
            raise SpecError(
                f"{type(operator).__name__} has the norm {norm} on images {image_shape}",
                where="tv",
                expected="an operator with a finite norm that is not zero",
            )
        norms[image_shape] = norm
    return norms[image_shape]


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
