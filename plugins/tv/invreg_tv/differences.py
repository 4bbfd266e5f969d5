"""Forward differences, total variation and the projection onto its dual ball.

The gradient of images `[B, C, H, W]` is `[B, 2, C, H, W]`: the difference to the pixel below, then to the pixel on the
right, zero where that pixel lies outside (Neumann). Functions that end in an underscore change their first argument.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The squared norm of the gradient stays below this for every image size.
GRADIENT_NORM_SQUARED = 8.0


def gradient(x: Tensor) -> Tensor:
    """Forward differences of x `[B, C, H, W]`, as `[B, 2, C, H, W]`."""
    zeros = x.new_zeros((x.shape[0], 2, *x.shape[1:]))
    return add_gradient(zeros, x, 1.0, out=zeros)


def add_gradient(p: Tensor, x: Tensor, scale: float, out: Tensor) -> Tensor:
    """p + scale * gradient(x), written to `out`, which may be p.

    Where the gradient is always zero nothing is written: `out` has to hold the values of p there. It does if p and
    `out` both began as zeros.
    """
    down, right = out[:, 0, :, :-1], out[:, 1, :, :, :-1]
    torch.add(p[:, 0, :, :-1], x[:, :, 1:], alpha=scale, out=down).sub_(x[:, :, :-1], alpha=scale)
    torch.add(p[:, 1, :, :, :-1], x[..., 1:], alpha=scale, out=right).sub_(x[..., :-1], alpha=scale)
    return out


def add_adjoint(x: Tensor, p: Tensor, scale: float, out: Tensor) -> Tensor:
    """x + scale * gradient*(p), which is x - scale * div p, written to `out`; x is not changed.

    Where the gradient is always zero, p has to be zero too; it is if it was made by `add_gradient` from zeros.
    """
    torch.sub(x, p[:, 0], alpha=scale, out=out)
    out.sub_(p[:, 1], alpha=scale)
    out[:, :, 1:].add_(p[:, 0, :, :-1], alpha=scale)
    out[..., 1:].add_(p[:, 1, :, :, :-1], alpha=scale)
    return out


def project_(p: Tensor, scratch: Tensor) -> Tensor:
    """Each vector of p projected onto the unit ball; `scratch` `[B, C, H, W]` is overwritten."""
    torch.mul(p[:, 0], p[:, 0], out=scratch)
    length = scratch.addcmul_(p[:, 1], p[:, 1]).clamp_(min=1).sqrt_()
    return p.div_(length[:, None])


def magnitude(p: Tensor) -> Tensor:
    """The length of each vector of p, `[B, C, H, W]`."""
    return p.square().sum(1).sqrt_()


def total_variation(x: Tensor) -> Tensor:
    """TV(x), one value per image of x `[B, C, H, W]`.

    The sum of |gradient x| over all pixels and channels: isotropic within a channel; the channels are added, edges
    that they share are not coupled.
    """
    return magnitude(gradient(x)).flatten(1).sum(1)
