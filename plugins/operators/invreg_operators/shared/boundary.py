"""How an image continues beyond its edges, and the exact adjoint of continuing it.

| rule        | pixels `a b c d` continue as    | `numpy.pad` | `scipy.ndimage` | sizes that work |
|-------------|---------------------------------|-------------|-----------------|-----------------|
| `symmetric` | `b a \\| a b c d \\| d c`       | `symmetric` | `reflect`       | n >= r          |
| `zero`      | `0 0 \\| a b c d \\| 0 0`       | `constant`  | `constant`      | any             |
| `circular`  | `c d \\| a b c d \\| a b`       | `wrap`      | `wrap`          | n >= r          |
| `replicate` | `a a \\| a b c d \\| d d`       | `edge`      | `nearest`       | any             |
| `reflect`   | `c b \\| a b c d \\| c b`       | `reflect`   | `mirror`        | n >= r + 1      |

Here r is the radius (how many pixels are added at each end) and n the number of pixels on the axis: an image is
continued by at most one reflection or period.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from invreg import Shape, ShapeError

Boundary = Literal["symmetric", "zero", "circular", "replicate", "reflect"]

#: The parameter of operators that continue images.
BoundaryRule = Annotated[Boundary, Field(description="how images continue beyond their edges")]
#: The parameter of diffusions.
DiffusionBoundary = Annotated[
    Literal["neumann", "dirichlet"],
    Field(
        description="neumann: no flux across the edge, the mean of an image is kept; dirichlet: zero in a frame of "
        "pixels around the image"
    ),
]


def smallest_size(radius: int, boundary: Boundary) -> int:
    """The fewest pixels on an axis that can be continued by `radius` pixels at each end."""
    if boundary in ("zero", "replicate"):
        return 1
    return radius + 1 if boundary == "reflect" else max(radius, 1)


def check_size(domain_shape: Shape, radii: Sequence[int], boundary: Boundary, where: str) -> None:
    """Refuses images that are too small to be continued.

    Args:
        domain_shape: (C, H, W), or (C, D, H, W).
        radii: pixels that are needed beyond the edges, on each axis.

    Raises:
        ShapeError: naming the smallest size that works.
    """
    smallest = tuple(smallest_size(radius, boundary) for radius in radii)
    axes = ("depth", "height", "width")[-len(radii) :]
    fits = len(domain_shape) == 1 + len(radii)
    if not fits or any(size < least for size, least in zip(domain_shape[1:], smallest, strict=True)):
        kernel = " x ".join(str(2 * radius + 1) for radius in radii)
        *others, last = (f"{axis} >= {least}" for axis, least in zip(axes, smallest, strict=True))
        raise ShapeError(
            f"images of shape {tuple(domain_shape)}",
            where=where,
            expected=(
                f"(channels, {', '.join(axes)}) with {', '.join(others)} and {last}: what a {kernel} kernel with "
                f"boundary {boundary!r} needs"
            ),
            hint="larger images, a smaller kernel, or boundary 'zero' or 'replicate' (these work for every size)"
            if fits
            else None,
        )


def pad(x: Tensor, radii: Sequence[int], boundary: Boundary) -> Tensor:
    """Continues images beyond their edges.

    Args:
        x: `[..., H, W]`; in general, as many axes at the end as there are radii.
        radii: (r, s), the pixels added at each end of each of these axes.

    Returns:
        `[..., H + 2 r, W + 2 s]`.
    """
    for axis, radius in enumerate(radii, start=-len(radii)):
        x = _pad_axis(x, radius, axis, boundary)
    return x


def fold(y: Tensor, radii: Sequence[int], boundary: Boundary) -> Tensor:
    """The adjoint of `pad`: adds every pixel beyond the edges to the pixel that it was copied from.

    Args:
        y: `[..., H + 2 r, W + 2 s]`.
        radii: (r, s) as in `pad`.

    Returns:
        `[..., H, W]`.
    """
    for axis, radius in enumerate(reversed(radii), start=1):
        y = _fold_axis(y, radius, -axis, boundary)
    return y


def _pad_axis(x: Tensor, radius: int, axis: int, boundary: Boundary) -> Tensor:
    if radius == 0:
        return x
    n = x.shape[axis]
    match boundary:
        case "symmetric":
            before, after = x.narrow(axis, 0, radius).flip(axis), x.narrow(axis, n - radius, radius).flip(axis)
        case "reflect":
            before, after = x.narrow(axis, 1, radius).flip(axis), x.narrow(axis, n - 1 - radius, radius).flip(axis)
        case "circular":
            before, after = x.narrow(axis, n - radius, radius), x.narrow(axis, 0, radius)
        case "replicate" | "zero":
            first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
            if boundary == "zero":
                first = last = torch.zeros_like(first)
            copies = list(x.shape)
            copies[axis] = radius
            before, after = first.expand(copies), last.expand(copies)
    return torch.cat([before, x, after], axis)


def _fold_axis(y: Tensor, radius: int, axis: int, boundary: Boundary) -> Tensor:
    if radius == 0:
        return y
    n = y.shape[axis] - 2 * radius
    before, inner, after = torch.split(y, [radius, n, radius], axis)
    if boundary == "zero":
        return inner
    x = inner.clone()
    match boundary:
        case "symmetric":
            x.narrow(axis, 0, radius).add_(before.flip(axis))
            x.narrow(axis, n - radius, radius).add_(after.flip(axis))
        case "reflect":
            x.narrow(axis, 1, radius).add_(before.flip(axis))
            x.narrow(axis, n - 1 - radius, radius).add_(after.flip(axis))
        case "circular":
            x.narrow(axis, n - radius, radius).add_(before)
            x.narrow(axis, 0, radius).add_(after)
        case "replicate":
            x.narrow(axis, 0, 1).add_(before.sum(axis, keepdim=True))
            x.narrow(axis, n - 1, 1).add_(after.sum(axis, keepdim=True))
    return x
