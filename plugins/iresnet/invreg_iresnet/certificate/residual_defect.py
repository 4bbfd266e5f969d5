"""Residuals of a subnetwork's equation in float64, with a bound of their rounding errors."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invreg_iresnet.axes import but_first
from invreg_iresnet.network.compiled import compiled
from invreg_iresnet.network.subnetwork import Subnetwork
from invreg_iresnet.norms.rounding import SLACK, UNIT, gamma

# How many hidden activations are computed at once. On a CPU, 4 MiB of them: more take no less time, and fewer mean more
# products, which stall on a busy machine when threads wait for each other.
_CACHED, _AT_ONCE = 2**19, 2**24


class Defects:
    """Proven bounds of ||before + f(point) - value|| for states.

    Rounding errors of inner products are those of any order of summation, |fl(a.b) - a.b| <= gamma_n |a|.|b| with
    gamma_n = n u / (1 - n u). Norms of convolutions with |K| are bounded by Schur's test: the root of the largest sum
    over a row times the largest over a column.

    Args:
        subnetwork: f, in float64.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """

    def __init__(self, subnetwork: Subnetwork) -> None:
        self._subnetwork = subnetwork
        # For each row of the kernel, along its last axis: from the k M values under it to the H hidden activations.
        rows = subnetwork.kernel.movedim((0, 1), (-1, -2)).flatten(-3, -2)
        self._rows = rows.flatten(0, -3).contiguous()
        kernel, mixing = subnetwork.kernel.abs(), subnetwork.mixing.abs()
        self._kernel_norm = _schur(kernel)
        self._mixing_norm = _schur(mixing)
        self._biases = [float(torch.linalg.vector_norm(b)) for b in (subnetwork.hidden_bias, subnetwork.output_bias)]
        self._gammas = gamma(kernel[0].numel() + 2), gamma(mixing[0].numel() + 2)

    def __call__(self, before: Tensor, point: Tensor, value: Tensor) -> Tensor:
        """Upper bounds `[B]` of ||before + f(point) - value||, in exact arithmetic for these numbers.

        Args:
            before: y_{i-1}, `[B, M, *spatial]`, in float32 or float64, as the others.
            point: where f is evaluated.
            value: y_i.
        """
        residual, before_norm, convolved, hidden, output, value_norm = self._norms(before, point, value)
        pixels = math.sqrt(math.prod(point.shape[2:]))
        convolved = self._kernel_norm * convolved + self._biases[0] * pixels
        # The convolution, and the one rounding of the shrinkage, whose result is at most as large as what it is given.
        hidden_error = (self._gammas[0] + 2 * UNIT) * convolved
        mixed = self._mixing_norm * (hidden + hidden_error) + self._biases[1] * pixels
        output_error = self._mixing_norm * hidden_error + self._gammas[1] * mixed
        sum_error = 2 * UNIT * (before_norm + output + value_norm + output_error)
        # The norm is a root of a sum of as many squares as the state has numbers.
        norm = residual * (1 + (point[0].numel() + 8) * UNIT)
        return norm + SLACK * (output_error + sum_error)

    def _norms(self, before: Tensor, point: Tensor, value: Tensor) -> Tensor:
        """Upper bounds `[6, B]` of the norms that `_blockwise` gives, up to a few roundings."""
        start, at = before.double(), point.double()
        fast = compiled(self._subnetwork, at)
        if fast is None:
            return self._blockwise(before, point, value)
        same = value is point
        step = fast.evaluate(at, start, give=not same)
        assert step.norms is not None  # noqa: S101 (for mypy: they were asked for)
        residual, reached = step.norms
        if not same:
            residual = euclidean_norms(step.value - value.double())
        before_norm, point_norm = euclidean_norms(start), euclidean_norms(at)
        pixels = math.sqrt(math.prod(point.shape[2:]))
        hidden = self._kernel_norm * point_norm + self._biases[0] * pixels
        value_norm = point_norm if same else euclidean_norms(value)
        return torch.stack([residual, before_norm, point_norm, hidden, reached + before_norm, value_norm])

    def _blockwise(self, before: Tensor, point: Tensor, value: Tensor) -> Tensor:
        """Norms `[6, B]` of the residual, `before`, the point, the hidden activations, f(point) and `value`.

        Block by block of rows (of slices, for volumes): the hidden activations of a whole image in float64 would take
        many times its memory, and as much time to be written and read again as to be computed.
        """
        (height, *others), margin = point.shape[2:], self._subnetwork.padding
        block = _CACHED if point.device.type == "cpu" else _AT_ONCE
        rows = max(1, block // (self._rows.shape[2] * math.prod(others)))
        squares = torch.zeros(6, len(point), dtype=torch.float64, device=point.device)
        for index in range(len(point)):
            start, at, end = (states[index].movedim(0, -1).double() for states in (before, point, value))
            padded = F.pad(at, (0, 0, *2 * (at.ndim - 1) * (margin,)))
            for first in range(0, height, rows):
                here = slice(first, min(first + rows, height))
                hidden = self._hidden(padded[first : here.stop + 2 * margin])
                output = torch.addmm(self._subnetwork.output_bias, hidden, self._subnetwork.mixing.flatten(1).T)
                ends = [states[here].flatten(0, -2) for states in (start, at, end)]
                parts = (ends[0] + output - ends[2], ends[0], ends[1], hidden, output, ends[2])
                squares[:, index] += torch.stack([torch.dot(part.flatten(), part.flatten()) for part in parts])
        return squares.sqrt()

    def _hidden(self, rows: Tensor) -> Tensor:
        """h = S(K x), `[h w, H]`, from padded rows `[h + k - 1, w + k - 1, M]`; of volumes likewise, with three sides.

        As matrix products, one for each row of the kernel: torch's convolutions in float64 take several times as long
        on a CPU, and cuDNN may choose transforms, which do not obey the bound.
        """
        one, size = self._subnetwork, self._subnetwork.kernel.shape[-1]
        under = rows.unfold(-2, size, 1).transpose(-1, -2).flatten(-2).contiguous()
        sides = [side - size + 1 for side in under.shape[:-2]]
        parts = [
            under[tuple(slice(first, first + side) for first, side in zip(corner, sides, strict=True))].flatten(0, -2)
            for corner in itertools.product(range(size), repeat=len(sides))
        ]
        hidden = torch.addmm(one.hidden_bias, parts[0], self._rows[0])
        for part, matrix in zip(parts[1:], self._rows[1:], strict=True):
            hidden.addmm_(part, matrix)
        return torch.ops.aten.softshrink.out(hidden, one.threshold, out=hidden)


def _schur(kernel: Tensor) -> float:
    """sqrt(R C) >= the norm of the convolution, with the largest absolute sums of its rows and columns."""
    taps = tuple(range(2, kernel.ndim))
    rows, columns = kernel.sum((1, *taps)).max(), kernel.sum((0, *taps)).max()
    return SLACK * math.sqrt(float(rows) * float(columns))


def euclidean_norms(states: Tensor) -> Tensor:
    """The norm `[B]` of each state, in float64."""
    return torch.linalg.vector_norm(states.double(), dim=but_first(states))
