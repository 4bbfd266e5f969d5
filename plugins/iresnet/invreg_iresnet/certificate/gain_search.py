"""The search for the scalings T_j that make the gain of several steps small: see `certificate.chain_condition`.

A search proves nothing: what it finds is a candidate, which is then proven. For given T_j, the smallest gamma with
P(w) >= 0 is found by eliminating s_N, ..., s_1 in turn. What is left of the output's norm is a quadratic form of the
state before the step, e* R_{j-1} e, with R_N = C'C and

    R_{j-1} = R_j + M* Q^{-1} M,   M = T K^ + W' R_j,   Q = 2T - W' R_j W - (T K^ W + its adjoint, if implicit),

where Q must be positive definite (a discrete Riccati recursion, at each frequency). Then gamma = lambda_max(B' R_0 B),
and the largest of these over all frequencies is to be small. It is smoothed, (1/p) log sum lambda^p, and minimised over
the logarithms of T_j by L-BFGS, for increasing p, on a coarse grid of frequencies that is joined by the worst ones of a
fine grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_iresnet.certificate.chain_condition import Ends, Steps
from invreg_iresnet.certificate.symbol_grid import grid_phases, symbols_at
from invreg_iresnet.network.precision import each_in_one_thread


class _Search(NamedTuple):
    """How thorough a search is.

    Attributes:
        coarse_density: grid points per axis for each half kernel width, by the number of axes.
        fine_density: likewise.
        stages: exponents p of the smoothed maximum, with the largest numbers of iterations. What is smoothed away is a
            few per cent at first, and less than one at last.
        dtype: of the matrices.
        each_channel: whether every number of T_j is searched, or one factor for each step.
    """

    coarse_density: Mapping[int, int]
    fine_density: Mapping[int, int]
    stages: Sequence[tuple[int, int]]
    dtype: torch.dtype
    each_channel: bool = True


_SMALL = _Search({2: 6, 3: 4}, {2: 24, 3: 10}, ((8, 40), (40, 40), (200, 40)), torch.complex128)
# Where one frequency takes more than so many operations, up to a factor.
_LARGE = _Search({2: 3, 3: 3}, {2: 8, 3: 5}, ((8, 25), (40, 25)), torch.complex64)
_MANY_OPERATIONS = 100_000
# Where an iteration takes seconds. The T_j of single subnetworks have the right shape already, but not the right size.
_LARGEST = _Search({2: 2, 3: 2}, {2: 4, 3: 3}, ((40, 8),), torch.complex64, each_channel=False)
_MOST_OPERATIONS = 2_500_000
_JOINING = 24
# How often a stage is done again, from a point in between, if it has led to where some frequency has no gamma.
_RETRIES = 4
_SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)
_HUGE = 1e300

_MEMORY = 20
_DECREASE = 1e-4
_SHORTENING = 0.4
_SHORTEST = 1e-8
_FLAT = 1e-12
# Stops a stage after so many iterations that together gain less than this part of the gain.
_PATIENCE, _LITTLE = 6, 2e-3

# Numbers that a matrix Q has for all frequencies that are looked at in one go, by one thread.
_CHUNK = 1 << 17


class Candidate(NamedTuple):
    """What was found.

    Attributes:
        scalings: the diagonals of T_j.
        squared_gain: the largest gamma over a fine grid of frequencies.
    """

    scalings: list[Tensor]
    squared_gain: float


class Worst(NamedTuple):
    """What steps amplify most, at each frequency.

    Attributes:
        squared_gain: the largest gamma.
        weights: `[w]`.
        entry: e_0 for a of length 1, `[w, M]`.
        inputs: s_j, `[N, w, H]`.
    """

    squared_gain: float
    weights: Tensor
    entry: Tensor
    inputs: Tensor


def smallest_gain(steps: Steps, ends: Ends, start: Sequence[Tensor], finely: bool = False) -> Candidate | None:
    """T_j for which gamma is small, as far as a grid of frequencies shows. Deterministic.

    Args:
        steps: the steps.
        ends: where they begin and end.
        start: the diagonals of T_j to start from, positive.
        finely: looks at a finer grid than a network of this size gets otherwise, unless it is very large.

    Returns:
        None if `start` has no finite gamma.
    """
    search = _search_for(steps, finely)
    half, axes = max(1, steps.kernels[0].shape[-1] // 2), steps.kernels[0].ndim - 2
    fine = _Grid(steps, ends, search.fine_density[axes] * half, search.dtype)
    gains = _Grid(steps, ends, search.coarse_density[axes] * half, search.dtype).gains()
    x = torch.cat([one.log() for one in start])
    best, smallest = x, float(fine.values(x).max())
    if not math.isfinite(smallest):
        return None
    sizes = torch.tensor([len(one) for one in start], device="cpu")
    for exponent, iterations in search.stages:
        for _ in range(_RETRIES):
            function = partial(gains.smoothed, exponent=exponent)
            found = (
                minimised(function, x, iterations)
                if search.each_channel
                else x + minimised(_of_factors(function, x, sizes), x.new_zeros(len(start)), iterations)[_steps(sizes)]
            )
            values = fine.values(found)
            worst = values.argsort(descending=True, stable=True)[:_JOINING]
            more = fine.gains(worst[values[worst] >= min(0.9 * float(values.max()), _HUGE)])
            gains = gains.joined_by(more)
            feasible = math.isfinite(float(values.max()))
            # Between the points of the coarse grid, there may be no gamma; somewhere on the way from `best`, there is.
            x = found if feasible else _retracted(fine, best, found)
            largest = float((values if feasible else fine.values(x)).max())
            if largest < smallest:
                best, smallest = x, largest
            if feasible:
                break
    return Candidate(list(best.exp().split([len(one) for one in start])), smallest)


def _search_for(steps: Steps, finely: bool) -> _Search:
    operations = _operations(steps)
    if operations > _MOST_OPERATIONS:
        return _LARGEST
    large = _LARGE._replace(fine_density=_SMALL.fine_density) if finely else _LARGE
    return large if operations > _MANY_OPERATIONS else _SMALL


def is_searched_more_finely(steps: Steps) -> bool:
    """Whether `finely` makes a difference for these steps."""
    return _search_for(steps, finely=True) != _search_for(steps, finely=False)


_Function = Callable[[Tensor], tuple[float, Tensor]]


def _of_factors(function: _Function, x: Tensor, sizes: Tensor) -> _Function:
    """The function of T_j as one of a factor for each of them, of which there are logarithms as well."""
    which = _steps(sizes)

    def value(logarithms: Tensor) -> tuple[float, Tensor]:
        found, gradient = function(x + logarithms[which])
        return found, torch.zeros_like(logarithms).index_add(0, which, gradient)

    return value


def _steps(sizes: Tensor) -> Tensor:
    """For each number of all T_j, the number of its step."""
    return torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), sizes)


def _operations(steps: Steps) -> int:
    """About how many multiplications gamma takes at a frequency, up to a factor."""
    return sum(len(mixing) * mixing.shape[1] ** 2 for mixing in steps.mixings)


def _chunk(steps: Steps) -> int:
    return max(1, _CHUNK // max(1, max(mixing.shape[1] for mixing in steps.mixings)) ** 2)


class _Grid:
    """A grid of frequencies.

    Args:
        steps: the steps.
        ends: where they begin and end.
        points: of the grid, per axis.
        dtype: of the symbols, complex.
    """

    def __init__(self, steps: Steps, ends: Ends, points: int, dtype: torch.dtype) -> None:
        self._steps, self._ends, self._dtype = steps, ends, dtype
        kernel = steps.kernels[0]
        self._phases = grid_phases(kernel.shape[-1], points, kernel.ndim - 2)

    def gains(self, which: Tensor | None = None) -> Gains:
        """gamma at some of the frequencies, or at all."""
        phases = self._phases if which is None else self._phases[which]
        symbols = [symbols_at(kernel, phases).to(self._dtype) for kernel in self._steps.kernels]
        return Gains(self._steps, self._ends, symbols)

    def values(self, x: Tensor) -> Tensor:
        """The largest gamma at each frequency, infinite where there is none."""
        places = torch.arange(len(self._phases), device="cpu").split(_chunk(self._steps))
        return torch.cat(each_in_one_thread(lambda some: self.gains(some).values(x), places))


class Gains:
    """gamma at given frequencies, as a function of the logarithms of all T_j.

    Args:
        steps: the steps.
        ends: where they begin and end.
        symbols: K_j^(w), `[w, H_j, M]` for each step.
    """

    def __init__(self, steps: Steps, ends: Ends, symbols: Sequence[Tensor]) -> None:
        self._steps, self._ends, self._symbols = steps, ends, symbols
        self._mixings = [mixing.to(symbols[0].dtype) for mixing in steps.mixings]

    def joined_by(self, others: Gains) -> Gains:
        """With the frequencies of others."""
        pairs = zip(self._symbols, others._symbols, strict=True)
        return Gains(self._steps, self._ends, [torch.cat(pair) for pair in pairs])

    def values(self, x: Tensor) -> Tensor:
        """The largest gamma at each frequency, infinite where there is none."""
        reduced, _, failed = self._eliminated(x, self._symbols)
        reduced[failed] = 0
        return torch.linalg.eigvalsh(reduced)[:, -1].double().masked_fill(failed, math.inf)

    def smoothed(self, x: Tensor, exponent: int) -> tuple[float, Tensor]:
        """(1/p) log sum lambda^p, and its gradient; infinite where no gamma exists."""
        size = _chunk(self._steps)
        chunks = list(zip(*(one.split(size) for one in self._symbols), strict=True))
        parts = each_in_one_thread(lambda chunk: self._logarithm(x, chunk, exponent), chunks)
        logarithms = torch.tensor([logarithm for logarithm, _ in parts], dtype=torch.float64, device="cpu")
        if not torch.isfinite(logarithms).all():
            return math.inf, torch.zeros_like(x)
        shares = torch.softmax(logarithms, 0).tolist()
        gradient = sum((share * one for share, (_, one) in zip(shares, parts, strict=True)), torch.zeros_like(x))
        return float(torch.logsumexp(logarithms, 0)) / exponent, gradient

    def _logarithm(self, x: Tensor, symbols: Sequence[Tensor], exponent: int) -> tuple[float, Tensor]:
        """log sum lambda^p of some frequencies, and 1/p times its gradient.

        The eigenvalue is the largest value of output plus constraints over s, so its derivative with respect to T_j is
        that of the constraint, 2 <s_j, K_j e> - 2 <s_j, s_j>, at the s that attains it.
        """
        reduced, feedbacks, failed = self._eliminated(x, symbols)
        if failed.any():
            return math.inf, torch.zeros_like(x)
        eigenvalues, vectors = torch.linalg.eigh(reduced)
        eigenvalues = eigenvalues.double().clamp_min(1e-300)
        logarithms = exponent * eigenvalues.log()
        total = torch.logsumexp(logarithms.flatten(), 0)
        shares = (logarithms - total).exp() / eigenvalues
        state = self._ends.entry.to(vectors) @ vectors
        slopes = []
        for symbol, mixing, feedback in zip(symbols, self._mixings, feedbacks, strict=True):
            s = feedback @ state
            after = state + mixing @ s
            hidden = symbol @ (after if self._steps.implicit else state)
            slopes.append(2 * ((s.conj() * (hidden - s)).real * shares[:, None]).sum((0, 2)))
            state = after
        # The chain rule for logarithms.
        return float(total), torch.cat(slopes) * x.exp()

    def worst(self, x: Tensor, exponent: int) -> Worst | None:
        """What attains the largest gamma of each frequency; None if there is none at one of them.

        Its `weights` are those of the frequencies in the derivative of log sum gamma^p.
        """
        reduced, feedbacks, failed = self._eliminated(x, self._symbols)
        if failed.any():
            return None
        eigenvalues, vectors = torch.linalg.eigh(reduced)
        gains = eigenvalues[:, -1].clamp_min(1e-300)
        entry = state = self._ends.entry.to(vectors) @ vectors[..., -1:]
        inputs = []
        for mixing, feedback in zip(self._mixings, feedbacks, strict=True):
            inputs.append(feedback @ state)
            state = state + mixing @ inputs[-1]
        weights = torch.softmax(exponent * gains.log(), 0) / gains
        return Worst(float(gains.max()), weights, entry[..., 0], torch.stack([s[..., 0] for s in inputs]))

    def _eliminated(self, x: Tensor, symbols: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
        """B' R_0 B at each frequency, the matrices Q^{-1} M of all steps, and where a Q is not positive definite."""
        exit_, entry = (one.to(symbols[0].dtype) for one in (self._ends.exit, self._ends.entry))
        r = (exit_.mT @ exit_).expand(len(symbols[0]), -1, -1)
        scalings = x.exp().to(symbols[0].real.dtype).split([len(kernel) for kernel in self._steps.kernels])
        feedbacks = []
        failed = torch.zeros(len(symbols[0]), dtype=torch.bool, device="cpu")
        for t, symbol, mixing in zip(reversed(scalings), reversed(symbols), reversed(self._mixings), strict=True):
            scaled = t[:, None] * symbol
            pulled = r @ mixing
            q = 2 * t.diag() - mixing.mT @ pulled
            if self._steps.implicit:
                coupling = scaled @ mixing
                q = q - coupling - coupling.mH
            # Where it has failed before, this may be anything, and is looked at no more.
            lower, info = torch.linalg.cholesky_ex(q)
            failed |= (info != 0) | ~torch.isfinite(torch.view_as_real(lower)).all(-1).all(-1).all(-1)
            half = torch.linalg.solve_triangular(lower, scaled + pulled.mH, upper=False)
            r = r + half.mH @ half
            feedbacks.append(torch.linalg.solve_triangular(lower.mH, half, upper=True))
        reduced = entry.mT @ r @ entry
        failed |= ~torch.isfinite(torch.view_as_real(reduced)).all(-1).all(-1).all(-1)
        return reduced, feedbacks[::-1], failed


