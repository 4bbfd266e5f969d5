"""Rigorous tests of the symbol of a convolution at single frequencies, rounding included.

The symbol of a kernel K is F(w) = sum_t K_t exp(i t.w) for frequencies w on the torus [0, 2 pi)^2. Whether its largest
singular value is at most s is decided by a Cholesky factorisation of (s^2 - slack) I - F* F in float64: if it runs to
its end, the matrix is positive semidefinite up to a known rounding error (Rump, "Verification of positive
definiteness", 2006), and the slack is more than this and all other rounding errors together.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from invreg import CertificateError, ShapeError
from invreg_iresnet.norms.rounding import UNIT

# The constants below are for products as sums of products, in any order, with or without
# fused operations, and are larger than necessary by a factor that covers all terms of second order.

# Numbers that the phases and symbols of a chunk of cells hold: few enough for the caches.
_CHUNK = 1 << 17


class SymbolBounds:
    """The symbol of one kernel, scaled by a power of two, on a torus that is cut into cells.

    Axis i of the torus is cut into n_i 2^level cells, n_i even. A cell is the integer numerator j of its centre
    w_i = pi j_i / (n_i 2^level), on each axis. An axis along which the symbol is constant has one cell, on all levels.

    Args:
        kernel: `[out, in, kh, kw]`, any floating dtype, not all zeros.
        fineness: cells per axis on level 0, as a multiple of the polynomial degree of the symbol along this axis.

    Attributes:
        exponent: e; the symbol is that of K 2^-e, whose largest entry is between 1/2 and 1.
        total: the Frobenius norm of the matrix sum_t |K_t|, which no singular value exceeds.
        rms: a lower bound of the norm, the root mean square over all frequencies and singular values.
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
        kernel = kernel.transpose(2, 3) if kernel.shape[2] == 1 else kernel
        self._rows, self._columns, *sides = kernel.shape
        self._taps = kernel.flatten(2).flatten(0, 1).T.contiguous()  # [t, rows columns]
        self._places = torch.cartesian_prod(*(torch.arange(side, device="cpu") for side in sides))
        self._degrees = [(side - 1) / 2 for side in sides]
        self._cells = [2 * math.ceil(fineness * m / 2) if m else 1 for m in self._degrees]
        self.constant = not any(self._degrees)
        self.total = float(torch.linalg.matrix_norm(kernel.abs().sum((2, 3))))
        self.rms = float(torch.linalg.vector_norm(kernel)) / math.sqrt(self._columns)
        self.chunk = max(1, _CHUNK // (2 * sum(self._taps.shape)))

    def half_torus(self) -> Tensor:
        """The cells of level 0 that cover w_1 in [0, pi], `[cells, 2]`; 0 <= w_2 <= 2 pi.

        Kernels are real: F(-w) is the conjugate of F(w), and of w and -w (modulo 2 pi) one is always in this half.
        """
        first, second = self._cells
        ends = (max(first, 2), 2 * second)
        return torch.cartesian_prod(*(torch.arange(1, end, 2, device="cpu") for end in ends))

    def halves(self, cells: Tensor) -> Tensor:
        """The cells of the next level that make up these: two along each axis on which the symbol is not constant."""
        steps = ([-1, 1] if degree else [0] for degree in self._degrees)
        pairs = torch.tensor(list(itertools.product(*steps)), device="cpu")
        return (2 * cells[:, None] + pairs).flatten(0, 1)

    def cosine(self, level: int) -> float:
        """cos(m_1 h_1 + m_2 h_2), for cells of half widths h_i and a symbol of degrees m_i, counted from its middle."""
        pairs = zip(self._degrees, self._cells, strict=True)
        return math.cos(sum(m * math.pi / (n * 2**level) for m, n in pairs))

    def grams(self, cells: Tensor, level: int) -> Tensor:
        """F(w)* F(w) at the centres of cells of a level, complex `[cells, columns, columns]`, up to rounding."""
        first, second = self._cells
        # t.w in units of pi / (n_1 n_2 2^level): integers, so whole turns are taken off without rounding.
        turn = 2 * first * second * 2**level
        angles = (cells * torch.tensor([second, first], device="cpu")) @ self._places.T % turn
        angles = angles.double() * (2 * math.pi / turn)
        phases = torch.stack([angles.cos(), angles.sin()], 1)  # [cells, 2, t]
        parts = (phases @ self._taps).view(-1, 2 * self._rows, self._columns)
        crossed = parts[:, : self._rows].mT @ parts[:, self._rows :]
        return torch.complex(parts.mT @ parts, crossed - crossed.mT)

    def at_most(self, grams: Tensor, bound: float, cosine: float = 1.0) -> Tensor:
        """Which of the symbols are proven to have no singular value above bound * cosine, bool `[cells]`.

        Args:
            grams: what `grams` gave.
            bound: positive.
            cosine: between 0.9 and 1.
        """
        matrices = -grams
        matrices.diagonal(dim1=-2, dim2=-1).add_((bound * cosine) ** 2 - self._slack(bound))
        return torch.linalg.cholesky_ex(matrices).info == 0

    def margin(self, bound: float) -> float:
        """`at_most` holds for bound * (1 + margin) if it held for bound, in any order of summation.

        The diagonal gains 2 margin (bound cosine)^2, at least six times the slack for cosines from 0.9 on. What was
        proven for bound leaves all computed eigenvalues above five times the slack then, and a Cholesky factorisation
        does not fail if they are above once the slack.
        """
        return 4 * self._slack(bound) / bound**2

    def _slack(self, bound: float) -> float:
        """By how much bound^2 must exceed the largest computed eigenvalue of F* F, for all rounding errors.

        With n columns, r rows, t taps and A = `total`, which is at least the Frobenius norms of all symbols. gamma_k is
        k u / (1 - k u).
        """
        n, r, t = self._columns, self._rows, len(self._places)
        # Cholesky of order n: components are sums of 2 n products, errors at most sqrt(2) gamma_(2n+2) times the trace,
        # which is at most n bound^2.
        cholesky = 8 * (n + 2) * n * bound**2
        # The sine, the cosine and the diagonal: a few operations on numbers up to bound^2.
        scalars = 32 * bound**2
        # F* F: components are sums of 2 r products, errors at most sqrt(2) gamma_(2r) |F|_F^2 in the Frobenius norm.
        gram = 4 * (r + 2) * self.total**2
        # F: the phases have angles of at most 2 pi after three roundings, sine and cosine are good to two units in the
        # last place: 24 u in all, where 32 u are allowed; components are sums of t products, errors
        # sqrt(2) gamma_t A. So |F| is known up to (2 t + 34) u A; squared, at bound:
        symbol = (4 * t + 68) * bound * self.total
        return UNIT * (cholesky + scalars + gram + symbol)


def checked_kernel(kernel: Tensor, where: str) -> Tensor:
    """The kernel, validated.

    Raises:
        ShapeError: if it is not `[out, in, kh, kw]`, or empty.
        CertificateError: if it is not of real floating numbers, or not finite.
    """
    if kernel.ndim != 4 or kernel.numel() == 0:
        raise ShapeError(f"a kernel of shape {tuple(kernel.shape)}", where=where, expected="[out, in, kh, kw]")
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
    """Without its outer rows and columns of zeros; a shift of a kernel leaves the singular values of its symbol."""
    taps = (kernel != 0).any(0).any(0)
    rows, columns = taps.any(1).nonzero().flatten(), taps.any(0).nonzero().flatten()
    return kernel[:, :, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
