"""The search for the diagonal T that makes a bound of `invreg_iresnet.certificate.schur_forms` as small as possible.

A search proves nothing: what it finds is a candidate, which is then proven. To be minimised is

    max_w lambda_max(M(w)* Q^{-1} M(w)),   M(w) = T K^(w) + c W',   Q = 2T + q W'W

over frequencies w. As M and Q are affine in T, each M* Q^{-1} M is a convex function of T (in the sense of matrices),
and so is the largest eigenvalue: there is one minimum. It is approached by a barrier method: the maximum is smoothed to

    min over g of   tau g - sum_{w, i} log(g - lambda_i(w)) - log det Q - sum_j log t_j

and minimised by Newton's method, for increasing tau. The frequencies begin as a coarse grid. After each step of tau,
those of a fine grid that are nearly the largest join them, and those that are far from that leave: large networks have
the same largest singular value at many frequencies, and larger ones between the points of a fixed grid, so that the
fine grid is another one each time.

Sources: Boyd & Vandenberghe 2004, chapter 11; Fazlyab et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_iresnet.axes import per_channel
from invreg_iresnet.certificate.schur_forms import Form
from invreg_iresnet.certificate.symbol_grid import grid_phases, grid_symbols

# Grid points per axis for each half kernel width m = (k - 1)/2, by the number of axes.
_COARSE_DENSITY = 3
_FINE_DENSITY = {2: 16, 3: 10}
# How far the smoothed maximum may be from the maximum, relatively and at worst: in practice it is ten times closer. And
# the density of the grid that is searched for larger values after that: another one each time, with other points.
_FINEST_GAP = 0.01
_STAGES = {
    2: ((0.1, 10.0), (0.03, 12.5), (_FINEST_GAP, 14.5), (_FINEST_GAP, 0.0)),
    3: ((0.1, 6.0), (0.03, 8.0), (_FINEST_GAP, 9.0), (_FINEST_GAP, 0.0)),
}
# The last stage is left out where what is off at worst changes the Lipschitz bound by less than this part of it.
_ENOUGH = 5e-4
# Of the frequencies, those with an eigenvalue below this share of the largest leave; so many may join.
_LEAVING = 0.8
_JOINING = 16

# The largest value on a grid of n points per axis, divided by the squares of cos(pi m / n), is not exceeded elsewhere.
_BETWEEN_GRIDS = {axes: math.cos(math.pi / density) ** (2 * axes) for axes, density in _FINE_DENSITY.items()}

# Frequencies of a grid that are looked at in one go: few enough for the caches.
_CHUNK = 16

_FEW = 4

_NEWTON_STEPS = 25
# Half the square of the Newton decrement is about what is left to gain: a small part of the gap.
_DECREMENT = 0.02
_TO_THE_BOUNDARY = 0.9
_SHORTENING = 0.4
_SHORTEST = 1e-6
# Armijo's condition.
_DECREASE = 0.1


def best_scaling(kernel: Tensor, mixing: Tensor, form: Form, near: Tensor | None = None) -> Tensor:
    """The diagonal of a T that makes ||Q^{-1/2} M|| small; on a fine grid never worse than `uniform_scaling`.

    Deterministic. Takes about 20 to 50 Newton steps, each of about 40 H^2 M operations for each of some 20 to 60
    frequencies, in single precision.

    Args:
        kernel: `[H, M, k, k]`, or with three sides, float64 on the CPU, k odd; no channel of zeros.
        mixing: `[M, H]`, float64 on the CPU; no channel of zeros.
        form: which Q and M.
        near: a diagonal to start from, if it is better than others.

    Returns:
        `[H]`, positive.
    """
    with torch.autocast("cpu", enabled=False):
        return _best(kernel, mixing, form, near)


def _best(kernel: Tensor, mixing: Tensor, form: Form, near: Tensor | None) -> Tensor:
    half, axes = kernel.shape[-1] // 2, kernel.ndim - 2
    starts = [find(kernel, mixing, form) for find in (uniform_scaling, balanced_scaling)]
    starts = starts if near is None else [*(near * 2.0**power for power in range(-2, 3)), *starts]
    scaling = torch.ones_like(starts[0])
    coarse = [_Grid(kernel, mixing, form, start, _COARSE_DENSITY * half) for start in starts]
    roughly = [grid.largest(scaling) for grid in coarse]
    # In these units, the search starts at 1.
    likely = roughly.index(min(roughly))
    unit, problem, reached = starts[likely], coarse[likely].problem(slice(None)), math.inf
    for gap, density in _STAGES[axes]:
        found = _minimised(problem, scaling, gap)
        if found is None:
            break
        scaling = found
        of_the_problem = problem.largest(scaling)
        here = reached = float(of_the_problem.max())
        if not 0 < here < math.inf:
            break  # nothing smaller than 0, or nothing that numbers can hold
        if density == 0 or (gap == _FINEST_GAP and gap * _sensitivity(form, here) < _ENOUGH):
            break
        grid = _Grid(kernel, mixing, form, unit, math.ceil(density * half))
        values = grid.above((1 - gap / 10) * here, scaling)
        reached = max(here, float(values.max()))
        if not reached < math.inf:
            break
        joining = values.argsort(descending=True, stable=True)[:_JOINING]
        more = grid.problem(joining[values[joining] > 0])
        problem = problem.joined_by(more, of_the_problem > _LEAVING * here)
    # What is smaller on one grid by more than this is not larger on another.
    ends = [
        start / unit for start, about in zip(starts, roughly, strict=True) if reached > _BETWEEN_GRIDS[axes] * about
    ]
    if ends:
        fine = _Grid(kernel, mixing, form, unit, _FINE_DENSITY[axes] * half)
        scaling = min((scaling, *ends), key=fine.largest)
    return unit * scaling


def _sensitivity(form: Form, square: float) -> float:
    """How much the Lipschitz bound changes relatively, where the squared norm does: sqrt(1 +- square) or its root."""
    if form.centre_sign == 0:
        return 0.5
    other = 1 - form.mixing_sign * square
    return 0.5 * square / other if other > 0 else math.inf


class _Grid:
    """A grid of frequencies, for T = unit times that of the result: in single precision, which numbers near 1 fit in.

    Args:
        kernel: K.
        mixing: W.
        form: which Q and M.
        unit: the diagonal of a T.
        points: of the grid, per axis.
    """

    def __init__(self, kernel: Tensor, mixing: Tensor, form: Form, unit: Tensor, points: int) -> None:
        self._kernel = (kernel * per_channel(unit.sqrt()[:, None], kernel.ndim - 2)).float()
        self._mixing, self._form = mixing / unit.sqrt(), form
        self._phases = grid_phases(kernel.shape[-1], max(1, points), kernel.ndim - 2).to(torch.complex64)

    def problem(self, which: slice | Tensor) -> _Problem:
        """That of some of the frequencies."""
        phases, taps = self._phases[which], self._kernel.flatten(2).flatten(0, 1).mT
        symbols = torch.complex(phases.real @ taps, phases.imag @ taps)
        return _Problem(symbols.unflatten(1, self._kernel.shape[:2]), self._mixing, self._form)

    def above(self, threshold: float, scaling: Tensor) -> Tensor:
        """The largest eigenvalue at each frequency, where it is above a threshold: elsewhere 0."""
        return torch.cat([one.above(threshold, scaling) for one in self._problems()])

    def largest(self, scaling: Tensor) -> float:
        """The largest eigenvalue at all frequencies."""
        found = 0.0
        for one in self._problems():
            found = max(found, float(one.above(found, scaling).max()))
        return found

    def _problems(self) -> Iterator[_Problem]:
        for start in range(0, len(self._phases), _CHUNK):
            yield self.problem(slice(start, start + _CHUNK))


def uniform_scaling(kernel: Tensor, mixing: Tensor, form: Form) -> Tensor:
    """T = t Id that would be best if K and W were numbers; for `lipsdp`, the bound it gives is at most ||W|| ||K||.

    With x = ||W||^2 / t and L = ||W|| ||K||, the squared norms are (L + |c| x)^2 / (x (2 + q x)), with the smallest
    bounds L for x = 1, 1 + L for x = L / (1 + L), and 1 - L for x = L / (1 - L) (where L < 1: x is at most 100).
    """
    mixing_norm = float(torch.linalg.matrix_norm(mixing, ord=2))
    symbols = grid_symbols(kernel, max(1, _COARSE_DENSITY * (kernel.shape[-1] // 2)))
    symbols = symbols.mT if len(kernel) < kernel.shape[1] else symbols
    product = mixing_norm * math.sqrt(float(torch.linalg.eigvalsh(symbols.mH @ symbols).max()))
    x = product / max(1 - form.mixing_sign * product, product / 100) if form.centre_sign else 1.0
    return mixing.new_full((len(kernel),), mixing_norm**2 / x)


def balanced_scaling(kernel: Tensor, mixing: Tensor, form: Form) -> Tensor:
    """The uniform scaling after each hidden channel has got weights of the same size in K and in W."""
    squares = torch.linalg.vector_norm(mixing, dim=0) / torch.linalg.vector_norm(kernel.flatten(1), dim=1)
    roots = squares.sqrt()
    return squares * uniform_scaling(kernel * per_channel(roots[:, None], kernel.ndim - 2), mixing / roots, form)


class _Point(NamedTuple):
    """The matrices of a problem for one T.

    Attributes:
        scaling: the diagonal of T.
        inverse_root: L^{-1}, of the Cholesky factor L of Q.
        half: L^{-1} M(w), `[w, H, M]`.
        grams: M(w)* Q^{-1} M(w), `[w, M, M]`.
        log_barrier: log det Q + sum_j log t_j.
    """

    scaling: Tensor
    inverse_root: Tensor
    half: Tensor
    grams: Tensor
    log_barrier: float


@dataclass(frozen=True)
class _Problem:
    """The matrices M(w)* Q^{-1} M(w) as functions of T.

    Attributes:
        symbols: K^(w), complex64 `[w, H, M]`.
        mixing: W.
        form: which Q and M.
    """

    symbols: Tensor
    mixing: Tensor
    form: Form

    def at(self, scaling: Tensor) -> _Point | None:
        """None where Q is not positive definite."""
        if not (scaling > 0).all():
            return None
        q = 2 * scaling.diag() + self.form.mixing_sign * self.mixing.mT @ self.mixing
        lower, failed = torch.linalg.cholesky_ex(q)
        if int(failed) or not torch.isfinite(lower).all():
            return None
        identity = torch.eye(len(scaling), dtype=torch.float64, device="cpu")
        inverse_root = torch.linalg.solve_triangular(lower, identity, upper=False)
        half = _multiplied((inverse_root * scaling).float(), self.symbols)
        if self.form.centre_sign:
            half += (self.form.centre_sign * inverse_root @ self.mixing.mT).float()
        grams = half.mH @ half
        # Sums of squares: infinite or undefined as soon as one entry is.
        if not torch.isfinite(grams.diagonal(dim1=-2, dim2=-1).real).all():
            return None
        barrier = 2 * lower.diagonal().log().sum() + scaling.log().sum()
        return _Point(scaling, inverse_root, half, grams, float(barrier))

    def joined_by(self, other: _Problem, staying: Tensor) -> _Problem:
        """Some of the frequencies, and all of another problem's."""
        return _Problem(torch.cat([self.symbols[staying], other.symbols]), self.mixing, self.form)

    def largest(self, scaling: Tensor) -> Tensor:
        """The largest eigenvalue at each frequency, in single precision; infinite where Q is not positive definite."""
        return self.above(0.0, scaling)

    def above(self, threshold: float, scaling: Tensor) -> Tensor:
        """The same where it is above a threshold, elsewhere 0: most frequencies take one factorisation."""
        point = self.at(scaling)
        if point is None:
            return scaling.new_full((len(self.symbols),), math.inf)
        found = scaling.new_zeros(len(self.symbols))
        above = torch.linalg.cholesky_ex(_minus(threshold, point.grams)).info != 0
        found[above] = torch.linalg.eigvalsh(point.grams[above])[:, -1].double()
        return found

    def newton(self, point: _Point, level: float) -> tuple[Tensor, float] | None:
        """Newton's step for T, with the level g always at its minimiser, and the squared decrement.

        -log det (g - M* Q^{-1} M) - log det Q = -log det B for the block matrix B = [g, M*; M, Q], linear in (g, T). In
        T_j it changes by e_j a_j* + a_j e_j*, where a_j = (K^(w)*_j, e_j). With P = B^{-1} and the matrices
        V = e* P a, E = e* P e, A = a* P a, the derivatives of -log det B are -2 Re V_jj and
        2 Re (V_ij V_ji + A_ij E_ji). Q belongs to every frequency, but is to count once. The second derivatives are
        computed in single precision: they decide how many steps there are, not where these end.
        """
        frequencies, _, channels = self.symbols.shape
        scaling = point.scaling
        lower, failed = torch.linalg.cholesky_ex(_minus(level, point.grams))
        if failed.any():
            return None
        identity = torch.eye(channels, dtype=torch.complex64, device="cpu")
        # With S = g - M* Q^{-1} M = L L*, and Z = Q^{-1} M: products with S^{-1} as Z L^{-*} (Z L^{-*})* and so on.
        inverse_lower = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
        inverse = point.inverse_root.mT @ point.inverse_root
        sums = _Sums(inverse)
        # A few frequencies at a time, so that all is in the caches.
        for symbols, half, inverse_root in zip(
            self.symbols.split(_FEW), point.half.split(_FEW), inverse_lower.split(_FEW), strict=True
        ):
            zs = _multiplied(point.inverse_root.mT.float(), half @ inverse_root.mH)
            sums.add(zs, symbols @ inverse_root.mH - zs, inverse_root)
        gradient = sums.gradient - 2 * inverse.diagonal() - 1 / scaling
        hessian = 2 * sums.hessian.double() - 4 * (frequencies - 1) * inverse**2
        hessian += scaling.square().reciprocal().diag()
        # The level follows T: the Schur complement of the Hessian in (g, T).
        hessian -= torch.outer(sums.mixed, sums.mixed) / sums.of_level
        step, failed = torch.linalg.solve_ex(hessian, -gradient)
        decrement = -float(gradient @ step)
        return (step, decrement) if not int(failed) and math.isfinite(decrement) and decrement >= 0 else None


