"""Certified norms of convolutions: against dense matrices, Lanczos, symbols and exact arithmetic; and wrong proofs."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from invreg.errors import CertificateError, ShapeError, SpecError
from invreg_iresnet.norms.certified_norm import certified_norm, norm_is_at_most
from invreg_iresnet.norms.symbol_bounds import SymbolBounds

Make = Callable[[torch.Generator, int, int, int, int], Tensor]


# What the norms are, found in ways that share nothing with the code under test.


def zero_padded_norm(kernel: Tensor, height: int, width: int) -> float:
    """Of images of one size, as a matrix."""
    channels = kernel.shape[1]
    basis = torch.eye(channels * height * width, dtype=torch.float64).view(-1, channels, height, width)
    padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
    return float(torch.linalg.matrix_norm(F.conv2d(basis, kernel, padding=padding).flatten(1), ord=2))


def periodic_norm(kernel: Tensor, height: int, width: int) -> float:
    """Of images of one size, from the Fourier transform of the kernel that is wrapped around them."""
    wrapped = torch.zeros(*kernel.shape[:2], height, width, dtype=torch.float64)
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            wrapped[:, :, row % height, column % width] += kernel[:, :, row, column]
    return float(torch.linalg.matrix_norm(torch.fft.fft2(wrapped).permute(2, 3, 0, 1), ord=2).max())


def symbol_norms(kernel: Tensor, frequencies: Tensor) -> Tensor:
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in kernel.shape[2:])
    waves = (frequencies[:, :1] * rows)[:, :, None] + (frequencies[:, 1:] * columns)[:, None, :]
    symbols = torch.exp(-1j * waves.flatten(1)) @ kernel.flatten(2).permute(2, 0, 1).flatten(1).to(torch.complex128)
    symbols = symbols.view(-1, *kernel.shape[:2])
    grams = symbols @ symbols.mH if kernel.shape[0] < kernel.shape[1] else symbols.mH @ symbols
    return torch.linalg.eigvalsh(grams)[:, -1].clamp_min(0).sqrt()


def supremum(kernel: Tensor) -> float:
    """A fine grid, and an ascent from its eight best points: a value of the symbol, so never above its supremum."""
    sides = [8 * side for side in kernel.shape[2:]]
    axes = [2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in sides]
    grid = torch.cartesian_prod(axes[0][: sides[0] // 2 + 1], axes[1])
    values = symbol_norms(kernel, grid)
    best, where = values.topk(min(8, len(values)))
    points = grid[where]
    step = torch.tensor([2 * math.pi / n for n in sides], dtype=torch.float64)
    compass = torch.tensor([[a, b] for a in (-1.0, 0, 1) for b in (-1.0, 0, 1)], dtype=torch.float64)
    for _ in range(40):
        near = points[:, None] + compass * step
        around = symbol_norms(kernel, near.flatten(0, 1)).view(len(points), -1)
        new, where = around.max(1)
        if not (new > best).any():
            step = step / 3
        points, best = near[torch.arange(len(points)), where], new
        if float(step.max()) < 1e-5:
            break
    return float(best.max())


def check(kernel: Tensor) -> None:
    """All that is promised about one kernel."""
    exact = kernel.double()
    bound, true = certified_norm(kernel), supremum(exact)
    assert true <= bound <= 1.001 * true
    most = 250 // max(kernel.shape[:2])
    for height, width in [(1, 1), (2, 3), (5, 4), (15, 1), (9, 9), (13, 17)]:
        if height * width <= most:
            assert zero_padded_norm(exact, height, width) <= bound
        assert periodic_norm(exact, height, width) <= bound
    assert norm_is_at_most(kernel, bound)
    assert not norm_is_at_most(kernel, true * (1 - 1e-6))
    assert not norm_is_at_most(kernel, true / 2)


# Kernels.


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def low_rank(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    """One channel to one channel, separable."""
    factors = (normal(generator, side) for side in (out, into, height, width))
    return torch.einsum("o,i,a,b->oiab", *factors)


def one_tap(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    kernel = torch.zeros(out, into, height, width, dtype=torch.float64)
    row, column = (
        int(torch.randint(height, (), generator=generator)),
        int(torch.randint(width, (), generator=generator)),
    )
    kernel[:, :, row, column] = normal(generator, out, into)
    return kernel


def high_pass(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    signs = (-1.0) ** (torch.arange(height)[:, None] + torch.arange(width))
    return normal(generator, out, into, 1, 1) * signs + 0.1 * normal(generator, out, into, height, width)


def smooth(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    return normal(generator, out, into, height, width).cumsum(2).cumsum(3)


def sharp(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    """Opposite corners I and R, a rotation: singular values 2 |cos(m.w +- angle/2)|, for which the cosine bound is met.

    The angle is random, so that their ridges run between the points of any grid.
    """
    kernel = torch.zeros(out, into, height, width, dtype=torch.float64)
    turn = float(normal(generator, 1)[0])
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    size = min(out, into, 2)
    kernel[:size, :size, 0, 0] += torch.eye(size, dtype=torch.float64)
    kernel[:size, :size, -1, -1] += rotation[:size, :size]
    return kernel


def saturated(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    """As after a long training under a bound: many singular values of many frequencies just at it."""
    kernel = normal(generator, out, into, height, width)
    kernel = kernel / supremum(kernel) * 4
    for _ in range(8):
        symbols = torch.fft.fft2(kernel, s=(24, 24)).permute(2, 3, 0, 1)
        u, values, v = torch.linalg.svd(symbols, full_matrices=False)
        clipped = (u * values.clamp_max(1)[..., None, :]) @ v
        kernel = torch.fft.ifft2(clipped.permute(2, 3, 0, 1)).real[:, :, :height, :width]
    return kernel


def sparse(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    kernel = normal(generator, out, into, height, width)
    kept = torch.rand(kernel.shape, generator=generator, dtype=torch.float64) < 0.2
    kept[0, 0, 0, 0] = True
    return kernel * kept


def single_precision(generator: torch.Generator, out: int, into: int, height: int, width: int) -> Tensor:
    return (1e-3 * normal(generator, out, into, height, width)).float()


FAMILIES: list[Make] = [normal, low_rank, one_tap, high_pass, smooth, sharp, saturated, sparse, single_precision]
CHANNELS = [(1, 1), (3, 2), (2, 8), (5, 5)]
SIDES = [(1, 1), (3, 3), (5, 5), (7, 3), (1, 9), (11, 11)]


@pytest.mark.slow
@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("sides", SIDES)
def test_bounds_are_above_the_norms_of_all_sizes_and_close_to_the_supremum(make: Make, sides: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(7)
    for channels in CHANNELS:
        check(make(generator, *channels, *sides))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    sides=st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5, 7])),
    exponent=st.integers(-290, 290),
)
def test_random_shapes_and_magnitudes(
    seed: int, channels: tuple[int, int], sides: tuple[int, int], exponent: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    kernel = normal(generator, *channels, *sides)
    check(kernel)
    scale = 2.0**exponent
    assert certified_norm(kernel * scale) == certified_norm(kernel) * scale


@pytest.mark.parametrize("make", [normal, smooth, high_pass, saturated])
def test_lanczos_on_large_images(make: Make) -> None:
    from scipy.sparse.linalg import LinearOperator, eigsh

    kernel = make(torch.Generator().manual_seed(3), 3, 2, 5, 5)
    height, width = 60, 71

    def normal_operator(x: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(x).view(1, 2, height, width)
        return F.conv_transpose2d(F.conv2d(image, kernel, padding=2), kernel, padding=2).flatten().numpy()

    size = 2 * height * width
    operator = LinearOperator((size, size), matvec=normal_operator, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    norm = math.sqrt(eigsh(operator, k=1, tol=1e-6, v0=start, return_eigenvectors=False)[0])
    assert 0.99 * certified_norm(kernel) < norm <= certified_norm(kernel)


def test_nearly_constant_symbols_have_bounds_too() -> None:
    generator = torch.Generator().manual_seed(5)
    kernel = 1e-4 * normal(generator, 2, 2, 5, 5)
    kernel[:, :, 2, 2] += torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    check(kernel)


def test_periodic_convolution_of_an_image_smaller_than_the_kernel() -> None:
    """As a matrix, by its definition: every tap reads the pixel where it falls, however often it goes round."""
    kernel = normal(torch.Generator().manual_seed(11), 2, 3, 7, 5)
    matrix = torch.zeros(2, 3, 3, 3, 4, 4, dtype=torch.float64)  # out, in, row, row', column, column'
    for row, column, a, b in np.ndindex(3, 4, 7, 5):
        matrix[:, :, row, (row + a) % 3, column, (column + b) % 4] += kernel[:, :, a, b]
    dense = float(torch.linalg.matrix_norm(matrix.permute(0, 2, 4, 1, 3, 5).reshape(24, 36), ord=2))
    assert dense == pytest.approx(periodic_norm(kernel, 3, 4), rel=1e-12)
    assert dense <= certified_norm(kernel)


# The same check notices proofs with something missing.


def notices(kernel: Tensor) -> bool:
    try:
        check(kernel)
    except AssertionError:
        return True
    return False


@pytest.mark.slow
def test_a_cell_factor_of_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [make(torch.Generator().manual_seed(1), 2, 2, 5, 5) for make in (normal, smooth, sharp, saturated)]
    assert not any(map(notices, kernels))
    monkeypatch.setattr(SymbolBounds, "cosine", lambda self, level: 1.0)
    assert all(map(notices, kernels))


def test_a_cell_factor_that_is_slightly_too_good_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 |cos 2w|, for which the cosine bound is met, with its maxima between cells: nothing better holds."""
    kernel = torch.tensor([1.0, 0, 0, 0, 1], dtype=torch.float64).view(1, 1, 1, 5)
    assert not notices(kernel)
    right = SymbolBounds.cosine
    monkeypatch.setattr(SymbolBounds, "cosine", lambda self, level: math.cos(0.98 * math.acos(right(self, level))))
    assert notices(kernel)


