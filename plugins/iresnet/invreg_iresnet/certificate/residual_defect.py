"""Residuals of a subnetwork's equation in float64, with a bound of their rounding errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invreg_iresnet.network.subnetwork import Subnetwork
from invreg_iresnet.norms.rounding import SLACK, UNIT, gamma


class Defects:
    """Proven bounds of ||before + f(point) - value|| for states in float64.

    Rounding errors of inner products are those of any order of summation, |fl(a.b) - a.b| <= gamma_n |a|.|b| with
    gamma_n = n u / (1 - n u). Norms of convolutions with |K| are bounded by Schur's test: the root of the largest sum
    over a row times the largest over a column.

    Args:
        subnetwork: f, in float64.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """

    def __init__(self, subnetwork: Subnetwork) -> None:
        self._subnetwork = subnetwork
        kernel, mixing = subnetwork.kernel.abs(), subnetwork.mixing.abs()
        self._kernel_norm = _schur(kernel)
        self._mixing_norm = _schur(mixing)
        self._biases = [float(torch.linalg.vector_norm(b)) for b in (subnetwork.hidden_bias, subnetwork.output_bias)]
        self._gammas = gamma(kernel[0].numel() + 2), gamma(mixing[0].numel() + 2)

    def __call__(self, before: Tensor, point: Tensor, value: Tensor) -> Tensor:
        """Upper bounds `[B]` of ||before + f(point) - value||, in exact arithmetic for these numbers.

        Args:
            before: y_{i-1}, `[B, M, H, W]` in float64.
            point: where f is evaluated.
            value: y_i.
        """
        # Only plain sums of products obey the bound; cuDNN may choose transforms that do not.
        with torch.backends.cudnn.flags(enabled=False):
            hidden = self._subnetwork.hidden(point)
            output = self._subnetwork.output(hidden)
        residual = before + output - value
        pixels = math.sqrt(point.shape[-1] * point.shape[-2])
        convolved = self._kernel_norm * euclidean_norms(point) + self._biases[0] * pixels
        # The convolution, and the one rounding of the shrinkage, whose result is at most as large as what it is given.
        hidden_error = (self._gammas[0] + 2 * UNIT) * convolved
        mixed = self._mixing_norm * (euclidean_norms(hidden) + hidden_error) + self._biases[1] * pixels
        output_error = self._mixing_norm * hidden_error + self._gammas[1] * mixed
        sum_error = 2 * UNIT * (sum(map(euclidean_norms, (before, output, value))) + output_error)
        # The norm is a root of a sum of as many squares as the state has numbers.
        norm = euclidean_norms(residual) * (1 + (residual[0].numel() + 8) * UNIT)
        return norm + SLACK * (output_error + sum_error)


def _schur(kernel: Tensor) -> float:
    """sqrt(R C) >= the norm of the convolution, with the largest absolute sums of its rows and columns."""
    rows, columns = kernel.sum((1, 2, 3)).max(), kernel.sum((0, 2, 3)).max()
    return SLACK * math.sqrt(float(rows) * float(columns))


def euclidean_norms(states: Tensor) -> Tensor:
    """The norm `[B]` of each state, in float64."""
    return torch.linalg.vector_norm(states.double(), dim=(1, 2, 3))
