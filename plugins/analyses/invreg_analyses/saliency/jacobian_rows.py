"""Rows of the Jacobian of a map of images, as windows with the pixels that they belong to in the centre.

The row of Psi: X -> X at the pixel p is the gradient of Psi(x)|p with respect to x, J(x)* e_p: the kernel by which Psi,
linearised at x, blurs the image at p. One application of the adjoint derivative gives many rows, in two exact ways:
copies of the image in one batch, each with a cotangent of its own; and, for a map that sees only `radius` pixels far,
cotangents with several pixels so far apart that what flows back from one does not reach the window of another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invreg import DataError, InvregError, Operator, ShapeError, SpecError, generator, stream_key
from invreg_analyses.shared.derivatives import operator_derivative, refuse_change, tried

#: v -> J(x)* v, for v of the shape of x; for the same x, as often as one likes.
PullBack = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DifferentiableMap:
    """A map of images to images of the same shape.

    Attributes:
        name: used in messages.
        at: images `[B, C, H, W]` to the adjoint of the derivative there.
        radius: a pixel of the value depends on pixels at most so many rows and columns away; None if unknown.
    """

    name: str
    at: Callable[[Tensor], PullBack]
    radius: int | None = None


def operator_map(operator: Operator) -> DifferentiableMap:
    """An operator X -> X, with the derivative that it has, see `operator_derivative`."""

    def at(x: Tensor) -> PullBack:
        shape = tuple(operator.range_shape(tuple(x.shape[1:])))
        _check_shape("the operator", shape, tuple(x.shape[1:]))
        return operator_derivative(operator, x[:1].detach(), batch=len(x)).vjp

    return DifferentiableMap("the operator", at, operator.stencil_radius)


def function_map(name: str, function: Callable[[Tensor], Tensor], radius: int | None = None) -> DifferentiableMap:
    """A function of images, by automatic differentiation; its weights should not require gradients.

    Rows need one differentiation only; `function_derivative`, which also needs J h, refuses more functions.
    """

    def at(x: Tensor) -> PullBack:
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            value = tried(name, lambda: function(point))
        _check_shape(name, tuple(value.shape[1:]), tuple(x.shape[1:]))
        if not value.requires_grad:
            raise InvregError(f"{name} has no gradient", where="jacobian_rows", expected="a map that torch can follow")

        def pull_back(v: Tensor) -> Tensor:
            return torch.autograd.grad(value, point, v.to(value), retain_graph=True)[0].detach()

        # For random signs, J* v is zero only where J is.
        draws = generator(stream_key(0, "jacobian_rows", "signs"))
        signs = 2 * torch.randint(0, 2, x.shape, generator=draws, dtype=torch.int8).to(x) - 1
        if not tried(name, lambda: pull_back(signs)).any():
            refuse_change(name, function, x[:1], signs[:1] / signs[:1].norm())
        return pull_back

    return DifferentiableMap(name, at, radius)


def jacobian_rows(
    of: DifferentiableMap,
    x: Tensor,
    pixels: NDArray[np.int64],
    window: int,
    batch: int = 16,
    advance: Callable[[int], None] | None = None,
) -> Tensor:
    """The rows of some pixels, cropped to windows.

    Entry `[i, a, b]` is the derivative of the value at pixel i, (r, c), with respect to pixel (r + a - h, c + b - h),
    h = (window - 1) / 2. Of images with several channels, the kernel is that for grey: the change of the mean of the
    channels at a pixel when all channels of another pixel change alike.

    Args:
        of: the map.
        x: one image, `[1, C, H, W]`.
        pixels: rows and columns, `[P, 2]`, at least half a window away from the border.
        window: side of the windows, odd.
        batch: copies of the image, with their derivatives, in memory at once.
        advance: is called with the number of pixels that have been added.

    Returns:
        `[P, window, window]` on the CPU, in the dtype of the derivative.

    Raises:
        SpecError: if the window is even, or larger than the image.
        DataError: if a window leaves the image.
        ShapeError: if x is not one image, or the map does not keep its shape.
        InvregError: if there is no derivative, or it is not finite, or zero where the map is not constant.
    """
    if x.ndim != 4 or len(x) != 1:
        raise ShapeError(f"x of shape {tuple(x.shape)}", where="jacobian_rows", expected="one image, [1, C, H, W]")
    channels, height, width = x.shape[1:]
    check_window(window, height, width)
    half = window // 2
    pixels = np.asarray(pixels, dtype=np.int64).reshape(-1, 2)
    far = np.array([height, width]) - 1 - half
    if len(pixels) and ((pixels < half) | (pixels > far)).any():
        raise DataError(
            "a window leaves the image",
            where="jacobian_rows.pixels",
            expected=f"pixels at least {half} rows and columns away from the border",
        )
    groups = far_apart(pixels, math.inf if of.radius is None else of.radius + half)
    size = max(min(batch, len(groups)), 1)
    pull_back = of.at(x.expand(size, -1, -1, -1))
    offsets = torch.arange(-half, half + 1)
    found = torch.zeros((len(pixels), window, window), dtype=x.dtype)
    for start in range(0, len(groups), size):
        part = groups[start : start + size]
        copies = torch.from_numpy(np.repeat(np.arange(len(part)), [len(group) for group in part]))
        members = np.concatenate(part)
        down, across = torch.from_numpy(pixels[members]).unbind(1)
        cotangent = torch.zeros((size, *x.shape[1:]), dtype=x.dtype)
        cotangent[copies, :, down, across] = 1 / channels
        gradient = pull_back(cotangent.to(x.device)).sum(1).cpu()
        rows, columns = (down[:, None] + offsets)[:, :, None], (across[:, None] + offsets)[:, None]
        found = found.to(gradient.dtype)
        found[torch.from_numpy(members)] = gradient[copies[:, None, None], rows, columns]
        if advance:
            advance(len(members))
    if not torch.isfinite(found).all():
        raise InvregError(f"the derivative of {of.name} is NaN or infinite", where="jacobian_rows")
    return found


def far_apart(pixels: NDArray[np.int64], reach: float) -> list[NDArray[np.int64]]:
    """Groups of positions of pixels `[P, 2]` more than `reach` rows or columns from each other, each in one group.

    Greedy in the order of rows, which needs few groups where pixels are spread evenly.
    """
    if not math.isfinite(reach):
        return [np.array([number]) for number in range(len(pixels))]
    order = np.lexsort((pixels[:, 1], pixels[:, 0]))
    sorted_pixels, group_of = pixels[order], np.zeros(len(pixels), dtype=np.int64)
    groups: list[list[int]] = []
    for position, pixel in enumerate(sorted_pixels):
        # Rows only grow: what lies more than `reach` rows back cannot be in the way.
        first = int(np.searchsorted(sorted_pixels[:position, 0], pixel[0] - reach))
        close = np.abs(sorted_pixels[first:position, 1] - pixel[1]) <= reach
        taken = set(group_of[first:position][close].tolist())
        group = next(number for number in range(len(groups) + 1) if number not in taken)
        if group == len(groups):
            groups.append([])
        groups[group].append(int(order[position]))
        group_of[position] = group
    return [np.array(group) for group in groups]


def check_window(window: int, height: int, width: int) -> None:
    """Refuses windows without a centre, and those that do not fit into an image.

    Raises:
        SpecError: naming what fits.
    """
    if window < 1 or window % 2 == 0 or window > min(height, width):
        raise SpecError(
            f"a window of {window}x{window} pixels",
            where="window",
            expected=f"an odd number, at most {min(height, width)} for images of {height}x{width} pixels",
        )


def _check_shape(name: str, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if given != expected:
        raise ShapeError(
            f"{name} maps images {expected} to {given}", where="jacobian_rows", expected="a map that keeps the shape"
        )