def second_derivatives(kernel: Tensor, frequencies: Tensor) -> Tensor:
    """||d_i d_j F* F|| at frequencies `[w, 2]` for (1, 1), (1, 2), (2, 2), from those of F: `[w, 3]`."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64) for side in kernel.shape[2:]))
    waves = torch.exp(1j * (frequencies @ places.T))
    taps = kernel.flatten(2).permute(2, 0, 1).to(torch.complex128)

    def derived(first: int, second: int) -> Tensor:
        return torch.einsum("wt,toi->woi", waves * (1j * places[:, 0]) ** first * (1j * places[:, 1]) ** second, taps)

    found = []
    for one, other in [((1, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (0, 1))]:
        both = derived(one[0] + other[0], one[1] + other[1])
        crossed = derived(*one).mH @ derived(*other)
        half = both.mH @ derived(0, 0) + crossed
        found.append(torch.linalg.matrix_norm(half + half.mH, ord=2))
    return torch.stack(found, 1)


@pytest.mark.parametrize("make", [normal, smooth, high_pass, sharp])
@pytest.mark.parametrize("sides", [(5, 5), (3, 4), (1, 7)])
def test_second_derivatives_of_the_gram_matrices_are_bounded(make: Make, sides: tuple[int, int]) -> None:
    kernel = make(torch.Generator().manual_seed(12), 3, 2, *sides)
    symbol = SymbolBounds(kernel, 18)
    kernel = kernel * 2.0**-symbol.exponent
    axis = 2 * math.pi * torch.arange(40, dtype=torch.float64) / 40
    largest = second_derivatives(kernel, torch.cartesian_prod(axis, axis)).amax(0)
    bounds = torch.tensor(symbol._second_derivatives(), dtype=torch.float64)
    bounds = bounds.flip(0) if kernel.shape[2] == 1 else bounds  # the axes are swapped there
    assert (largest <= bounds * (1 + 1e-12)).all()
    assert (bounds <= 1.6 * largest + 1e-9).all()


@pytest.mark.parametrize("make", [normal, smooth, high_pass, sharp, saturated])
def test_the_largest_singular_value_falls_from_its_maximum_by_no_more_than_the_drop(make: Make) -> None:
    generator = torch.Generator().manual_seed(13)
    kernel = make(generator, 3, 2, 5, 5)
    symbol = SymbolBounds(kernel, 18)
    scaled, top = kernel * 2.0**-symbol.exponent, supremum(kernel * 2.0**-symbol.exponent)
    axis = 2 * math.pi * torch.arange(200, dtype=torch.float64) / 200
    grid = torch.cartesian_prod(axis[:101], axis)
    worst = grid[symbol_norms(scaled, grid).argmax()]
    for level in range(4):
        half = math.pi / (symbol._cells[0] * 2**level)
        near = worst + half * (2 * torch.rand(200, 2, generator=generator, dtype=torch.float64) - 1)
        # `worst` is a point of a grid: what lies between it and the maximum is allowed for.
        assert (symbol_norms(scaled, near) ** 2 >= top**2 * (1 - 2e-3) - symbol.drop(level)).all()


def test_a_drop_that_is_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = torch.tensor([1.0, 0, 0, 0, 1], dtype=torch.float64).view(1, 1, 1, 5)
    right = SymbolBounds.drop
    monkeypatch.setattr(SymbolBounds, "drop", lambda self, level: 0.62 * right(self, level))
    assert notices(kernel)


@pytest.mark.parametrize("quarter", [0, 1])
def test_a_forgotten_quarter_of_the_torus_is_noticed(quarter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels whose only maximiser up to sign lies in one quarter: diagonal waves, in one direction or the other."""
    places = torch.arange(5.0, dtype=torch.float64)
    angles = 1.3 * (places[:, None] + (1, -1)[quarter] * places)
    kernel = torch.stack([angles.cos(), angles.sin()])[:, None]
    assert not notices(kernel)
    right = SymbolBounds.half_torus

    def some(self: SymbolBounds) -> Tensor:
        cells = right(self)
        second = cells[:, 1] < cells[:, 1].max() / 2
        return cells[~second if quarter == 0 else second]

    monkeypatch.setattr(SymbolBounds, "half_torus", some)
    assert notices(kernel)


