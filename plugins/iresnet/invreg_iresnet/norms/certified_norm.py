"""Proven norms of convolutions, for zero padding and periodic images of every size at once.

A convolution of the infinite lattice has the norm sup_w sigma_max(F(w)), F the symbol of its kernel. Zero padding of an
image of any size, be it smaller than the kernel, is a compression of it (what lies outside is set to zero before and
cut off after), which does not increase the norm. A periodic convolution has the norm max sigma_max(F(w)) over those
frequencies w that its period admits, also where the kernel is wrapped around it, as exp(i t.w) has that period in t. So
one number bounds them all. (Reflecting and replicating boundaries are not covered.)

How the supremum over the torus is proven from finitely many frequencies: let M = sigma_max(F(w*)) be the supremum, with
singular vectors u and v. Counted from the middle of the kernel, taps t satisfy |t_i| <= m_i = (k_i - 1)/2. So the real
part of u* F(w) v, as a function of the position on a line through w* in direction d, is of exponential type
sum_i m_i |d_i|, takes its maximum M at w*, and is nowhere below -M. Such a function falls no faster than the
cosine of its type (Bernstein; Duffin and Schaeffer 1937):

    sigma_max(F(c)) >= M cos(sum_i m_i |c_i - w*_i|)  while the argument is at most pi/2.

If sigma_max(F(c)) <= B cos(sum_i m_i h_i) at the centre c of a cell of half widths h_i, then M > B is impossible
with w* in that cell. Often, less of a distance is enough: with G = F* F, v the eigenvector of G(w*), and bounds D_ij of
the norms of the second derivatives of G, the function v* G v falls from its maximum at w* by no more than

    sigma_max(F(c))^2 >= M^2 - 1/2 sum_ij h_i h_j D_ij.

Cells that pass one of the two tests are dropped for this B and all larger ones, the others are cut into four (for
volumes, whose kernels have three sides, into eight). If none are left, M <= B.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg import CertificateError, SpecError
from invreg_iresnet.norms.symbol_bounds import SymbolBounds, checked_kernel

# By the number of axes. Of two: cells have m_1 h_1 + m_2 h_2 <= pi/9 on level 0, cos = 0.94, and cos = 0.99905 on level
# 3, which is always affordable. Of three: 3 pi/20, cos = 0.89, and 0.972 on level 1.
_FINENESS = {2: 18, 3: 20}
_FULL_LEVELS = {2: 3, 3: 1}
# Beyond, only while so many cells are enough to find a bound, and to prove one: there is room for kernels that differ a
# little from one for which the bound was found. At the deepest level, rounding begins to decide.
_MOST_CELLS_TO_FIND = 1 << 15
_MOST_CELLS_TO_PROVE = 1 << 17
_DEEPEST = 16
# Cells per axis for a rough norm, as a multiple of the degree of the symbol: at most 1.2 times the norm with two axes.
_ROUGH = 8


def certified_norm(kernel: Tensor, tolerance: float = 1e-4) -> float:
    """A bound c of the operator norm of a convolution: sup_w sigma_max(K^(w)) <= c, proven for the stored weights.

    The bound holds in exact arithmetic; rounding errors of its own computations, in float64 on the CPU, are bounded and
    added. It covers stride 1 convolutions with zero padding and periodic ones, on images of any size.

    Args:
        kernel: `[out, in, kh, kw]`, or `[out, in, kd, kh, kw]` for volumes.
        tolerance: c is at most (1 + tolerance) times the supremum, except where this would take too long, as the
            largest singular value is nearly the same at all frequencies, or is too small for float64. Then c is at most
            1.001 times the supremum (1.03 times for volumes).

    Returns:
        c; 0 for a kernel of zeros.

    Raises:
        CertificateError: if a weight is not finite, the norm too large for a float, or the arithmetic of this machine
            too poor for a proof.
        ShapeError: if the kernel is not one.
        SpecError: if the tolerance is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise SpecError(f"{tolerance}", where="certified_norm.tolerance", expected="0 < tolerance < 1")
    if not checked_kernel(kernel, "certified_norm").any():
        return 0.0
    symbol = SymbolBounds(kernel, _FINENESS[kernel.ndim - 2])
    # A single cell is exact up to float64.
    tolerance = min(tolerance, 1e-9) if symbol.constant else tolerance
    cells, level, largest = symbol.half_torus(), 0, symbol.rms
    while True:
        cells, largest = _cells_above(symbol, cells, level, largest, tolerance)
        if len(cells) == 0:
            return _unscaled(largest * (1 + tolerance), symbol.exponent)
        finer = _finer(symbol, cells, level, _MOST_CELLS_TO_FIND)
        if finer is not None:
            cells, level = finer, level + 1
        else:
            # As no centre exceeds `largest`, this is enough for all cells that are left, but for rounding.
            enough = 1.001 * (min(1 / symbol.cosine(level), math.hypot(1, math.sqrt(symbol.drop(level)) / largest)) - 1)
            tolerance = enough if tolerance < enough else 2 * tolerance
            if tolerance > 2:
                raise CertificateError(
                    f"the norm, about {largest:.6g} * 2^{symbol.exponent}, could not be proven",
                    where="certified_norm",
                    expected="float64 arithmetic with the rounding errors of IEEE 754 and LAPACK",
                )


