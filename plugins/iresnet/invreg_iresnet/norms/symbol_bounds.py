"""Rigorous tests of the symbol of a convolution at single frequencies, rounding included.

The symbol of a kernel K is F(w) = sum_t K_t exp(i t.w) for frequencies w on the torus [0, 2 pi)^d, where d = 2 for
images and 3 for volumes. Whether its largest
singular value is at most s is decided by a Cholesky factorisation of (s^2 - slack) I - F* F in float64: if it runs to
its end, the matrix is positive semidefinite up to a known rounding error (Rump, "Verification of positive
definiteness", 2006), and the slack is more than this and all other rounding errors together.

F* F is a trigonometric polynomial itself, G(w) = sum_s G_s exp(i s.w) with G_s = sum_t K_t' K_(t+s) = G_(-s)'. Its
coefficients are computed once, and for each frequency there is one row of a product of matrices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invreg import CertificateError, ShapeError
from invreg_iresnet.norms.rounding import UNIT

# The constants below are for products as sums of products, in any order, with or without
# fused operations, and are larger than necessary by a factor that covers all terms of second order.

# Numbers that the phases and symbols of a chunk of cells hold: few enough for the caches.
_CHUNK = 1 << 18

# The unit roundoff of float32, and the share of what a test in single precision may lose to its rounding errors of what
# there is between a bound and the value that a cell needs.
_SINGLE_UNIT = 2.0**-24
_LOST = 0.25

# Grid points per axis for second derivatives of F* F, as a multiple of the degree of F* F, for 2 and 3 axes.
_DENSITIES = {2: 5, 3: 6}


class SymbolBounds:
    """The symbol of one kernel, scaled by a power of two, on a torus that is cut into cells.

    Axis i of the torus is cut into n_i 2^level cells, n_i even. A cell is the integer numerator j of its centre
    w_i = pi j_i / (n_i 2^level), on each axis. An axis along which the symbol is constant has one cell, on all levels.

    Args:
        kernel: `[out, in, *taps]` with two or three axes of taps, any floating dtype, not all zeros.
        fineness: cells per axis on level 0, as a multiple of the polynomial degree of the symbol along this axis.

    Attributes:
        exponent: e; the symbol is that of K 2^-e, whose largest entry is between 1/2 and 1.
        total: the Frobenius norm of the matrix sum_t |K_t|, which no singular value exceeds.
        rms: a lower bound of the norm, the root mean square over all frequencies and singular values.
        axes: of the torus.
        constant: whether there is one cell only.
        chunk: how many cells to look at in one go.
    """

    def __init__(self, kernel: Tensor, fineness: int) -> None:
        kernel = _without_zero_borders(kernel.detach().to("cpu", torch.float64))
        # Exact but for entries below 1e-300 of the largest one, which are far below the slack. In two steps, as
        # a factor beyond 2^1023 is not a number.
        self.exponent = math.frexp(float(kernel.abs().max()))[1]
        half = self.exponent // 2
        kernel = kernel * 2.0**-half * 2.0 ** (half - self.exponent)
        # A transposed symbol has the same singular values; so has, over the whole torus, one with its axes swapped.
        kernel = kernel.transpose(0, 1) if kernel.shape[0] < kernel.shape[1] else kernel
        wide = next((axis for axis, side in enumerate(kernel.shape[2:], 2) if side > 1), 2)
        kernel = kernel.transpose(2, wide)
        self._rows, self._columns, *sides = kernel.shape
        self.axes = len(sides)
        self._curvatures: list[float] | None = None
        self._degrees = [(side - 1) / 2 for side in sides]
        self._cells = [2 * math.ceil(fineness * m / 2) if m else 1 for m in self._degrees]
        self.constant = not any(self._degrees)
        self.total = float(torch.linalg.matrix_norm(kernel.abs().sum(tuple(range(2, kernel.ndim)))))
        self.rms = float(torch.linalg.vector_norm(kernel)) / math.sqrt(self._columns)
        self.chunk = max(1, _CHUNK // (2 * self._columns**2))
        self._terms = math.prod(sides) * self._rows
        self._differences = _half_of_differences(sides)  # [s, axes], the first one is 0
        coefficients = _coefficients(kernel, self._differences)  # G_s, [s, columns, columns]
        # Re G(w) = G_0 + sum over half of the s of (G_s + G_s') cos(s.w), Im G(w) the same of (G_s - G_s') sin(s.w).
        self._even = (coefficients + coefficients.mT).flatten(1)
        self._even[0] /= 2
        self._odd = (coefficients - coefficients.mT).flatten(1)
        self._single = self._even.float(), self._odd.float()

    def half_torus(self) -> Tensor:
        """The cells of level 0 that cover w_1 in [0, pi], `[cells, axes]`; the others are in [0, 2 pi].

        Kernels are real: F(-w) is the conjugate of F(w), and of w and -w (modulo 2 pi) one is always in this half.
        """
        first, *others = self._cells
        ends = (max(first, 2), *(2 * other for other in others))
        return torch.cartesian_prod(*(torch.arange(1, end, 2, device="cpu") for end in ends))

    def halves(self, cells: Tensor) -> Tensor:
        """The cells of the next level that make up these: two along each axis on which the symbol is not constant."""
        steps = ([-1, 1] if degree else [0] for degree in self._degrees)
        pairs = torch.tensor(list(itertools.product(*steps)), device="cpu")
        return (2 * cells[:, None] + pairs).flatten(0, 1)

    def cosine(self, level: int) -> float:
        """cos(sum_i m_i h_i), for cells of half widths h_i and a symbol of degrees m_i, counted from its middle."""
        pairs = zip(self._degrees, self._cells, strict=True)
        return math.cos(sum(m * math.pi / (n * 2**level) for m, n in pairs))

    @property
    def between_centres(self) -> float:
        """prod_i 1 / cos(pi m_i / n_i): so much may the norm exceed all values at centres of level 0."""
        pairs = zip(self._degrees, self._cells, strict=True)
        return math.prod(1 / math.cos(m * math.pi / n) for m, n in pairs)

    def grams(self, cells: Tensor, level: int) -> Tensor:
        """F(w)* F(w) at the centres of cells of a level, complex `[cells, columns, columns]`, up to rounding."""
        return self._polynomial(*self._frequencies(cells, self._cells, 2 * 2**level))

    @staticmethod
    def _frequencies(numerators: Tensor, points: Sequence[int], parts: int) -> tuple[Tensor, int]:
        """w_i = 2 pi j_i / (parts n_i) as integers, and what they are to be multiplied by 2 pi / of."""
        every = math.prod(points)
        return numerators * torch.tensor([every // one for one in points], device="cpu"), parts * every

    def _polynomial(
        self, frequencies: Tensor, turn: int, weights: Tensor | None = None, *, single: bool = False
    ) -> Tensor:
        """sum_s weight_s G_s exp(i s.w): even weights, and integer frequencies `[w, axes]` in units of 2 pi / turn."""
        # Integers, so whole turns are taken off without rounding.
        angles = (frequencies @ self._differences.T % turn).double() * (2 * math.pi / turn)
        cosines, sines = angles.cos(), angles.sin()
        if weights is not None:
            cosines, sines = cosines * weights, sines * weights
        even, odd = self._single if single else (self._even, self._odd)
        with torch.autocast("cpu", enabled=False):  # it would round float32 to a shorter format
            values = torch.complex(cosines.to(even) @ even, sines.to(odd) @ odd)
        return values.unflatten(1, (self._columns, self._columns))

    def quickly_at_most(self, cells: Tensor, bound: float, level: int) -> Tensor:
        """The same as `at_most` for cells, in single precision: bool `[cells]`, more often False."""
        square, slack = self._square(bound, level), self._single_slack(bound**2)
        if not _single_is_single() or slack > _LOST * (bound**2 - square):
            return torch.zeros(len(cells), dtype=torch.bool, device="cpu")
        grams = self._polynomial(*self._frequencies(cells, self._cells, 2 * 2**level), single=True)
        return _positive(-grams, square - slack)

    def at_most(self, grams: Tensor, bound: float, level: int | None = None) -> Tensor:
        """Which of the symbols are proven to have no singular value above the bound, bool `[cells]`.

        Args:
            grams: what `grams` gave.
            bound: positive.
            level: of the cells, if what is to be proven is that the norm of the convolution is not attained in them
                unless it is at most the bound.
        """
        square = bound**2 if level is None else self._square(bound, level)
        return _positive(-grams, square - self._slack(bound))

    def _square(self, bound: float, level: int) -> float:
        """What eigenvalues of F* F at the centre of a cell may be, if what is to be proven is a bound of the norm."""
        return max((bound * self.cosine(level)) ** 2, bound**2 - self.drop(level))

    def drop(self, level: int) -> float:
        """The norm is attained in no cell of this level whose centre has eigenvalues of F* F below its square by that.

        1/2 sum_ij h_i h_j sup_w ||d_i d_j G(w)||, for half widths h_i: the largest eigenvalue falls no faster around
        its maximum over all frequencies.
        """
        if self._curvatures is None:
            self._curvatures = self._second_derivatives()
        along = [math.pi / (n * 2**level) for n in self._cells]
        products = [(2 if i < j else 1) * along[i] * along[j] for i, j in self._pairs]
        pairs = zip(self._curvatures, products, strict=True)
        return (1 + 1e-12) * sum(curvature * product for curvature, product in pairs) / 2

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        """Of axes i <= j."""
        return list(itertools.combinations_with_replacement(range(len(self._cells)), 2))

    def _second_derivatives(self) -> list[float]:
        """Bounds of sup_w ||d_i d_j G(w)|| for i <= j.

        From a grid of n_i frequencies along each axis, where G has degree p_i: no value between its points exceeds
        those on it by more than the factor prod_i 1 / cos(pi p_i / n_i).
        """
        degrees = [round(2 * m) for m in self._degrees]
        points = [max(1, _DENSITIES[len(degrees)] * degree) for degree in degrees]
        factor = math.prod(1 / math.cos(math.pi * p / n) for p, n in zip(degrees, points, strict=True))
        ends = points[0] // 2 + 1, *points[1:]
        grid, turn = self._frequencies(
            torch.cartesian_prod(*(torch.arange(end, device="cpu") for end in ends)), points, 1
        )
        along = self._differences.T.double()
        found = [self._largest(grid, turn, along[i] * along[j]) for i, j in self._pairs]
        return [factor * (1 + 1e-12) * one for one in found]

    def _largest(self, frequencies: Tensor, turn: int, weights: Tensor) -> float:
        """A bound of ||sum_s weight_s G_s exp(i s.w)|| at all of these frequencies."""
        weight, largest = float(weights.abs().max()), 0.0
        if weight == 0:
            return 0.0
        single = _single_is_single()

        def slack(size: float) -> float:
            if single:
                return self._single_slack(2 * size, weight)
            return UNIT * (self._of_cholesky(2 * size) + weight * self._of_grams())

        for some in frequencies.split(self.chunk):
            values = self._polynomial(some, turn, weights, single=single)
            while len(values):
                diagonal = largest - slack(largest)
                fits = _positive(values, diagonal) & _positive(-values, diagonal)
                values = values[~fits]
                if len(values):
                    likely = int(torch.linalg.matrix_norm(values).argmax())
                    found = float(torch.linalg.eigvalsh(values[likely]).abs().max())
                    largest = max(1.001 * largest, 1.001 * found + 1.1 * slack(found))
        return largest

    def margin(self, bound: float) -> float:
        """`at_most` holds for bound * (1 + margin) if it held for bound, in any order of summation.

        The diagonal gains 2 margin (bound cosine)^2 at least, six times the slack for cosines from 0.87 on. What was
        proven for bound leaves all computed eigenvalues above five times the slack then, and a Cholesky factorisation
        does not fail if they are above once the slack.
        """
        return 4 * self._slack(bound) / bound**2

    def _slack(self, bound: float) -> float:
        """By how much bound^2 must exceed the largest computed eigenvalue of F* F, for all rounding errors."""
        return UNIT * (self._of_cholesky(bound**2) + self._of_grams())

    def _single_slack(self, diagonal: float, weight: float = 1.0) -> float:
        """The same for matrices in single precision, from coefficients that are rounded to it, as waves are.

        What they have lost in float64 is less than one unit more.
        """
        of_grams = 2 * (len(self._differences) + 8) * self.total**2
        return _SINGLE_UNIT * (self._of_cholesky(diagonal) + weight * of_grams)

    def _of_cholesky(self, diagonal: float) -> float:
        """Rounding errors of `_positive` in units of u, for matrices with diagonals between 0 and this.

        Components are sums of 2 n products, errors at most sqrt(2) gamma_(2n+2) times the trace. The diagonal: a few
        operations on numbers of that size.
        """
        return (8 * (self._columns + 2) * self._columns + 32) * diagonal

    def _of_grams(self) -> float:
        """Rounding errors of `grams` in units of u, in the Frobenius norm.

        Let a be `total`, so that sum_s |G_s|, with absolute values inside of its sums, has at most the norm a^2. With r
        rows and t taps, G_s are sums of t r products at most: errors gamma_(tr) a^2, and one more for G_s +- G_s'.
        Angles are at most 2 pi after three roundings, sine and cosine are good to two units in the last place: 24 u in
        all, where 32 u are allowed, and one for the weight. Re G and Im G are sums of that many products as there are
        differences d: gamma_d a^2. All of this sqrt(2) times, for the two parts.
        """
        return 2 * (self._terms + len(self._differences) + 40) * self.total**2


def _positive(matrices: Tensor, diagonal: float) -> Tensor:
    """Whether the Cholesky factorisation of matrices + diagonal comes to its end."""
    matrices = matrices.clone()
    matrices.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return torch.linalg.cholesky_ex(matrices).info == 0


def _single_is_single() -> bool:
    """Whether products of float32 matrices are computed in float32, and not in a shorter format."""
    return torch.get_float32_matmul_precision() == "highest"


def _half_of_differences(sides: Sequence[int]) -> Tensor:
    """Of all differences of taps of a kernel with these sides, 0 and one of each two opposite ones, `[s, axes]`."""
    every = torch.cartesian_prod(*(torch.arange(1 - side, side, device="cpu") for side in sides))
    return every[len(every) // 2 :]


def _coefficients(kernel: Tensor, differences: Tensor) -> Tensor:
    """G_s = sum_t K_t' K_(t+s), `[s, in, in]`."""
    sides, taps = kernel.shape[2:], kernel.movedim((0, 1), (-2, -1))
    found = []
    for difference in differences.tolist():
        pairs = list(zip(difference, sides, strict=True))
        here = taps[tuple(slice(max(0, -s), side + min(0, -s)) for s, side in pairs)]
        there = taps[tuple(slice(max(0, s), side + min(0, s)) for s, side in pairs)]
        found.append(here.flatten(0, -2).mT @ there.flatten(0, -2))
    return torch.stack(found)