def test_cells_cover_half_of_the_torus_and_their_halves_the_cells() -> None:
    for shape in [(1, 1, 3, 3), (1, 1, 5, 3), (1, 1, 1, 7), (1, 1, 2, 1), (1, 1, 1, 1)]:
        symbol = SymbolBounds(torch.ones(shape, dtype=torch.float64), 18)
        cells, area = symbol.half_torus(), 2 * math.pi * (2 * math.pi if symbol.constant else math.pi)
        for level in range(3):
            counts = [n * (2**level if n > 1 else 1) for n in symbol._cells]
            assert len(cells.unique(dim=0)) == len(cells)
            assert (cells % 2 == 1)[:, [n > 1 for n in counts]].all()
            assert (cells[:, 1] < 2 * counts[1]).all() or counts[1] == 1
            assert (cells[:, 0] < max(2, counts[0])).all() or counts[0] == 1
            assert (cells > 0).all()
            assert len(cells) * (2 * math.pi / counts[0]) * (2 * math.pi / counts[1]) == pytest.approx(area)
            cells = symbol.halves(cells)


# Rounding.


def is_at_most_exactly(kernel: Tensor, bound: float) -> bool:
    """Whether bound^2 I - K'K is positive semidefinite, in rational numbers."""
    rows = [[Fraction(value) for value in row] for row in kernel.flatten(1).double().tolist()]
    n = len(rows[0])
    matrix = [[Fraction(bound) ** 2 * (i == j) - sum(r[i] * r[j] for r in rows) for j in range(n)] for i in range(n)]
    for pivot in range(n):
        if matrix[pivot][pivot] <= 0:
            return False  # that it is singular does not happen for these kernels
        for i in range(pivot + 1, n):
            quotient = matrix[i][pivot] / matrix[pivot][pivot]
            matrix[i] = [a - quotient * b for a, b in zip(matrix[i], matrix[pivot], strict=True)]
    return True


