"""Filtering with a small kernel, one shifted image per entry of the kernel.

Only multiplications and additions of images: on a CPU that beats PyTorch's convolutions for images with few
channels, and on a GPU it keeps full precision where convolutions would fall back to TF32 or follow autocast.

What a kernel has beyond the size of an image is folded to it, and kernels of many entries are applied by Fourier
transforms, so that the time depends on the image and not on the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from invreg_operators.shared.boundary import Boundary, fold, pad

#: Rows of a kernel for images, or planes of rows of one for volumes; all numbers of entries are odd.
Kernel = Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]


def size(kernel: Kernel) -> tuple[int, ...]:
    """The entries on each axis."""
    found: list[int] = []
    part: Any = kernel
    while isinstance(part, Sequence):
        found.append(len(part))
        part = part[0] if part else None
    return tuple(found)


def radii(kernel: Kernel) -> tuple[int, ...]:
    """How far the kernel reaches from its centre, on each axis."""
    return tuple(entries // 2 for entries in size(kernel))


def flip(kernel: Kernel) -> Kernel:
    """The kernel mirrored at its centre."""
    return _flipped(kernel)  # type: ignore[no-any-return]


#: Of kernels with more entries that are not zero, Fourier transforms take less time than shifted images.
_MOST_SHIFTS = 1024


def correlate(x: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """y[i, j] = sum over a, b of kernel[a][b] x[i + a - r, j + b - s], with radii (r, s) and x `[..., H, W]`.

    With a kernel of three axes, the same for x `[..., D, H, W]`.
    """
    kernel = within(kernel, x, boundary)
    return _correlate_inside(pad(x, radii(kernel), boundary), kernel)


def correlate_adjoint(y: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """The exact adjoint of `correlate`, for y `[..., H, W]`."""
    kernel = within(kernel, y, boundary)
    reach = radii(kernel)
    return fold(_correlate_inside(pad(y, [2 * r for r in reach], "zero"), flip(kernel)), reach, boundary)


def within(kernel: Kernel, x: Tensor, boundary: Boundary) -> Kernel:
    """The kernel that does the same to images of the size of x and reaches no further than from edge to edge.

    Entries beyond it meet zeros under the rule `zero`, and under `replicate` the pixel at the edge, to whose entry they
    are added. Under the other rules there are none, as `boundary.check_size` refuses such images.
    """
    reach = radii(kernel)
    furthest = [max(length - 1, 0) for length in x.shape[-len(reach) :]]
    if boundary not in ("zero", "replicate") or all(r <= most for r, most in zip(reach, furthest, strict=True)):
        return kernel
    folded = torch.tensor(kernel, dtype=torch.float64)
    for axis, (r, most) in enumerate(zip(reach, furthest, strict=True)):
        if r > most:
            before, kept, after = folded.split([r - most, 2 * most + 1, r - most], axis)
            kept = kept.clone()
            if boundary == "replicate":
                kept.narrow(axis, 0, 1).add_(before.sum(axis, keepdim=True))
                kept.narrow(axis, 2 * most, 1).add_(after.sum(axis, keepdim=True))
            folded = kept
    return folded.tolist()  # type: ignore[no-any-return]


def in_frequencies(x: Tensor, apply: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor]) -> Tensor:
    """f(A*A) x for a circular convolution A, which Fourier transforms make diagonal; x `[B, C, H, W]` or with depth.

    Args:
        x: the images.
        apply: A.
        function: f, value by value.
    """
    sides, axes = x.shape[2:], tuple(range(2, x.dim()))
    point = x.new_zeros((1, 1, *sides))
    point.view(-1)[0] = 1
    with torch.autocast(x.device.type, enabled=False):
        factors = function(torch.fft.rfftn(apply(point), dim=axes).abs() ** 2)
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * factors, s=sides, dim=axes)


def _correlate_inside(x: Tensor, kernel: Kernel) -> Tensor:
    """The part of the correlation in which the kernel lies inside x; loses twice the radius on each axis."""
    reach = radii(kernel)
    sides = [length - 2 * r for length, r in zip(x.shape[-len(reach) :], reach, strict=True)]

    def shifted(place: tuple[int, ...]) -> Tensor:
        y = x
        for axis, (start, side) in enumerate(zip(place, sides, strict=True), start=-len(place)):
            y = y.narrow(axis, start, side)
        return y

    first, *others = _entries(kernel)
    if sum(value != 0 for _, value in others) >= _MOST_SHIFTS and x.numel():
        y = _by_frequencies(x, kernel)
        for axis, side in enumerate(sides, start=-len(sides)):
            y = y.narrow(axis, 0, side)
        return y
    y = shifted(first[0]) * first[1]
    for place, value in others:
        if value:
            y.add_(shifted(place), alpha=value)
    return y


def _by_frequencies(x: Tensor, kernel: Kernel) -> Tensor:
    """The circular correlation, in float32 at least."""
    axes = tuple(range(-len(radii(kernel)), 0))
    sides = [x.shape[axis] for axis in axes]
    with torch.autocast(x.device.type, enabled=False):
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        factors = torch.fft.rfftn(torch.tensor(kernel, dtype=wide.dtype, device=x.device), s=sides).conj()
        return torch.fft.irfftn(torch.fft.rfftn(wide, dim=axes) * factors, s=sides, dim=axes).to(x.dtype)


def _entries(kernel: Any) -> Iterator[tuple[tuple[int, ...], float]]:
    """The entries with their places, row after row."""
    for number, part in enumerate(kernel):
        if isinstance(part, Sequence):
            yield from (((number, *place), value) for place, value in _entries(part))
        else:
            yield (number,), part


def _flipped(kernel: Any) -> Any:
    return [_flipped(part) if isinstance(part, Sequence) else part for part in kernel[::-1]]