def norm_is_at_most(kernel: Tensor, bound: float) -> bool:
    """Whether sup_w sigma_max(K^(w)) <= bound is proven, as `certified_norm` does, for the stored weights.

    Always true for what `certified_norm` returned for the same weights, and quicker than that.

    Args:
        kernel: `[out, in, kh, kw]`, or `[out, in, kd, kh, kw]`.
        bound: a bound of the norm.

    Returns:
        False if the norm is larger, or so little smaller that it cannot be proven with a moderate number of cells.

    Raises:
        CertificateError: if a weight is not finite, or the bound not a number.
        ShapeError: if the kernel is not one.
    """
    if math.isnan(bound):
        raise CertificateError(f"the bound {bound}", where="norm_is_at_most.bound", expected="a number")
    if not checked_kernel(kernel, "norm_is_at_most").any() or bound <= 0:
        return bound >= 0 and not kernel.any()
    symbol = SymbolBounds(kernel, _FINENESS[kernel.ndim - 2])
    bound = _scaled(bound, symbol)
    cells: Tensor | None = symbol.half_torus()
    level = 0
    while cells is not None:
        left = []
        for some in cells.split(symbol.chunk):
            some = some[~symbol.quickly_at_most(some, bound, level)]
            grams = symbol.grams(some, level)
            above = ~symbol.at_most(grams, bound, level)
            if not symbol.at_most(grams[above], bound).all():
                return False  # however small the cells that contain this centre
            left.append(some[above])
        cells = torch.cat(left)
        if len(cells) == 0:
            return True
        cells, level = _finer(symbol, cells, level, _MOST_CELLS_TO_PROVE), level + 1
    return False


def rough_norm(kernel: Tensor) -> float:
    """A bound of the operator norm of a convolution that is at most 1.2 times the norm, proven as `certified_norm` is.

    From a grid of n_i frequencies along each axis: no value of the symbol between them exceeds all of theirs by more
    than the factor prod_i 1 / cos(pi m_i / n_i). With three axes, this is 1.3.

    Args:
        kernel: `[out, in, kh, kw]`, or `[out, in, kd, kh, kw]`.

    Raises:
        CertificateError: if a weight is not finite, or the norm too large for a float.
        ShapeError: if the kernel is not one.
    """
    if not checked_kernel(kernel, "rough_norm").any():
        return 0.0
    symbol = SymbolBounds(kernel, _ROUGH)
    largest = symbol.rms
    for some in symbol.half_torus().split(symbol.chunk):
        largest = _largest(symbol, symbol.grams(some, 0), largest)
    bound = largest * (1 + symbol.margin(largest)) * symbol.between_centres * (1 + 1e-12)
    return _unscaled(bound, symbol.exponent)


def _cells_above(
    symbol: SymbolBounds, cells: Tensor, level: int, largest: float, tolerance: float
) -> tuple[Tensor, float]:
    """The cells that do not pass for (1 + tolerance) largest, and the largest singular value found so far."""

    def bound_to_prove() -> float:
        # Less than what is returned, so that it can be proven again, with other rounding errors.
        bound = largest * (1 + tolerance)
        return bound / (1 + symbol.margin(bound))

    left = []
    for some in cells.split(symbol.chunk):
        some = some[~symbol.quickly_at_most(some, bound_to_prove(), level)]
        grams = symbol.grams(some, level)
        above = torch.arange(len(some), device="cpu")
        before = None
        while before != largest:  # a larger value may let more cells pass
            before, bound = largest, bound_to_prove()
            above = above[~symbol.at_most(grams[above], bound, level)]
            largest = _largest(symbol, grams[above], largest)
        left.append(some[above])
    return torch.cat(left), largest


def _largest(symbol: SymbolBounds, grams: Tensor, largest: float) -> float:
    """The largest of all singular values and `largest`, nearly: a search, not a proof.

    Most symbols are ruled out by a Cholesky factorisation, which is cheaper than eigenvalues.
    """
    while True:
        grams = grams[~symbol.at_most(grams, largest * (1 + symbol.margin(largest)))]
        if len(grams) == 0:
            return largest
        likely = int(torch.linalg.matrix_norm(grams).argmax())
        largest = max(largest, math.sqrt(float(torch.linalg.eigvalsh(grams[likely])[-1])))
        grams = torch.cat([grams[:likely], grams[likely + 1 :]])


def _finer(symbol: SymbolBounds, cells: Tensor, level: int, most: int) -> Tensor | None:
    """The cells of the next level that make up these; None if these are small enough, or the next ones too many."""
    if symbol.constant or level == _DEEPEST:
        return None
    cells = symbol.halves(cells)
    return cells if level < _FULL_LEVELS[symbol.axes] or len(cells) <= most else None


def _unscaled(bound: float, exponent: int) -> float:
    """bound * 2^exponent, not rounded down."""
    try:
        product = math.ldexp(bound, exponent)
    except OverflowError:
        raise CertificateError(
            f"the norm of the convolution is about {bound:.3g} * 2^{exponent}",
            where="certified_norm",
            expected="a norm that a float can hold",
        ) from None
    # Exact, unless it is subnormal.
    return product if product > 1e-300 else math.nextafter(product, math.inf)


def _scaled(bound: float, symbol: SymbolBounds) -> float:
    """bound * 2^-exponent, or less if that proves as much."""
    trivial = 2 * symbol.total
    try:
        return min(math.ldexp(bound, -symbol.exponent), trivial)
    except OverflowError:
        return trivial
