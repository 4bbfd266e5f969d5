"""Forward differences, total variation and the projection onto its dual ball.

The gradient of images `[B, C, H, W]` is `[B, 2, C, H, W]`: the difference to the pixel below, then to the pixel on the
right, zero where that pixel lies outside (Neumann). That of volumes `[B, C, D, H, W]` is `[B, 3, C, D, H, W]`, with the
difference to the next slice first. Functions that end in an underscore change their first argument.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_norm_squared(axes: int) -> float:
    """A number above ||gradient||² for images of every size with so many axes: 4 for each of them.

    The gradient on one axis is a difference of neighbours, (a - b)² <= 2 a² + 2 b², and each pixel is in two of them.
    """
    return 4.0 * axes


def gradient(x: Tensor) -> Tensor:
    """Forward differences of x `[B, C, H, W]`, as `[B, 2, C, H, W]`; of volumes, as `[B, 3, C, D, H, W]`."""
    zeros = x.new_zeros((x.shape[0], x.dim() - 2, *x.shape[1:]))
    return add_gradient(zeros, x, 1.0, out=zeros)


def add_gradient(p: Tensor, x: Tensor, scale: float, out: Tensor) -> Tensor:
    """p + scale * gradient(x), written to `out`, which may be p.

    Where the gradient is always zero nothing is written: `out` has to hold the values of p there. It does if p and
    `out` both began as zeros.
    """
    for axis in range(2, x.dim()):
        here, there = before(p[:, axis - 2], axis), before(out[:, axis - 2], axis)
        torch.add(here, after(x, axis), alpha=scale, out=there).sub_(before(x, axis), alpha=scale)
    return out


def add_adjoint(x: Tensor, p: Tensor, scale: float, out: Tensor) -> Tensor:
    """x + scale * gradient*(p), which is x - scale * div p, written to `out`; x is not changed.

    Where the gradient is always zero, p has to be zero too; it is if it was made by `add_gradient` from zeros.
    """
    torch.sub(x, p[:, 0], alpha=scale, out=out)
    for number in range(1, p.shape[1]):
        out.sub_(p[:, number], alpha=scale)
    for axis in range(2, x.dim()):
        after(out, axis).add_(before(p[:, axis - 2], axis), alpha=scale)
    return out


def before(x: Tensor, axis: int) -> Tensor:
    """x without its last row, column or slice on this axis, as a view."""
    return x.narrow(axis, 0, x.shape[axis] - 1)


def after(x: Tensor, axis: int) -> Tensor:
    """x without its first row, column or slice on this axis, as a view."""
    return x.narrow(axis, 1, x.shape[axis] - 1)


def project_(p: Tensor, scratch: Tensor) -> Tensor:
    """Each vector of p projected onto the unit ball; `scratch` `[B, C, H, W]` is overwritten."""
    torch.mul(p[:, 0], p[:, 0], out=scratch)
    for part in p.unbind(1)[1:]:
        scratch.addcmul_(part, part)
    length = scratch.clamp_(min=1).sqrt_()
    return p.div_(length[:, None])


def magnitude(p: Tensor) -> Tensor:
    """The length of each vector of p, of the shape of the images."""
    return p.square().sum(1).sqrt_()


def total_variation(x: Tensor) -> Tensor:
    """TV(x), one value per image of x `[B, C, H, W]`, or volume `[B, C, D, H, W]`.

    The sum of |gradient x| over all pixels and channels: isotropic within a channel; the channels are added, edges
    that they share are not coupled.
    """
    return magnitude(gradient(x)).flatten(1).sum(1)
