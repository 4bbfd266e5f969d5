"""What an iteration does pixel by pixel, in pieces of the batch that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_tv.compiled import address, compiled_step
from invreg_tv.differences import after, before

#: Numbers of x in a piece: the dozen arrays of a step then stay in the cache of one core.
_PIECE = 2**15


class Follower(NamedTuple):
    """What x̄ draws along, d + share (x̄ - centre - d), in place; both contiguous, as x."""

    d: Tensor
    centre: Tensor
    share: float


class Updates:
    """The iterates x and p of the images in a batch, and the pixelwise part of an iteration.

    Apart from the operator, memory bandwidth limits an iteration. Where it is compiled, a step passes once over memory;
    otherwise it allocates nothing, and takes one piece of the batch after the other through all that it does.

    Attributes:
        x: the images, `[B, C, H, W]`.
        p: the dual variable of TV, of the shape of the gradient, `[B, 2, C, H, W]`; zero where that is always zero.
        x_bar: 2 x⁺ - x of the last step, likewise.
        x_next: x⁺ of the last step that kept it, likewise.
        p_next: p⁺ of the last step that kept it, of the shape of p.
    """

    def __init__(self, x: Tensor, p: Tensor, low: float, high: float) -> None:
        # All others are like these two: an operator may give images whose axes lie in another order in memory.
        x, p = x.contiguous(), p.contiguous()
        self.x, self.p, self._low, self._high = x, p, low, high
        self.x_bar, self.x_next, self.p_next = torch.empty_like(x), torch.empty_like(x), torch.empty_like(p)
        self._compiled = compiled_step(x.dtype) if x.device.type == "cpu" and x.dim() == 4 else None
        self._row = x.new_empty(2 * x.shape[-1])
        self._pieces = [] if self._compiled else list(self._cut())

    def _cut(self) -> Iterator[tuple[slice, _Piece]]:
        x, p = self.x, self.p
        size = max(1, len(x)) if x.is_cuda else max(1, _PIECE // max(1, x[:1].numel()))
        w, x_next, p_next = torch.empty_like(x[:size]), torch.empty_like(x[:size]), torch.zeros_like(p[:size])
        for rows in (slice(start, start + size) for start in range(0, len(x), size)):
            yield rows, _Piece(x[rows], p[rows], self.x_bar[rows], w, x_next, p_next)

    def advance(
        self,
        data: Tensor,
        weight: float,
        tau: Tensor,
        ascent: float,
        relaxation: Tensor,
        p_relaxation: Tensor | None = None,
        *,
        constant: Tensor | None = None,
        follower: Follower | None = None,
        pull: float = 0.0,
        steps: int = 1,
        kept: bool = False,
    ) -> None:
        """Steps of the iteration, with data + constant + pull x for the gradient of the data term. Each is

            x⁺ = P_box(x - τ (data + constant + pull x + weight gradient*(p))),    x̄ = 2 x⁺ - x,
            p⁺ = P_{|.| <= 1}(p + ascent gradient(x̄)),

        followed by (x, p) + relaxation ((x⁺, p⁺) - (x, p)), in place.

        Args:
            data: `[B, C, H, W]`.
            weight: weight of TV.
            tau: primal steps, `[B]`.
            ascent: dual step.
            relaxation: over-relaxation, `[B]`.
            p_relaxation: that of p, if it is another one.
            constant: likewise; zero if it is left out.
            follower: what x̄ draws along in each step.
            pull: see above.
            steps: how many.
            kept: whether x⁺ and p⁺ of the last step are asked for afterwards.
        """
        p_relaxation = relaxation if p_relaxation is None else p_relaxation
        if self._compiled:
            data = data.contiguous()
            d, centre, share = follower or (None, None, 0.0)
            results = (self.x_next, self.p_next) if kept else (None, None)
            iterates = self.x, self.p, self.x_bar, *results
            arrays = (data, constant, d, centre, *iterates, self._row, tau, relaxation, p_relaxation)
            numbers = (*self.x.shape, steps, pull, weight, ascent, self._low, self._high, share)
            self._compiled(*map(address, arrays), *numbers)
            return
        data = data if constant is None else data + constant
        column = -1, *[1] * (self.x.dim() - 1)
        tau, relaxation, p_relaxation = (values.view(column) for values in (tau, relaxation, p_relaxation))
        for rows, piece in self._pieces:
            for step in range(1, steps + 1):
                piece.descend(data[rows], pull, weight, tau[rows], self._low, self._high)
                piece.ascend(ascent)
                if kept and step == steps:
                    self.x_next[rows], self.p_next[rows] = piece.x_next, piece.p_next
                piece.relax(relaxation[rows], p_relaxation[rows, None])
                if follower:
                    follower.d[rows].lerp_(self.x_bar[rows], follower.share)
                    follower.d[rows].sub_(follower.centre[rows], alpha=follower.share)

    def select(self, rest: Tensor) -> Updates:
        """The images at the positions `rest`."""
        return Updates(self.x[rest], self.p[rest], self._low, self._high)


class _Piece:
    """Some images of the batch, as views that are cut once: slicing takes as long as adding.

    w, x⁺ and p⁺ are in memory that all pieces share. The last row, column and slice of p⁺, where the gradient is always
    zero, are zeros and stay so.
    """

    def __init__(self, x: Tensor, p: Tensor, x_bar: Tensor, w: Tensor, x_next: Tensor, p_next: Tensor) -> None:
        self._x, self._p, self._x_bar, self._w = x, p, x_bar, w[: len(x)]
        self.x_next, self.p_next = x_next[: len(x)], p_next[: len(x)]
        self._duals, self._duals_next = p.unbind(1), self.p_next.unbind(1)
        axes = list(enumerate(zip(self._duals, self._duals_next, strict=True), start=2))
        self._inflows = [(after(self._w, axis), before(dual, axis)) for axis, (dual, _) in axes]
        self._differences = [
            (before(dual, axis), after(x_bar, axis), before(x_bar, axis), before(dual_next, axis))
            for axis, (dual, dual_next) in axes
        ]

    def descend(self, data: Tensor, pull: float, weight: float, tau: Tensor, low: float, high: float) -> None:
        """x⁺ and x̄."""
        first, *others = self._duals
        torch.sub(data, first, alpha=weight, out=self._w)
        for dual in others:
            self._w.sub_(dual, alpha=weight)
        for here, from_before in self._inflows:
            here.add_(from_before, alpha=weight)
        if pull:
            self._w.add_(self._x, alpha=pull)
        torch.addcmul(self._x, self._w, tau, value=-1, out=self.x_next).clamp_(low, high)
        torch.lerp(self._x, self.x_next, 2.0, out=self._x_bar)

    def ascend(self, step: float) -> None:
        """p⁺."""
        for dual, ahead, here, out in self._differences:
            torch.add(dual, ahead, alpha=step, out=out).sub_(here, alpha=step)
        first, *others = self._duals_next
        shorter = torch.mul(first, first, out=self._w)
        for dual in others:
            shorter.addcmul_(dual, dual)
        shorter.clamp_(min=1).rsqrt_()
        for dual in self._duals_next:
            dual.mul_(shorter)

    def relax(self, relaxation: Tensor, p_relaxation: Tensor) -> None:
        """x and p, towards x⁺ and p⁺."""
        self._x.lerp_(self.x_next, relaxation)
        self._p.lerp_(self.p_next, p_relaxation)
