"""Proven gains of several steps: the condition of `certificate.chain_condition`, verified by elimination.

What has to be shown of P(w) >= 0 for all w is shown at the centres of cells that cover the torus, with something to
spare for the distance from there. (The torus has two axes for images, and three for volumes.)

The distance. Let P have a negative value somewhere: v* P(w) v is least, over all w and |v| = 1, at some w* and v. In
the cell of w*, with centre c and half width h, the function v* P(w* + t (c - w*)) v of t has no slope at t = 0. Only
the F_j depend on w. Let n_j be at least ||T_j^{1/2} sum_kl d_k d_l D_k D_l F_j(w)|| for all w and |d_k| <= 1, with the
derivatives D_k (see `certificate.curvature`), and 2 kappa_j = h^2 n_j. By 2 a b <= tau_j a^2 + b^2 / tau_j,

    v* P(c) v < sum_j 2 kappa_j |T_j^{1/2} s_j| |e|  <=  sum_j kappa_j (tau_j s_j* T_j s_j + |e|^2 / tau_j),

where e is the state that step j depends on, and tau_j > 0 is any number. If P(c) is at least the form on the right for
each cell, then P >= 0 everywhere.

One frequency. From R_N = C'C on, s_N, ..., s_1 are eliminated: matrices R_{j-1} are found for which, for all e and s,

    e* R_{j-1} e >= (e + W_j s)* R_j (e + W_j s) + 2 Re s* T_j F_j e_j - 2 s* T_j s + kappa_j (...)

with e_j = e + W_j s for an implicit step and e for an explicit one. Inserted into one another, they say that
||c||^2 <= a* B' R_0 B a plus the constraints: the condition holds for gamma = lambda_max(B' R_0 B). The right-hand side
is e* A e + 2 Re s* M e - s* Q s. If Q - s_0 = L L* is a Cholesky factorisation and H = L^{-1} M by substitution, both
in floating point, then R_{j-1} = A + H* H + e_0 is enough, as soon as s_0 and e_0 exceed all rounding errors:

    [e_0 - eps_R, -E*; -E, s_0 - eps_Q] >= 0    if    (e_0 - eps_R) (s_0 - eps_Q) >= ||E||^2,   E = M - L H.

It takes about as many operations as there are steps, where a factorisation of P takes the cube of that.

Source: derived for this project.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_iresnet.certificate.chain_condition import Ends, Steps
from invreg_iresnet.certificate.curvature import curvature
from invreg_iresnet.network.precision import each_in_one_thread
from invreg_iresnet.norms.rounding import TINY, UNIT, gamma

# Cells per axis on level 0, for each half kernel width; even.
_CELLS = 8
_DEEPEST = 12
# What the proofs of one group may take, in multiplications: some ten seconds. But so many cells are always looked at.
_OPERATIONS = 3e10
_FEWEST_CELLS, _MOST_CELLS = 256, 20000
# Cells are cut no more when a bound has fallen by less than this part, with four times less to spare.
_LITTLE = 1e-3
# Numbers that the matrices of one step hold for the cells that are looked at in one go: few enough for the caches.
_CHUNK = 1 << 17
# Cells that tell by how much each step lets R grow, and of that the least and most that tau_j is chosen for.
_SAMPLES, _LEAST_GROWTH, _MOST_GROWTH = 4, 0.03, 2.0
# Where Q is nearly singular, what tau_j takes from it costs more than that; so it counts as larger.
_CAUTION = 3.0
# The largest part of 2 T_j that tau_j may take away.
_LARGEST_PART = 0.25
# So many cells without a gamma are looked at for one without a gamma at its centre.
_HOPELESS = 16
# What computed margins exceed exact ones by, relatively; also more than what norms of matrices lose when computed.
_MORE = 1 + 1e-9


class GainProof:
    """Bounds of gamma for given T_j, in cells of frequencies.

    Axis i of the torus is cut into n 2^level cells; a cell is the integer numerator j of its centre pi j / (n 2^level),
    on each axis. If kernels are 1x1, there is one cell.

    Args:
        steps: the steps; their kernels have one size.
        ends: where they begin and end.
        scalings: the diagonals of T_j, `[H_j]`, positive: taken as exact.

    Attributes:
        operations: about how many multiplications a cell takes.
    """

    def __init__(self, steps: Steps, ends: Ends, scalings: Sequence[Tensor]) -> None:
        self._ends, self._implicit = ends, steps.implicit
        self._half, self._axes = steps.kernels[0].shape[-1] // 2, steps.kernels[0].ndim - 2
        self._cells = _CELLS * self._half or 1
        pairs = zip(steps.kernels, steps.mixings, scalings, strict=True)
        self._steps = [_Step.of(*pair, steps.implicit) for pair in pairs if len(pair[0])]
        channels, hidden = len(ends.entry), max((len(one.scaling) for one in self._steps), default=1)
        self.operations = sum(11 * len(one.scaling) ** 2 * channels for one in self._steps) + 100 * channels**2
        self.chunk = max(1, _CHUNK // (2 * hidden**2))
        taps = torch.arange(-self._half, self._half + 1, device="cpu")
        self._taps = torch.cartesian_prod(*self._axes * (taps,))
        self._growths = [_MOST_GROWTH] * len(self._steps)
        self._growths = self._measured_growths()

    @property
    def children(self) -> int:
        """How many cells of the next level make up a cell."""
        return int(2**self._axes)

    def half_torus(self) -> Tensor:
        """The cells of level 0 that cover w_1 in [0, pi], `[cells, axes]`: P(-w) is the conjugate of P(w)."""
        ends = (max(self._cells, 2), *(self._axes - 1) * (2 * self._cells,))
        return torch.cartesian_prod(*(torch.arange(1, end, 2, device="cpu") for end in ends))

    def halves(self, cells: Tensor, level: int) -> Tensor | None:
        """The cells of the next level that make up these, those of each in a row; None if there is no next level."""
        if level == _DEEPEST or self._half == 0:
            return None
        steps = torch.tensor(list(itertools.product([-1, 1], repeat=self._axes)), device="cpu")
        return (2 * cells[:, None] + steps).flatten(0, 1)

    def bounds(self, cells: Tensor, level: int, *, at_centres: bool = False) -> Tensor:
        """gamma for which the condition is proven in these cells, `[cells]`; infinite where there is none.

        Args:
            cells: which ones.
            level: theirs.
            at_centres: at the centres only: no smaller cells around them have less.
        """
        reduced, error, failed = self._reduced(cells, level, at_centres)
        reduced[failed] = 0
        found = torch.linalg.eigvalsh(reduced)[:, -1] * _MORE
        # Twice what is needed, so that it is proven again with other rounding errors.
        found = found + 2 * (error + _of_cholesky(reduced.shape[-1], reduced.shape[-1] * found))
        failed |= ~self._at_most(reduced, error, found)
        return found.masked_fill(failed, math.inf)

    def within(self, cells: Tensor, level: int, squared_gain: float, *, at_centres: bool = False) -> Tensor:
        """In which of these cells the condition is proven for this gamma, bool `[cells]`; arguments as for `bounds`."""
        reduced, error, failed = self._reduced(cells, level, at_centres)
        return self._at_most(reduced, error, error.new_full(error.shape, squared_gain)) & ~failed

    def _at_most(self, reduced: Tensor, error: Tensor, bounds: Tensor) -> Tensor:
        slack = error + _of_cholesky(reduced.shape[-1], reduced.shape[-1] * bounds)
        _, failed = torch.linalg.cholesky_ex(_with_diagonal(-reduced, bounds - slack))
        return failed == 0

    def _measured_growths(self) -> list[float]:
        """tr(R_{j-1} - R_j) / tr R_j at the centres of a few cells: the mean, within limits."""
        cells = self.half_torus()
        traces = [torch.full((1,), float(self._ends.exit.square().sum()), dtype=torch.float64, device="cpu")]
        *_, failed = self._reduced(cells[:: math.ceil(len(cells) / _SAMPLES)], 0, True, traces)
        if failed.any():
            return self._growths
        means = [float((after / before - 1).mean()) for before, after in itertools.pairwise(traces)]
        return [min(max(_CAUTION * mean, _LEAST_GROWTH), _MOST_GROWTH) for mean in reversed(means)]

    def _reduced(
        self, cells: Tensor, level: int, at_centres: bool, traces: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """B' R_0 B for each cell, a bound of its error, and where there is none; adds the traces of all R_j."""
        turn = 2 * self._cells * 2**level
        # Integers, so whole turns are taken off without rounding.
        angles = (cells @ self._taps.T % turn).double() * (2 * math.pi / turn)
        cosines, sines = angles.cos(), angles.sin()
        width = 0.0 if at_centres else math.pi / (self._cells * 2**level)
        exit_, entry = self._ends.exit, self._ends.entry
        r = (exit_.mT @ exit_).to(torch.complex128).expand(len(cells), -1, -1)
        failed = torch.zeros(len(cells), dtype=torch.bool, device="cpu")
        for step, growth in zip(reversed(self._steps), reversed(self._growths), strict=True):
            r = step.eliminated(r, cosines, sines, width, self._implicit, growth, failed)
            if traces is not None:
                traces.append(_trace(r))
        size = float(torch.linalg.matrix_norm(entry)) ** 2
        error = 4 * gamma(2 * len(entry) + 4) * size * _norm(r)
        reduced = entry.mT.to(r) @ r @ entry.to(r)
        failed |= ~torch.isfinite(error)
        return reduced, error, failed


