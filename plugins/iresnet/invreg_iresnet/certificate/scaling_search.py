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
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from invreg_iresnet.certificate.schur_forms import Form
from invreg_iresnet.certificate.symbol_grid import grid_symbols

# Grid points per axis for each half kernel width m = (k - 1)/2.
_COARSE_DENSITY = 3
_FINE_DENSITY = 16
# How far the smoothed maximum may be from the maximum, relatively and at worst: in practice it is ten times closer. And
# the density of the grid that is searched for larger values after that: another one each time, with other points.
_STAGES = ((0.1, 10.0), (0.03, 12.5), (0.01, 14.5), (0.01, 16.5))
# Of the frequencies, those with an eigenvalue below this share of the largest leave; so many may join.
_LEAVING = 0.8
_JOINING = 16

# The largest value on a grid of n points per axis, divided by the squares of cos(pi m / n), is not exceeded elsewhere.
_BETWEEN_GRIDS = math.cos(math.pi / _FINE_DENSITY) ** 4

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
        kernel: `[H, M, k, k]`, float64 on the CPU, k odd; no channel of zeros.
        mixing: `[M, H]`, float64 on the CPU; no channel of zeros.
        form: which Q and M.
        near: a diagonal to start from, if it is better than others.

    Returns:
        `[H]`, positive.
    """
    with torch.autocast("cpu", enabled=False):
        return _best(kernel, mixing, form, near)


def _best(kernel: Tensor, mixing: Tensor, form: Form, near: Tensor | None) -> Tensor:
    half = kernel.shape[-1] // 2
    coarse = grid_symbols(kernel, max(1, _COARSE_DENSITY * half))
    starts = [find(kernel, mixing, form) for find in (uniform_scaling, balanced_scaling)]
    starts = starts if near is None else [*(near * 2.0**power for power in range(-2, 3)), *starts]
    scaling = torch.ones_like(starts[0])
    roughly = [float(_in_units(start, coarse, mixing, form).largest(scaling).max()) for start in starts]
    # In these units, the search starts at 1.
    unit = starts[roughly.index(min(roughly))]
    problem, reached = _in_units(unit, coarse, mixing, form), math.inf
    for gap, density in _STAGES:
        found = _minimised(problem, scaling, gap)
        if found is None:
            break
        scaling = found
        everywhere = _in_units(unit, grid_symbols(kernel, max(1, math.ceil(density * half))), mixing, form)
        values, of_the_problem = everywhere.largest(scaling), problem.largest(scaling)
        here, reached = float(of_the_problem.max()), float(values.max())
        if not 0 < here < math.inf or not 0 < reached < math.inf:
            break  # nothing smaller than 0, or nothing that numbers can hold
        joining = values.argsort(descending=True, stable=True)[:_JOINING]
        joining = joining[values[joining] > (1 - gap / 10) * here]
        staying = problem.symbols[of_the_problem > _LEAVING * here]
        problem = _Problem(torch.cat([staying, everywhere.symbols[joining]]), problem.mixing, form)
    # What is smaller on one grid by more than this is not larger on another.
    ends = [start / unit for start, about in zip(starts, roughly, strict=True) if reached > _BETWEEN_GRIDS * about]
    if not ends:
        return unit * scaling
    everywhere = _in_units(unit, grid_symbols(kernel, max(1, _FINE_DENSITY * half)), mixing, form)
    return unit * min((scaling, *ends), key=lambda end: float(everywhere.largest(end).max()))


def uniform_scaling(kernel: Tensor, mixing: Tensor, form: Form) -> Tensor:
    """T = t Id that would be best if K and W were numbers; for `lipsdp`, the bound it gives is at most ||W|| ||K||.

    With x = ||W||^2 / t and L = ||W|| ||K||, the squared norms are (L + |c| x)^2 / (x (2 + q x)), with the smallest
    bounds L for x = 1, 1 + L for x = L / (1 + L), and 1 - L for x = L / (1 - L) (where L < 1: x is at most 100).
    """
    mixing_norm = float(torch.linalg.matrix_norm(mixing, ord=2))
    points = max(1, _COARSE_DENSITY * (kernel.shape[-1] // 2))
    product = mixing_norm * float(torch.linalg.matrix_norm(grid_symbols(kernel, points), ord=2).max())
    x = product / max(1 - form.mixing_sign * product, product / 100) if form.centre_sign else 1.0
    return mixing.new_full((len(kernel),), mixing_norm**2 / x)


def balanced_scaling(kernel: Tensor, mixing: Tensor, form: Form) -> Tensor:
    """The uniform scaling after each hidden channel has got weights of the same size in K and in W."""
    squares = torch.linalg.vector_norm(mixing, dim=0) / torch.linalg.vector_norm(kernel.flatten(1), dim=1)
    roots = squares.sqrt()
    return squares * uniform_scaling(kernel * roots[:, None, None, None], mixing / roots, form)


def _in_units(unit: Tensor, symbols: Tensor, mixing: Tensor, form: Form) -> _Problem:
    """The problem for T = unit times that of the result, in single precision, which numbers near 1 fit in."""
    return _Problem((symbols * unit.sqrt()[:, None]).to(torch.complex64), mixing / unit.sqrt(), form)


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
        centre = self.form.centre_sign * self.mixing.mT.float()
        half = _multiplied(inverse_root.float(), scaling.float()[:, None] * self.symbols + centre)
        grams = half.mH @ half
        # Sums of squares: infinite or undefined as soon as one entry is.
        if not torch.isfinite(grams.diagonal(dim1=-2, dim2=-1).real).all():
            return None
        barrier = 2 * lower.diagonal().log().sum() + scaling.log().sum()
        return _Point(scaling, inverse_root, half, grams, float(barrier))

    def largest(self, scaling: Tensor) -> Tensor:
        """The largest eigenvalue at each frequency, in single precision; infinite where Q is not positive definite."""
        point = self.at(scaling)
        if point is None:
            return scaling.new_full((len(self.symbols),), math.inf)
        return torch.linalg.eigvalsh(point.grams)[:, -1].double()

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
        zs = _multiplied(point.inverse_root.mT.float(), point.half @ inverse_lower.mH)
        rs = self.symbols @ inverse_lower.mH - zs
        gradient = 2 * (zs * rs.conj()).real.double().sum((0, 2)) - 2 * inverse.diagonal() - 1 / scaling
        narrow = inverse.to(torch.complex64)
        v = narrow - zs @ rs.mH
        e = narrow + zs @ zs.mH
        a = narrow + rs @ rs.mH
        hessian = 2 * ((v * v.mT).real.sum(0) + (a * e.conj()).real.sum(0)).double()
        hessian -= 4 * (frequencies - 1) * inverse**2
        hessian += scaling.square().reciprocal().diag()
        # The level follows T: the Schur complement of the Hessian in (g, T).
        mixed = -2 * ((zs @ inverse_lower) * (rs @ inverse_lower).conj()).real.sum((0, 2)).double()
        s_inverse = inverse_lower.mH @ inverse_lower
        hessian -= torch.outer(mixed, mixed) / float(torch.view_as_real(s_inverse).square().sum())
        step, failed = torch.linalg.solve_ex(hessian, -gradient)
        decrement = -float(gradient @ step)
        return (step, decrement) if not int(failed) and math.isfinite(decrement) and decrement >= 0 else None


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
