"""The search for the diagonal T that makes a bound of `invreg_iresnet.certificate.schur_forms` as small as possible.

A search proves nothing: what it finds is a candidate, which is then proven. To be minimised is

    max_w lambda_max(M(w)* Q^{-1} M(w)),   M(w) = T K^(w) + c W',   Q = 2T + q W'W

over frequencies w. As M and Q are affine in T, each M* Q^{-1} M is a convex function of T (in the sense of matrices),
and so is the largest eigenvalue: there is one minimum. It is approached by a barrier method: the maximum is smoothed to

    min over g of   tau g - sum_{w, i} log(g - lambda_i(w)) - log det Q - sum_j log t_j

and minimised by Newton's method, for increasing tau. The frequencies begin as a coarse grid. After each step of tau,
those of a fine grid that are nearly the largest join them, and those that are far from that leave: large networks have
the same largest singular value at many frequencies, and larger ones between the points of a fixed grid.

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
_COARSE_DENSITY = 5
_FINE_DENSITY = 16

# How far the smoothed maximum may be from the maximum, relatively and at worst: in practice it is ten times closer.
_GAPS = (0.3, 0.1, 0.03, 0.01)
# Of the frequencies, those with an eigenvalue below this share of the largest leave; so many may join.
_LEAVING = 0.7
_JOINING = 32

_NEWTON_STEPS = 25
# Half the square of the Newton decrement is about what is left to gain; one unit is a small part of the gap.
_DECREMENT = 1.0
_TO_THE_BOUNDARY = 0.9
_SHORTENING = 0.4
_SHORTEST = 1e-6
# Armijo's condition.
_DECREASE = 0.1


def best_scaling(kernel: Tensor, mixing: Tensor, form: Form) -> Tensor:
    """The diagonal of a T that makes ||Q^{-1/2} M|| small; on a fine grid never worse than `uniform_scaling`.

    Deterministic. Takes about 30 Newton steps, each of about 50 H^2 M k^2 operations.

    Args:
        kernel: `[H, M, k, k]`, float64 on the CPU, k odd; no channel of zeros.
        mixing: `[M, H]`, float64 on the CPU; no channel of zeros.
        form: which Q and M.

    Returns:
        `[H]`, positive.
    """
    half = kernel.shape[-1] // 2
    fine_points = max(1, _FINE_DENSITY * half)
    everywhere = _Problem(grid_symbols(kernel, fine_points), mixing, form)
    unit = min((find(kernel, mixing, form) for find in (uniform_scaling, balanced_scaling)), key=everywhere.largest)
    # In these units, the search starts at 1.
    kernel, mixing = kernel * unit.sqrt()[:, None, None, None], mixing / unit.sqrt()
    everywhere = _Problem(grid_symbols(kernel, fine_points), mixing, form)
    problem = _Problem(grid_symbols(kernel, max(1, _COARSE_DENSITY * half)), mixing, form)
    scaling = torch.ones_like(unit)
    best, smallest = scaling, everywhere.largest(scaling)
    for gap in _GAPS:
        found = _minimised(problem, scaling, gap)
        if found is None:
            break
        scaling = found
        values, of_the_problem = (one.eigenvalues(scaling).values[:, -1] for one in (everywhere, problem))
        reached = float(of_the_problem.max())
        if float(values.max()) < smallest:
            best, smallest = scaling, float(values.max())
        if not reached > 0:
            break  # nothing smaller than 0
        joining = values.argsort(descending=True, stable=True)[:_JOINING]
        joining = joining[values[joining] > (1 - gap / 10) * reached]
        staying = problem.symbols[of_the_problem > _LEAVING * reached]
        problem = _Problem(torch.cat([staying, everywhere.symbols[joining]]), mixing, form)
    return unit * best


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


class _Eigenvalues(NamedTuple):
    """All lambda_i(w), `[w, M]` ascending, and log det Q + sum_j log t_j."""

    values: Tensor
    log_barrier: float


@dataclass(frozen=True)
class _Problem:
    """The matrices M(w)* Q^{-1} M(w) as functions of T.

    Attributes:
        symbols: K^(w), `[w, H, M]`.
        mixing: W.
        form: which Q and M.
    """

    symbols: Tensor
    mixing: Tensor
    form: Form

    def q(self, scaling: Tensor) -> Tensor:
        return 2 * scaling.diag() + self.form.mixing_sign * self.mixing.mT @ self.mixing

    def m(self, scaling: Tensor) -> Tensor:
        return scaling[:, None] * self.symbols + self.form.centre_sign * self.mixing.mT

    def eigenvalues(self, scaling: Tensor) -> _Eigenvalues:
        """Infinite where Q is not positive definite."""
        lower, failed = torch.linalg.cholesky_ex(self.q(scaling))
        half = torch.linalg.solve_triangular(lower.to(torch.complex128), self.m(scaling), upper=False)
        gram = half.mH @ half
        if int(failed) or not (scaling > 0).all() or not torch.isfinite(torch.view_as_real(gram)).all():
            return _Eigenvalues(scaling.new_full((len(self.symbols), self.symbols.shape[2]), math.inf), -math.inf)
        barrier = 2 * lower.diagonal().log().sum() + scaling.log().sum()
        return _Eigenvalues(torch.linalg.eigvalsh(gram), float(barrier))

    def largest(self, scaling: Tensor) -> float:
        return float(self.eigenvalues(scaling).values.max())

    def newton(self, scaling: Tensor, level: float) -> tuple[Tensor, float] | None:
        """Newton's step for T, with the level g always at its minimiser, and the squared decrement.

        -log det (g - M* Q^{-1} M) - log det Q = -log det B for the block matrix B = [g, M*; M, Q], linear in (g, T). In
        T_j it changes by e_j a_j* + a_j e_j*, where a_j = (K^(w)*_j, e_j). With P = B^{-1} and the matrices
        V = e* P a, E = e* P e, A = a* P a, the derivatives of -log det B are -2 Re V_jj and
        2 Re (V_ij V_ji + A_ij E_ji). Q belongs to every frequency, but is to count once.
        """
        frequencies, _, channels = self.symbols.shape
        inverse = torch.linalg.inv(self.q(scaling))
        complex_inverse = inverse.to(torch.complex128)
        z = complex_inverse @ self.m(scaling)
        gap = level * torch.eye(channels, dtype=torch.complex128, device="cpu") - self.m(scaling).mH @ z
        lower, failed = torch.linalg.cholesky_ex(gap)
        if failed.any():
            return None
        # With S = g - M* Q^{-1} M = L L*, and Z = Q^{-1} M: products with S^{-1} as Z L^{-*} (Z L^{-*})* and so on.
        solve = torch.linalg.solve_triangular
        zs = solve(lower, z.mH, upper=False).mH
        rs = solve(lower, (self.symbols - z).mH, upper=False).mH
        v = complex_inverse - zs @ rs.mH
        e = complex_inverse + zs @ zs.mH
        a = complex_inverse + rs @ rs.mH
        gradient = -2 * v.diagonal(dim1=-2, dim2=-1).real.sum(0) + 2 * (frequencies - 1) * inverse.diagonal()
        gradient -= 1 / scaling
        hessian = 2 * ((v * v.mT).real + (a * e.conj()).real).sum(0) - 4 * (frequencies - 1) * inverse**2
        hessian += scaling.square().reciprocal().diag()
        # The level follows T: the Schur complement of the Hessian in (g, T).
        s_inverse = torch.cholesky_inverse(lower)
        mixed = -2 * ((z @ s_inverse) * ((self.symbols - z) @ s_inverse).conj()).real.sum((0, 2))
        hessian -= torch.outer(mixed, mixed) / s_inverse.abs().square().sum()
        step, failed = torch.linalg.solve_ex(hessian, -gradient)
        decrement = -float(gradient @ step)
        return (step, decrement) if not int(failed) and math.isfinite(decrement) and decrement >= 0 else None


def _minimised(problem: _Problem, scaling: Tensor, gap: float) -> Tensor | None:
    """T that minimises the smoothed maximum; None if nothing could be computed."""
    count = problem.symbols.shape[0] * problem.symbols.shape[2] + 2 * len(scaling)
    largest = problem.largest(scaling)
    if not 0 < largest < math.inf:
        return None
    sharpness = count / (gap * largest)
    value, level = _smoothed(problem, scaling, sharpness)
    for _ in range(_NEWTON_STEPS):
        newton = problem.newton(scaling, level)
        if newton is None or newton[1] < _DECREMENT:
            break
        step, decrement = newton
        shrinking = step < 0
        length = min([1.0, *(_TO_THE_BOUNDARY * scaling[shrinking] / -step[shrinking]).tolist()])
        while length > _SHORTEST:
            tried, its_level = _smoothed(problem, scaling + length * step, sharpness)
            if tried <= value - _DECREASE * length * decrement:
                break
            length *= _SHORTENING
        else:
            break
        scaling, value, level = scaling + length * step, tried, its_level
    return scaling


def _smoothed(problem: _Problem, scaling: Tensor, sharpness: float) -> tuple[float, float]:
    """The smoothed maximum, up to a constant, and its level g, the root of sum 1 / (g - lambda) = tau."""
    values, log_barrier = problem.eigenvalues(scaling)
    largest = float(values.max())
    if not math.isfinite(largest):
        return math.inf, math.inf
    # In units of 1 / tau, from the largest eigenvalue on. Below the root, Newton's method for the reciprocal of the sum
    # is monotone: the reciprocal is concave in g.
    distances = sharpness * (largest - values)
    above = 1.0
    for _ in range(50):
        inverse = (distances + above).reciprocal()
        total = float(inverse.sum())
        step = (total - 1) * total / float(inverse.square().sum())
        above += step
        if step < 1e-10 * above:
            break
    value = sharpness * largest + above - float((distances + above).log().sum()) - log_barrier
    return value, largest + above / sharpness