class _Step(NamedTuple):
    """A step at all frequencies.

    Attributes:
        scaling: the diagonal of T.
        mixing: W.
        scaled: T K_t, `[taps, H M]`.
        coupling: the coefficients Y_t + Y_t' and Y_t - Y_t' of the cosines and sines in T F W + its adjoint, for half
            of the taps, `[2, t, H^2]`; None for an explicit step.
        curvature: n.
        of_scaled: bound of the error of T F.
        of_coupling: likewise.
    """

    scaling: Tensor
    mixing: Tensor
    scaled: Tensor
    coupling: Tensor | None
    curvature: float
    of_scaled: float
    of_coupling: float

    @classmethod
    def of(cls, kernel: Tensor, mixing: Tensor, scaling: Tensor, implicit: bool) -> _Step:
        flat = kernel.flatten(2)
        channels, taps = flat.shape[1:]
        scaled = scaling[:, None, None] * flat
        magnitudes = scaling[:, None] * (flat.abs() + TINY).sum(2)
        # Sine and cosine are good to 32 u, as in `norms.symbol_bounds`; sums have that many terms as there are taps.
        of_scaled = 2 * UNIT * (taps + 60) * _number(torch.linalg.matrix_norm(magnitudes))
        coupling, of_coupling = None, 0.0
        if implicit:
            one_side = torch.einsum("hmt,mn->hnt", scaled, mixing)
            # The adjoint of a convolution has its taps at the opposite places. From the one in the middle on, there is
            # one of each two opposite taps.
            both = (one_side + one_side.transpose(0, 1).flip(2)).permute(2, 0, 1)[taps // 2 :]
            even, odd = both + both.mT, both - both.mT
            even[0] /= 2
            coupling = torch.stack([even, odd]).flatten(2)
            size = 2 * _number(torch.linalg.matrix_norm(magnitudes @ (mixing.abs() + TINY)))
            of_coupling = 2 * UNIT * (channels + taps + 60) * size
        bend = _MORE * curvature((scaling.sqrt()[:, None, None] * flat).view_as(kernel))
        return cls(scaling, mixing, scaled.flatten(0, 1).mT, coupling, bend, of_scaled, of_coupling)

    def eliminated(
        self, r: Tensor, cosines: Tensor, sines: Tensor, width: float, implicit: bool, growth: float, failed: Tensor
    ) -> Tensor:
        """R_{j-1} from R_j, complex `[cells, M, M]`; marks where there is none.

        What the cell costs is about kappa tau / 2 of R_{j-1} - R_j, which is about `growth` times R_j, and kappa / tau:
        tau makes the two equal.
        """
        hidden, channels = len(self.scaling), r.shape[-1]
        kappa = 0.5 * width**2 * self.curvature * _MORE
        tau = (0.5 * growth * _trace(r) / channels).clamp_min(1e-100).rsqrt()
        if kappa > 0:
            tau = tau.clamp_max(2 * _LARGEST_PART / kappa)
        # Also for the rounding of this sum.
        raised = _with_diagonal(r, kappa / tau * _MORE + 8 * UNIT * _norm(r))
        seen = raised if implicit else r
        of_mixing, of_seen = float(torch.linalg.matrix_norm(self.mixing)), _norm(seen)
        product = 2 * gamma(channels + 2)

        # Real and imaginary parts on their own: the mixing is real.
        pulled = self.mixing.mT @ seen.real, self.mixing.mT @ seen.imag
        of_pulled = product * of_mixing * of_seen
        shape = (hidden, channels)
        m = torch.complex(
            (cosines @ self.scaled).unflatten(1, shape) + pulled[0],
            (sines @ self.scaled).unflatten(1, shape) + pulled[1],
        )
        of_m = self.of_scaled + of_pulled + 4 * UNIT * _norm(m)

        size_of_pulled = _norm(pulled[0]) + _norm(pulled[1])
        q = [part @ -self.mixing for part in pulled]
        terms = size_of_pulled * of_mixing
        of_q = of_pulled * of_mixing + product * size_of_pulled * of_mixing
        if self.coupling is not None:
            middle = cosines.shape[1] // 2
            waves = (cosines[:, middle:] @ self.coupling[0], sines[:, middle:] @ self.coupling[1])
            for part, wave in zip(q, waves, strict=True):
                part -= wave.unflatten(1, (hidden, hidden))
                terms = terms + torch.linalg.vector_norm(wave, dim=-1) * _MORE
            of_q = of_q + self.of_coupling
        diagonal = (2 - kappa * tau[:, None] * _MORE) * self.scaling
        terms = terms + torch.linalg.vector_norm(diagonal, dim=-1) * _MORE
        # Only the lower triangle is used, so errors count twice.
        of_q = 2 * (of_q + 8 * UNIT * terms)
        spare = 2 * (of_q + _of_cholesky(hidden, terms * math.sqrt(hidden)))
        q[0].diagonal(dim1=-2, dim2=-1).add_(diagonal - spare[:, None])
        lower, info = torch.linalg.cholesky_ex(torch.complex(*q))
        failed |= info != 0
        # The square of the norm of L is the trace of Q, up to rounding.
        of_lower = (terms * math.sqrt(hidden)).sqrt() * _MORE
        half = torch.linalg.solve_triangular(lower, m, upper=False)
        half[failed] = 0
        of_half = _norm(half)
        residual = of_m + 2 * gamma(2 * hidden + 2) * of_lower * of_half
        of_r = 2 * gamma(hidden + 6) * of_half**2 + 8 * UNIT * (_norm(raised) + of_half**2)
        found = raised + half.mH @ half
        more = 2 * (of_r + residual**2 / (spare / 2))
        found = _with_diagonal((found + found.mH) / 2, more)
        failed |= ~torch.isfinite(_norm(found))
        return found


def proven_gain(proof: GainProof, aim: float) -> float:
    """A gamma that is proven, if possible at most `aim`; infinite if there is none."""
    cells, level, left = proof.half_torus(), 0, _affordable(proof)
    # What is proven for the cells that are not cut any more, and the largest bound of the last level.
    settled, before = 0.0, math.inf
    while True:
        bounds = torch.cat(each_in_one_thread(partial(proof.bounds, level=level), cells.split(proof.chunk)))
        left -= len(cells)
        largest = float(bounds.max())
        if not math.isfinite(largest):
            hopeless = proof.bounds(cells[bounds.isinf()][:_HOPELESS], level, at_centres=True)
            if not torch.isfinite(hopeless).all():
                return math.inf
        gained = largest < before / (1 + _LITTLE) or not math.isfinite(largest)
        # The largest bounds are improved first. What cannot be improved any more is the least that is reached.
        order = bounds.argsort(descending=True, stable=True)
        order = order[bounds[order] > max(aim, settled)]
        finer = proof.halves(cells[order[: max(left, 0) // proof.children]], level) if gained else None
        kept = (
            bounds
            if finer is None
            else bounds[~torch.isin(torch.arange(len(bounds), device="cpu"), order[: len(finer) // proof.children])]
        )
        settled = max([settled, *kept.tolist()])
        if finer is None or len(finer) == 0:
            return settled * _MORE  # so that it is proven again with other rounding errors
        cells, level, before = finer, level + 1, largest


def gain_is_at_most(proof: GainProof, squared_gain: float) -> bool:
    """Whether this gamma is proven. Always so for what `proven_gain` returned for the same steps and scalings."""
    cells: Tensor | None = proof.half_torus()
    level, left = 0, 4 * _affordable(proof)
    while cells is not None and len(cells) <= left:
        left -= len(cells)
        test = partial(proof.within, level=level, squared_gain=squared_gain)
        within = torch.cat(each_in_one_thread(test, cells.split(proof.chunk)))
        above = cells[~within]
        if len(above) == 0:
            return True
        if not proof.within(above[: proof.chunk], level, squared_gain, at_centres=True).all():
            return False
        cells, level = proof.halves(above, level), level + 1
    return False


def _affordable(proof: GainProof) -> int:
    return int(min(max(_OPERATIONS / proof.operations, _FEWEST_CELLS), _MOST_CELLS))


def _of_cholesky(size: int, trace: Tensor) -> Tensor:
    """By how much a factorisation that ends may be wrong, see the lemma in section 3 of the theory."""
    return 8 * (size + 4) * UNIT * trace


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1)


def _norm(matrices: Tensor) -> Tensor:
    """The Frobenius norms, not too small."""
    return torch.linalg.matrix_norm(matrices) * _MORE


def _number(norm: Tensor) -> float:
    return float(norm) * _MORE


def _with_diagonal(matrices: Tensor, diagonal: Tensor) -> Tensor:
    """Matrices plus diagonals, `[cells]` or `[cells, n]`."""
    found = matrices.clone()
    found.diagonal(dim1=-2, dim2=-1).add_(diagonal if diagonal.ndim == 2 else diagonal[:, None])
    return found
