"""What the TV algorithms return and share: the gap, and a batch that images leave as soon as they are done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invreg import ConvergenceError
from invreg_tv.compiled import address, compiled_gap
from invreg_tv.differences import add_adjoint, gradient, magnitude

#: Lowest and highest value that a reconstruction may have.
Box = tuple[float, float]


@dataclass(frozen=True)
class TVSolution:
    """Minimisers of ½||F(x) - z||² + weight TV(x), with their primal-dual gaps.

    Attributes:
        x: the images, `[B, C, H, W]`.
        data_dual: the dual variable of the data term, `[B, ...range]`; F(x) - z at a minimiser.
        tv_dual: the dual variable of TV divided by the weight, `[B, 2, C, H, W]` (`[B, 3, C, D, H, W]` for volumes),
            vectors of length at most 1.
        gap: the primal-dual gap of each image, `[B]`: the objective at x exceeds its minimum by no more (for a
            nonlinear F: the minimum of the problem linearised at x). See
            [`primal_dual_gap`][invreg_tv.solution.primal_dual_gap].
        objective: the objective at x, `[B]`.
        iterations: the iterations that each image took, `[B]`.
        converged: whether gap <= tolerance * objective was reached (or the objective is only rounding), `[B]`.
    """

    x: Tensor
    data_dual: Tensor
    tv_dual: Tensor
    gap: Tensor
    objective: Tensor
    iterations: Tensor
    converged: Tensor

    @property
    def relative_gap(self) -> Tensor:
        """gap / objective, `[B]`; 0 where both are 0."""
        return torch.where(self.gap > 0, self.gap / self.objective, 0.0)


def primal_dual_gap(
    x: Tensor, y: Tensor, p: Tensor, residual: Tensor, pulled_back: Tensor, weight: float, box: Box | None
) -> tuple[Tensor, Tensor]:
    """Gap and objective of each image, `[B]` each.

    With r = A x - z and w = A* y + weight gradient*(p), the difference of the primal and the dual objective is

        ½||r - y||² + weight Σ (|gradient x| - <gradient x, p>) + Σ max over v in the box of w (x - v).

    Each of the three terms is nonnegative, pixel by pixel, so nothing cancels in float32. The last one is finite
    thanks to the box. Without a box, v runs through the range of x widened by its own width (at least 1) on both
    sides: the gap is then a bound against all competitors in that range.

    Source: Chambolle and Pock 2011, section 2; the form above is Fenchel-Young's inequality, term by term.

    Args:
        x: images.
        y: dual variable of the data term.
        p: dual variable of TV, vectors of length at most 1.
        residual: A x - z (for a nonlinear F: F(x) - z).
        pulled_back: A* y (for a nonlinear F: F'(x)* y).
        weight: weight of TV.
        box: lowest and highest value of a pixel; None for no bounds.
    """
    low, high = _range(x) if box is None else x.new_tensor(box)[:, None].expand(2, len(x))
    compiled = compiled_gap(x.dtype) if x.device.type == "cpu" and x.dim() == 4 else None
    if compiled:
        arrays = [values.contiguous() for values in (x, p, pulled_back, low, high)]
        scratch, sums = x.new_empty(3 * x.shape[-1], dtype=torch.float64), x.new_empty(len(x), 3, dtype=torch.float64)
        compiled(*map(address, [*arrays, scratch, sums]), *x.shape, weight)
        variation, tv_term, box_term = sums.to(x.dtype).unbind(1)
    else:
        difference = gradient(x)
        length = magnitude(difference)
        variation, tv_term = _sum(length), _sum(length - (difference * p).sum(1))
        w = add_adjoint(pulled_back, p, weight, out=torch.empty_like(x))
        low, high = (values.view(-1, *[1] * (x.dim() - 1)) for values in (low, high))
        box_term = _sum(w.clamp(min=0) * (x - low) - w.clamp(max=0) * (high - x))
    gap = _half_square(residual - y) + weight * tv_term.clamp_(min=0) + box_term
    return gap, _half_square(residual) + weight * variation


def has_converged(gap: Tensor, objective: Tensor, tolerance: float, z: Tensor, weight: float, pixels: int) -> Tensor:
    """Whether gap <= tolerance * objective, or the objective is nothing but rounding, `[B]`.

    The second case is that of constant images and the like, which the operator reproduces: the minimum is 0, and
    no gap is small against that.

    Args:
        gap: the primal-dual gaps.
        objective: the objectives.
        tolerance: the relative gap to reach.
        z: the measurements.
        weight: weight of TV.
        pixels: numbers in one image.

    Raises:
        ConvergenceError: if a gap is NaN or infinite.
    """
    if not bool(torch.isfinite(gap).all()):
        raise ConvergenceError(
            "the iterates are no longer finite",
            where="tv",
            expected="an operator whose values and adjoint are finite",
            hint="look at the operator with invreg.testing.check_operator",
        )
    rounding = torch.finfo(z.dtype).eps * (_sum(z.square()) + weight * pixels)
    return (gap <= tolerance * objective) | (objective <= rounding)


class Batch:
    """The images of a batch that are still worked on, and the results of the others."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.active = torch.arange(size, device=device)
        self._size = size
        self._results: dict[str, Tensor] = {}

    def settle(self, done: Tensor, **results: Tensor) -> Tensor:
        """Keeps the results of the active images that are `done`; returns the positions of those that go on.

        Args:
            done: booleans, one per active image.
            **results: fields of [`TVSolution`][invreg_tv.solution.TVSolution], one row per active image.
        """
        for name, values in results.items():
            if name not in self._results:
                self._results[name] = values.new_zeros((self._size, *values.shape[1:]))
            self._results[name][self.active[done]] = values[done]
        going_on = (~done).nonzero().squeeze(1)
        self.active = self.active[going_on]
        return going_on

    def solution(self) -> TVSolution:
        """The results of all images."""
        return TVSolution(**self._results)


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _half_square(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values.flatten(1), dim=1).square() / 2


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    low, high = x.flatten(1).aminmax(dim=1)
    width = (high - low).clamp_(min=1)
    return low - width, high + width
