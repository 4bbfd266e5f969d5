"""Lipschitz bounds of f = W S K and of Id - f as norms of single convolutions with modified kernels.

K is a zero-padded convolution to H hidden channels, S acts elementwise with slopes in [0, 1] and W is a 1x1 mixing. For
any T = diag(t_1, ..., t_H) > 0, one number per hidden channel, let Q- = 2T - W'W (which must be positive definite), let
Q+ = 2T + W'W, and let c be the kernel that is 1 at the centre tap and 0 elsewhere. Then

    lipsdp:       Lip(f)^2       <=     || Q-^{-1/2}  T K ||^2,
    expansion:    Lip(Id - f)^2  <= 1 + || Q-^{-1/2} (T K - W' c) ||^2,
    contraction:  ||(Id - f)(x) - (Id - f)(y)||^2 >= mu^2 ||x - y||^2,   mu^2 = 1 - || Q+^{-1/2} (T K + W' c) ||^2.

Proof. Let d = x - y, h = K x - K y = K d (biases cancel) and s = S(K x) - S(K y). In each pixel and channel, s_j is
h_j times a slope in [0, 1], so s_j h_j >= s_j^2, and summed with weights

    0 <= 2<T s, h> - 2<T s, s>.                                                                                   (*)

T commutes with all that happens within a channel, so <T s, K d> = <s, T K d>. Adding (*) to the squares gives

    ||W s||^2     <=                      2<s, T K d> - <s, Q- s> <=           ||Q-^{-1/2} T K d||^2,
    ||d - W s||^2 <= ||d||^2 - 2<s, W'd> + 2<s, T K d> - <s, Q- s> <= ||d||^2 + ||Q-^{-1/2} (T K - W') d||^2,

as 2<s, m> - <s, Q s> <= <m, Q^{-1} m> for positive definite Q; subtracting (*) gives

    ||d - W s||^2 >= ||d||^2 - 2<s, (T K + W') d> + <s, Q+ s>    >= ||d||^2 - ||Q+^{-1/2} (T K + W') d||^2.

Seen as operators on images, W' is the zero-padded convolution with W' c, and Q^{-1/2} mixes the channels within each
pixel: each right-hand side is one zero-padded convolution, whose norm on images of any size is at most the supremum of
its symbol. QED. The difference S(K x) - S(K y) is all that is used of S, so thresholds and biases do not matter, and
W may have any sign: with -W, the bounds are about Id + f. mu > 0 makes Id - f, a map of a finite-dimensional space into
itself, injective and proper, so it is a homeomorphism, and Lip((Id - f)^-1) <= 1 / mu.

With D = T^{1/2}, Q-+ = D (2 Id -+ V'V) D for V = W D^{-1}, so the forms are those of V S D K with T = Id: this is how
they are computed, because 2 Id -+ V'V is of moderate size for all units of the hidden channels.

Sources: Fazlyab et al. 2019 (LipSDP); the Schur complements were derived for this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from invreg import CertificateError
from invreg_iresnet.norms.rounding import SLACK, TINY, UNIT, gamma

# The largest admissible defect of X'X as Q^{-1}: some 1e-13 is usual.
_WORST_DEFECT = 1e-6


class Form(NamedTuple):
    """Q = 2T + `mixing_sign` W'W and M = T K + `centre_sign` W' c, of which ||Q^{-1/2} M|| is wanted."""

    mixing_sign: int
    centre_sign: int


FORMS: Mapping[str, Form] = {
    "lipsdp": Form(mixing_sign=-1, centre_sign=0),
    "expansion": Form(mixing_sign=-1, centre_sign=-1),
    "contraction": Form(mixing_sign=1, centre_sign=1),
}


class ModifiedKernel(NamedTuple):
    """Q^{-1/2} M up to rounding: ||Q^{-1/2} M|| <= (||kernel|| + error) / sqrt(1 - defect) in exact arithmetic.

    Attributes:
        kernel: `[H, M, k, k]`, or with three sides, float64.
        error: bound of the norm of what rounding has changed in the kernel.
        defect: bound of ||X Q X' - Id||, where X is the matrix that was used as Q^{-1/2}; below 1.
    """

    kernel: Tensor
    error: float
    defect: float


def modified_kernel(kernel: Tensor, mixing: Tensor, scaling: Tensor, form: Form) -> ModifiedKernel:
    """The kernel of Q^{-1/2} M, up to an orthogonal matrix from the left, with bounds of its rounding errors.

    Args:
        kernel: `[H, M, k, k]`, or with three sides, float64 on the CPU, k odd.
        mixing: `[M, H]`, float64 on the CPU.
        scaling: `[H]`, positive: the diagonal of T. Its square root D, as it is rounded, is taken as exact.
        form: which Q and M.

    Raises:
        CertificateError: if Q is not proven to be positive definite.
    """
    hidden, channels = kernel.shape[:2]
    roots = scaling.sqrt()
    identity = torch.eye(hidden, dtype=torch.float64, device="cpu")
    # V is rounded once; so is D K. All bounds below are sums of products of n rounded factors: gamma_n times the same
    # sum of magnitudes, in any order of summation.
    v = mixing / roots
    magnitude = v.abs() + TINY
    q = 2 * identity + form.mixing_sign * (v.mT @ v)
    q_error = gamma(channels + 6) * (magnitude.mT @ magnitude + 2 * identity)

    lower, failed = torch.linalg.cholesky_ex(q)
    if int(failed) or not torch.isfinite(lower).all():
        raise _indefinite()
    x = torch.linalg.solve_triangular(lower, identity, upper=False)
    # X Q X' within `defect` of the identity proves that Q is positive definite, and Q^{-1} <= X'X / (1 - defect).
    residual = x @ q @ x.mT - identity
    residual_error = x.abs() @ (q_error + gamma(2 * hidden + 4) * (q.abs() + TINY)) @ x.abs().mT + UNIT * identity
    defect = SLACK * float(torch.linalg.matrix_norm(residual) + torch.linalg.matrix_norm(residual_error))
    if not defect <= _WORST_DEFECT:
        raise _indefinite()

    taps = kernel.flatten(2)
    m = roots[:, None, None] * taps
    magnitudes = m.abs() + TINY
    if form.centre_sign:
        centre = taps.shape[2] // 2
        m[:, :, centre] += form.centre_sign * v.mT
        magnitudes[:, :, centre] += magnitude.mT
    modified = torch.einsum("gh,hmt->gmt", x, m)
    errors = gamma(hidden + 6) * torch.einsum("gh,hmt->gmt", x.abs(), magnitudes)
    # No entry of the symbol of a kernel exceeds the sum of its taps' magnitudes.
    error = SLACK * float(torch.linalg.matrix_norm(errors.sum(-1)))
    return ModifiedKernel(modified.view_as(kernel), error, defect)


def _indefinite() -> CertificateError:
    return CertificateError(
        "2T - W'W is not proven to be positive definite for the diagonal T",
        expected="a larger T, and weights of ordinary size",
    )
