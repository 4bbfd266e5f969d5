"""A Lipschitz bound of several subnetworks at once, as the norm of a single convolution.

Bounds of single subnetworks multiply, as if each of them amplified the worst image of the one before. They rarely do.
This condition holds for all of them together. Let differences of states go through the steps j = 1, ..., N,

    e_j = e_{j-1} + W_j s_j,   s_j = S_j(h) - S_j(h'),   h - h' = K_j e_j (implicit)  or  K_j e_{j-1} (explicit),

from e_0 = B a to c = C e_N, with a matrix B that acts on each pixel of an input a, and C on each pixel of the last
state. (An implicit step is x_j = phi_j^{-1}(x_{j-1}) with phi_j = Id - f_j, an explicit one x_j = x_{j-1} +
g_j(x_{j-1}).) With D_j = [B, W_1, ..., W_j, 0, ..., 0], each state is e_j = D_j v for v = (a, s_1, ..., s_N). Let T_j
be diagonal and positive, gamma > 0, and

    P(w) = gamma E_0 + sum_j 2 T_j on (s_j, s_j) - sum_j (S_j' T_j K_j^(w) D + its adjoint) - (C D_N)' (C D_N),

where E_0 is the identity on a, S_j v = s_j, and D is D_j for an implicit step and D_{j-1} for an explicit one. Then

    P(w) >= 0 for all frequencies w    implies    ||c||^2 <= gamma ||a||^2,    on images of any size.

Proof. As slopes are in [0, 1], 0 <= 2 <T_j s_j, h - h'> - 2 <T_j s_j, s_j> for each j. All states are images of finite
size. Continued by zeros, they are square-summable on the lattice, where s_j meets the zero-padded convolution K_j e as
it meets the unpadded one, because it vanishes elsewhere. By Parseval,

    gamma ||a||^2 - ||c||^2 >= gamma ||a||^2 - ||c||^2 - sum_j (2 <T_j s_j, K_j e> - 2 <T_j s_j, s_j>)

is the mean of v^(w)* P(w) v^(w) over all frequencies. QED.

How it is verified: see `certificate.gain_proof`. Certificates of earlier versions are verified in another way. P is the
symbol of a convolution that is self-adjoint, also after its rows and columns have been scaled by powers of two. For any
number c > 0, the eigenvalues of P are in [0, 2c] if ||P - c Id|| <= c. This is the norm of a convolution: see
`invreg_iresnet.norms.certified_norm`.

Source: derived for this project, from the quadratic constraint of Fazlyab et al. 2019 (LipSDP).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from invreg import CertificateError
from invreg_iresnet.norms.certified_norm import norm_is_at_most
from invreg_iresnet.norms.rounding import FEW_OPERATIONS, SLACK, TINY, gamma


class Steps(NamedTuple):
    """Consecutive steps e_j = e_{j-1} + W_j s_j, in the order in which they are taken.

    Attributes:
        kernels: K_j, `[H_j, M, k, k]`, or with three sides, float64 on the CPU, k odd.
        mixings: W_j, `[M, H_j]`, likewise.
        implicit: whether s_j depends on e_j, or on e_{j-1}.
    """

    kernels: Sequence[Tensor]
    mixings: Sequence[Tensor]
    implicit: bool


class Ends(NamedTuple):
    """Where steps begin and end: e_0 = B a and c = C e_N.

    Attributes:
        entry: B, `[M, p]`, small integers.
        exit: C, `[q, M]`, small integers.
    """

    entry: Tensor
    exit: Tensor


class ConditionKernel(NamedTuple):
    """P, scaled by powers of two, as the kernel of a convolution.

    Attributes:
        kernel: `[n, n, k, k]`, n = p + H_1 + ... + H_N.
        magnitudes: the same sums with absolute values.
        operations: how many roundings there are in a row at most.
    """

    kernel: Tensor
    magnitudes: Tensor
    operations: int

    def centred(self, centre: float) -> tuple[Tensor, float]:
        """The kernel of P - c Id, and a bound of the norm of what rounding has changed in it."""
        middle = self.kernel.shape[-1] // 2
        kernel, magnitudes = self.kernel.clone(), self.magnitudes.clone()
        kernel[:, :, middle, middle].diagonal().sub_(centre)
        magnitudes[:, :, middle, middle].diagonal().add_(centre)
        # No entry of the symbol of a kernel exceeds the sum of its taps' magnitudes.
        return kernel, SLACK * gamma(self.operations + 1) * float(torch.linalg.matrix_norm(magnitudes.sum((-2, -1))))


def is_proven(condition: ConditionKernel, centre: float) -> bool:
    """Whether all eigenvalues of P are proven to be in [0, 2c].

    Args:
        condition: P.
        centre: c.
    """
    kernel, error = condition.centred(centre)
    bound = centre * (1 - FEW_OPERATIONS) - error
    return bound > 0 and norm_is_at_most(kernel, bound * (1 - FEW_OPERATIONS))


def condition_kernel(steps: Steps, ends: Ends, scalings: Sequence[Tensor], squared_gain: float) -> ConditionKernel:
    """P as the kernel of a convolution, its rows and columns scaled such that diagonals are between 1/2 and 2.

    Args:
        steps: the steps, of images.
        ends: where they begin and end.
        scalings: the diagonals of T_j, `[H_j]`, positive. They are taken as exact, as the next one is.
        squared_gain: gamma.

    Raises:
        CertificateError: if a diagonal of P is not positive on the mean, so that P cannot be positive.
    """
    signed = _condition(steps, ends, scalings, squared_gain, sign=-1)
    absolute = Steps([one.abs() + TINY for one in steps.kernels], [one.abs() + TINY for one in steps.mixings], steps[2])
    magnitudes = _condition(absolute, Ends(ends.entry.abs(), ends.exit.abs()), scalings, squared_gain, sign=1)
    middle = signed.shape[-1] // 2
    diagonal = signed[:, :, middle, middle].diagonal()
    if not (diagonal > 0).all() or not torch.isfinite(signed).all():
        raise CertificateError(
            "a matrix P that is not positive", where="chain", expected="a larger gain, and scalings of ordinary size"
        )
    roots = torch.exp2(-torch.div(torch.frexp(diagonal).exponent, 2, rounding_mode="floor").double())
    factors = roots[:, None, None, None] * roots[None, :, None, None]
    channels, inputs = ends.entry.shape
    # Two products of matrices with the mixings, one with the ends, the sums of what meets in an entry, the scalings.
    operations = 2 * channels + inputs + len(ends.exit) + 16
    return ConditionKernel(signed * factors, magnitudes * factors, operations)


def _condition(steps: Steps, ends: Ends, scalings: Sequence[Tensor], squared_gain: float, sign: int) -> Tensor:
    """P unscaled; with sign = 1, all its negative terms are added instead."""
    channels, inputs = ends.entry.shape
    sides = [inputs, *(len(kernel) for kernel in steps.kernels)]
    starts = [sum(sides[:index]) for index in range(len(sides) + 1)]
    size, side = starts[-1], steps.kernels[0].shape[-1]
    condition = torch.zeros(size, size, side, side, dtype=torch.float64, device="cpu")
    centre = condition[:, :, side // 2, side // 2]
    centre.diagonal()[:inputs] = squared_gain
    states = torch.zeros(channels, size, dtype=torch.float64, device="cpu")
    states[:, :inputs] = ends.entry
    for index, (kernel, mixing, scaling) in enumerate(zip(steps.kernels, steps.mixings, scalings, strict=True)):
        own = slice(starts[index + 1], starts[index + 2])
        seen = states.clone()
        states[:, own] = mixing
        if steps.implicit:
            seen = states
        coupling = scaling[:, None, None, None] * torch.einsum("hmab,mn->hnab", kernel, seen)
        condition[own] += sign * coupling
        # The adjoint of a convolution has its taps at the opposite places.
        condition[:, own] += sign * coupling.transpose(0, 1).flip(2, 3)
        centre[own, own] += 2 * scaling.diag()
    output = ends.exit @ states
    centre += sign * (output.mT @ output)
    return condition
