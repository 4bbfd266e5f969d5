"""Weights in their final form: projected with certified norms, so that what is stored satisfies the bound."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from invreg import CertificateError
from invreg_iresnet.norms.certified_norm import certified_norm, norm_is_at_most

# Room for the rounding of the quotient to the dtype of the weights.
_MARGIN = 1e-6


def scaled_to_norm(kernel: Tensor, norm: float) -> Tensor:
    """The kernel times a number, with this norm; proven not to exceed it for the values as they are stored.

    Args:
        kernel: `[out, in, k, k]`, float32 or float64; zeros stay zeros.
        norm: the operator norm that it is to have.

    Raises:
        CertificateError: if the kernel is not finite.
    """
    found = certified_norm(kernel)
    return kernel if found == 0 else _scaled(kernel, found, norm)


def clamped_to_norm(kernel: Tensor, norm: float) -> Tensor:
    """The kernel, scaled down to this norm unless it is proven not to exceed it.

    Args:
        kernel: `[out, in, k, k]`, float32 or float64.
        norm: the largest operator norm that it may have.

    Raises:
        CertificateError: if the kernel is not finite.
    """
    found = certified_norm(kernel)
    return kernel if found <= norm else _scaled(kernel, found, norm)


def _scaled(kernel: Tensor, found: float, norm: float) -> Tensor:
    for margin in (_MARGIN, 10 * _MARGIN, 100 * _MARGIN):
        stored = (kernel.double() * (norm / (found * (1 + margin)))).to(kernel.dtype)
        if norm_is_at_most(stored, norm):
            return stored
    raise CertificateError(
        f"a kernel of norm {found:.4g} could not be scaled to a certified norm of {norm:.4g}",
        expected="weights of ordinary size in float32 or float64",
    )


def digest(*tensors: Tensor) -> Tensor:
    """SHA-256 of the values of tensors, as four int64; the same in float32 and after a cast to float64."""
    return torch.from_numpy(np.frombuffer(_sha256(tensors).digest(), dtype="<i8").astype(np.int64))


def hexadecimal_digest(*tensors: Tensor) -> str:
    """SHA-256 of the values of tensors, as text."""
    return _sha256(tensors).hexdigest()


def _sha256(tensors: tuple[Tensor, ...]) -> hashlib._Hash:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode())
        found.update(np.ascontiguousarray(tensor.detach().cpu().double().numpy()).astype("<f8").tobytes())
    return found