def checked_kernel(kernel: Tensor, where: str) -> Tensor:
    """The kernel, validated.

    Raises:
        ShapeError: if it is not `[out, in, kh, kw]` or `[out, in, kd, kh, kw]`, or empty.
        CertificateError: if it is not of real floating numbers, or not finite.
    """
    if kernel.ndim not in (4, 5) or kernel.numel() == 0:
        raise ShapeError(
            f"a kernel of shape {tuple(kernel.shape)}",
            where=where,
            expected="[out, in, kh, kw], or [out, in, kd, kh, kw] for volumes",
        )
    if not kernel.is_floating_point():
        raise CertificateError(f"a kernel of {kernel.dtype}", where=where, expected="float32 or float64")
    finite = torch.isfinite(kernel)
    if not finite.all():
        place = tuple((~finite).nonzero()[0].tolist())
        raise CertificateError(
            f"{int((~finite).sum())} of {kernel.numel()} weights are not finite, the first at {list(place)} "
            f"({float(kernel[place])})",
            where=where,
            expected="finite weights: the norm of others is not a number",
            hint="the training diverged: weights of an earlier step, a smaller learning rate",
        )
    return kernel


def _without_zero_borders(kernel: Tensor) -> Tensor:
    """Without its outer layers of zeros; a shift of a kernel leaves the singular values of its symbol."""
    places = (kernel != 0).any(0).any(0).nonzero()
    first, last = places.amin(0).tolist(), places.amax(0).tolist()
    for axis, (low, high) in enumerate(zip(first, last, strict=True), 2):
        kernel = kernel.narrow(axis, low, high + 1 - low)
    return kernel