def _retracted(grid: _Grid, feasible: Tensor, x: Tensor) -> Tensor:
    """The point nearest to x, of some between it and a feasible one, at which all frequencies have a gamma.

    All T with a gamma are a convex set, so there are such points unless `feasible` is at its boundary.
    """
    for share in _SHARES:
        between = (share * x.exp() + (1 - share) * feasible.exp()).log()
        if math.isfinite(float(grid.values(between).max())):
            return between
    return feasible


def minimised(function: _Function, x: Tensor, iterations: int) -> Tensor:
    """L-BFGS with Armijo's condition. The value at x must be finite; steps to infinite values are shortened."""
    value, gradient = function(x)
    memory: list[tuple[Tensor, Tensor]] = []
    values = [value]
    for _ in range(iterations):
        direction = _direction(gradient, memory)
        slope = float(gradient @ direction)
        if slope > -_FLAT:
            return x
        length = 1.0 if memory else min(1.0, 1 / float(gradient.abs().sum()))
        while length > _SHORTEST:
            tried, its_gradient = function(x + length * direction)
            if tried <= value + _DECREASE * length * slope:
                break
            length *= _SHORTENING
        else:
            return x
        step, change = length * direction, its_gradient - gradient
        x, value, gradient = x + step, tried, its_gradient
        if float(step @ change) > 1e-12 * float(step.norm() * change.norm()):
            memory = [*memory[-_MEMORY + 1 :], (step, change)]
        values.append(value)
        if len(values) > _PATIENCE and values[-1 - _PATIENCE] - value < _LITTLE:
            break
    return x


def _direction(gradient: Tensor, memory: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Minus the inverse Hessian of the memory, applied to the gradient: the two loops of L-BFGS."""
    direction, shares = -gradient, []
    for step, change in reversed(memory):
        share = (step @ direction) / (step @ change)
        direction = direction - share * change
        shares.append(share)
    if memory:
        step, change = memory[-1]
        direction = direction * ((step @ change) / change.square().sum())
    for (step, change), share in zip(memory, reversed(shares), strict=True):
        direction = direction + (share - (change @ direction) / (step @ change)) * step
    return direction