class _Sums:
    """Sums over frequencies, from Z L^{-*}, R L^{-*} and L^{-1}.

    Args:
        inverse: Q^{-1}.

    Attributes:
        gradient: -2 Re V_jj but for the part of Q^{-1}.
        hessian: Re (V_ij V_ji + A_ij E_ji), in single precision.
        mixed: the derivatives with respect to g and T_j.
        of_level: the second derivative with respect to g.
    """

    def __init__(self, inverse: Tensor) -> None:
        self._inverse = inverse.float()
        self.gradient, self.mixed = torch.zeros_like(inverse[0]), torch.zeros_like(inverse[0])
        self.hessian, self.of_level = torch.zeros_like(self._inverse), 0.0

    def add(self, zs: Tensor, rs: Tensor, inverse_lower: Tensor) -> None:
        self.gradient += 2 * _inner(zs, rs)
        s_inverse = inverse_lower @ inverse_lower.mH
        self.mixed -= 2 * _inner(zs @ s_inverse, rs)
        self.of_level += float(torch.view_as_real(s_inverse).square().sum())
        # The products x y* of complex matrices x, y have the parts [Re x, Im x] [Re y, Im y]' and
        # [Im x, -Re x] [Re y, Im y]'.
        z, r = torch.cat([zs.real, zs.imag], 2), torch.cat([rs.real, rs.imag], 2)
        z_turned, r_turned = torch.cat([zs.imag, -zs.real], 2), torch.cat([rs.imag, -rs.real], 2)
        real, imaginary = self._inverse - z @ r.mT, z_turned @ r.mT  # V, -V
        self.hessian += (real * real.mT).sum(0)
        self.hessian -= (imaginary * imaginary.mT).sum(0)
        self.hessian += ((self._inverse + r @ r.mT) * (self._inverse + z @ z.mT)).sum(0)
        self.hessian += ((r_turned @ r.mT) * (z_turned @ z.mT)).sum(0)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Re sum x_jk conj(y_jk) over frequencies and k."""
    return (torch.view_as_real(x) * torch.view_as_real(y)).sum((0, 2, 3)).double()


def _multiplied(real: Tensor, stack: Tensor) -> Tensor:
    """A real matrix times complex matrices, in half of the operations that complex ones take."""
    return torch.view_as_complex((real @ torch.view_as_real(stack).flatten(2)).unflatten(2, (-1, 2)))


def _minus(level: float, grams: Tensor) -> Tensor:
    found = -grams
    found.diagonal(dim1=-2, dim2=-1).add_(level)
    return found


def _minimised(problem: _Problem, scaling: Tensor, gap: float) -> Tensor | None:
    """T that minimises the smoothed maximum; None if nothing could be computed."""
    count = problem.symbols.shape[0] * problem.symbols.shape[2] + 2 * len(scaling)
    point = problem.at(scaling)
    largest = math.inf if point is None else float(torch.linalg.eigvalsh(point.grams).max())
    if point is None or not 0 < largest < math.inf:
        return None
    sharpness = count / (gap * largest)
    value, level = _smoothed(point, sharpness)
    length = 1.0
    for _ in range(_NEWTON_STEPS):
        newton = problem.newton(point, level)
        if newton is None or newton[1] < _DECREMENT * count:
            break
        step, decrement = newton
        shrinking = step < 0
        # Steps have similar lengths: the next one is tried little longer than the last one was.
        length = min(
            [1.0, length / _SHORTENING, *(_TO_THE_BOUNDARY * point.scaling[shrinking] / -step[shrinking]).tolist()]
        )
        while length > _SHORTEST:
            tried = problem.at(point.scaling + length * step)
            its_value, its_level = (math.inf, math.inf) if tried is None else _smoothed(tried, sharpness)
            if tried is not None and its_value <= value - _DECREASE * length * decrement:
                break
            length *= _SHORTENING
        else:
            break
        point, value, level = tried, its_value, its_level
    return point.scaling


def _smoothed(point: _Point, sharpness: float) -> tuple[float, float]:
    """The smoothed maximum, up to a constant, and its level g, the root of sum 1 / (g - lambda) = tau."""
    eigenvalues = torch.linalg.eigvalsh(point.grams).double()
    largest = float(eigenvalues.max())
    # In units of 1 / tau, from the largest eigenvalue on. Below the root, Newton's method for the reciprocal of the sum
    # is monotone: the reciprocal is concave in g.
    distances = sharpness * (largest - eigenvalues)
    above = 1.0
    for _ in range(50):
        inverse = (distances + above).reciprocal()
        total = float(inverse.sum())
        step = (total - 1) * total / float(inverse.square().sum())
        above += step
        if step < 1e-10 * above:
            break
    value = sharpness * largest + above - float((distances + above).log().sum()) - point.log_barrier
    return value, largest + above / sharpness
