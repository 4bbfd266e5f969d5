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
    return add_gradient_(x.new_zeros((x.shape[0], 2, *x.shape[1:])), x, 1.0)


def add_gradient_(p: Tensor, x: Tensor, scale: float) -> Tensor:
    """p + scale * gradient(x)."""
    down, right = p[:, 0, :, :-1], p[:, 1, :, :, :-1]
    down.add_(x[:, :, 1:], alpha=scale).sub_(x[:, :, :-1], alpha=scale)
    right.add_(x[..., 1:], alpha=scale).sub_(x[..., :-1], alpha=scale)
    return p


def add_adjoint(x: Tensor, p: Tensor, scale: float, out: Tensor) -> Tensor:
    """x + scale * gradient*(p), which is x - scale * div p, written to `out`; x is not changed.

    Where the gradient is always zero, p has to be zero too; it is if it was made by `add_gradient_` from zeros.
    """
    torch.sub(x, p[:, 0], alpha=scale, out=out)
    out.sub_(p[:, 1], alpha=scale)
    out[:, :, 1:].add_(p[:, 0, :, :-1], alpha=scale)
    out[..., 1:].add_(p[:, 1, :, :, :-1], alpha=scale)
    return out


def project_(p: Tensor, scratch: Tensor) -> Tensor:
    """Each vector of p projected onto the unit ball; `scratch` `[B, C, H, W]` is overwritten."""
    torch.mul(p[:, 0], p[:, 0], out=scratch)
    shrink = scratch.addcmul_(p[:, 1], p[:, 1]).clamp_(min=1).rsqrt_()
    return p.mul_(shrink[:, None])


def magnitude(p: Tensor) -> Tensor:
    """The length of each vector of p, `[B, C, H, W]`."""
    return p.square().sum(1).sqrt_()


def total_variation(x: Tensor) -> Tensor:
    """TV(x), one value per image of x `[B, C, H, W]`.

    The sum of |gradient x| over all pixels and channels: isotropic within a channel; the channels are added, edges
    that they share are not coupled.
    """
    return magnitude(gradient(x)).flatten(1).sum(1)