def wrongly_proven() -> int:
    """How many bounds of 1x1 kernels, a few rounding errors from the norm, are proven without being true."""
    generator = torch.Generator().manual_seed(2)
    kernels = [normal(generator, 4, 3, 1, 1) for _ in range(8)]
    kernels += [normal(generator, 1).expand(999, 1, 1, 1) for _ in range(8)]  # equal terms are rounded the same way
    wrong = 0
    for kernel in kernels:
        near = float(torch.linalg.matrix_norm(kernel[:, :, 0, 0], ord=2))
        for steps in range(-20, 21):
            bound = near * (1 + steps * 2.0**-52)
            wrong += norm_is_at_most(kernel, bound) and not is_at_most_exactly(kernel, bound)
    return wrong


@pytest.mark.slow
def test_rounding_never_proves_what_is_not_true(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrongly_proven() == 0
    monkeypatch.setattr(SymbolBounds, "_slack", lambda self, bound: 0.0)
    assert wrongly_proven() > 0


def test_symbols_are_as_exact_as_the_slack_takes_them_to_be() -> None:
    import mpmath  # torch needs SymPy, which needs it

    generator = torch.Generator().manual_seed(4)
    with mpmath.workdps(40):
        for shape, level in [((2, 2, 11, 11), 16), ((1, 1, 11, 11), 3), ((3, 2, 5, 3), 0)]:
            kernel = normal(generator, *shape)
            symbol = SymbolBounds(kernel, 18)
            kernel = kernel * 2.0**-symbol.exponent
            counts = [n * 2**level for n in symbol._cells]
            cells = torch.stack([2 * torch.randint(0, n, (3,), generator=generator) + 1 for n in counts], 1)
            for cell, gram in zip(cells.tolist(), symbol.grams(cells, level), strict=True):
                w = [mpmath.pi * j / n for j, n in zip(cell, counts, strict=True)]
                exact = mpmath.zeros(*shape[:2])
                for a, b in np.ndindex(*shape[2:]):
                    exact += mpmath.matrix(kernel[:, :, a, b].tolist()) * mpmath.expj(a * w[0] + b * w[1])
                difference = mpmath.matrix(gram.tolist()) - exact.H * exact
                # Without the shares of the Cholesky factorisation, which is not tested here.
                n, total = shape[1], symbol.total
                slack = symbol._slack(total) - 2.0**-53 * (8 * (n + 2) * n + 32) * total**2
                assert 0 < float(mpmath.mnorm(difference, "f")) < slack / 4


def test_single_precision_never_passes_what_is_not_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares a little below the largest eigenvalue of a cell, up to less than what float32 can tell apart."""
    symbol = SymbolBounds(normal(torch.Generator().manual_seed(14), 20, 16, 5, 5), 18)
    cells = symbol.half_torus()[::80]
    largest = torch.linalg.eigvalsh(symbol.grams(cells, 0))[:, -1].tolist()

    def passed() -> int:
        count = 0
        for cell, value in zip(cells.split(1), largest, strict=True):
            for share in (1e-3, 1e-5, 1e-6, 1e-7, 1e-8):
                monkeypatch.setattr(symbol, "_square", lambda bound, level, least=value * (1 - share): least)
                count += int(symbol.quickly_at_most(cell, 2 * math.sqrt(value), 0).sum())
        return count

    assert passed() == 0
    monkeypatch.setattr(symbol, "_square", lambda bound, level: 1.1 * max(largest))
    assert symbol.quickly_at_most(cells, 2 * math.sqrt(max(largest)), 0).all()
    monkeypatch.setattr(SymbolBounds, "_single_slack", lambda self, diagonal, weight=1.0: 0.0)
    assert passed() > 0


def test_settings_that_shorten_single_precision_do_not_reach_proofs() -> None:
    kernel = normal(torch.Generator().manual_seed(15), 8, 6, 5, 5)
    bound = certified_norm(kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert certified_norm(kernel) == bound
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert not SymbolBounds(kernel, 18).quickly_at_most(torch.tensor([[1, 1]]), 100.0, 0).any()
        assert certified_norm(kernel) == pytest.approx(bound, rel=1e-4)
        assert norm_is_at_most(kernel, bound * (1 + 1e-4))
    finally:
        torch.set_float32_matmul_precision(before)


# Promises about the functions.


def test_bounds_are_proven_again_with_sums_in_another_order() -> None:
    generator = torch.Generator().manual_seed(6)
    for shape in [(4, 3, 5, 5), (7, 9, 3, 3), (64, 40, 1, 1)]:
        kernel = normal(generator, *shape)
        for tolerance in (1e-4, 1e-13):
            bound = certified_norm(kernel, tolerance)
            assert norm_is_at_most(kernel[torch.randperm(shape[0], generator=generator)], bound)
            assert norm_is_at_most(kernel.flip(2, 3), bound)


def test_tolerance() -> None:
    kernel = smooth(torch.Generator().manual_seed(8), 3, 3, 5, 5)
    true = supremum(kernel)
    for tolerance in (0.1, 1e-3, 1e-4, 1e-6, 1e-8):
        assert true * (1 - 1e-12) <= certified_norm(kernel, tolerance) <= true * (1 + tolerance) * (1 + 1e-9)
    for wrong in (0.0, -1e-3, 1.0, math.nan):
        with pytest.raises(SpecError, match="tolerance"):
            certified_norm(kernel, wrong)


def test_without_a_proof_there_is_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SymbolBounds, "at_most", lambda self, grams, *_: torch.zeros(len(grams), dtype=torch.bool))
    with pytest.raises(CertificateError, match="could not be proven"):
        certified_norm(torch.ones(2, 2, 1, 1))


def test_1x1_kernels_are_certified_to_the_precision_of_float64() -> None:
    kernel = normal(torch.Generator().manual_seed(9), 5, 7, 1, 1)
    true = float(torch.linalg.matrix_norm(kernel[:, :, 0, 0], ord=2))
    assert true < certified_norm(kernel) < true * (1 + 2e-9)
    shifted = F.pad(kernel, (0, 4, 3, 1))
    assert certified_norm(shifted) == certified_norm(kernel)


def test_kernels_of_zeros() -> None:
    for zeros in (torch.zeros(2, 3, 5, 5), torch.zeros(1, 1, 1, 1, dtype=torch.float64)):
        assert certified_norm(zeros) == 0
        assert norm_is_at_most(zeros, 0.0)
        assert not norm_is_at_most(zeros, -1.0)
    assert not norm_is_at_most(torch.ones(1, 1, 1, 1), 0.0)


def test_very_large_and_very_small_kernels() -> None:
    kernel = normal(torch.Generator().manual_seed(10), 2, 2, 3, 3)
    assert norm_is_at_most(kernel, math.inf)
    assert norm_is_at_most(kernel * 1e-310, 1e300)
    assert not norm_is_at_most(kernel, 1e-320)
    for scale in (1e-310, 5e-324, 1e305):
        scaled = kernel.sign() * scale if scale < 1e-320 else kernel * scale
        bound = certified_norm(scaled)
        assert bound >= float(scaled.abs().max())
        assert norm_is_at_most(scaled, bound)
    with pytest.raises(CertificateError, match="norm of the convolution"):
        certified_norm(torch.full((2, 2, 3, 3), 1e308, dtype=torch.float64))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    kernel = torch.ones(2, 3, 5, 5)
    kernel[1, 2, 0, 4] = value
    for call in (lambda: certified_norm(kernel), lambda: norm_is_at_most(kernel, math.inf)):
        with pytest.raises(CertificateError, match=r"1 of 150 weights are not finite, the first at \[1, 2, 0, 4\]"):
            call()


def test_what_is_no_kernel() -> None:
    for shape in [(3, 3, 5), (2, 3, 4, 5, 5, 5), (0, 2, 3, 3), (2, 0, 3, 3)]:
        with pytest.raises(ShapeError, match="out, in"):
            certified_norm(torch.ones(shape))
    for dtype in (torch.int64, torch.complex64):
        with pytest.raises(CertificateError, match="float32 or float64"):
            certified_norm(torch.ones(1, 1, 3, 3, dtype=dtype))
    with pytest.raises(CertificateError, match="bound nan"):
        norm_is_at_most(torch.ones(1, 1, 3, 3), math.nan)


def test_parameters_and_default_settings_of_torch() -> None:
    kernel = normal(torch.Generator().manual_seed(12), 2, 2, 3, 3)
    bound = certified_norm(kernel)
    assert certified_norm(torch.nn.Parameter(kernel)) == bound
    with torch.device("meta"), torch.inference_mode(), torch.autocast("cpu"):
        assert certified_norm(kernel) == bound
        assert norm_is_at_most(kernel, bound)
    try:
        torch.set_default_dtype(torch.float64)
        assert certified_norm(kernel) == bound
    finally:
        torch.set_default_dtype(torch.float32)
