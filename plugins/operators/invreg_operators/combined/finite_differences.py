"""Derivatives by differences, for operators that torch cannot differentiate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from invreg import Operator, Shape, ShapeError
from invreg_operators.shared.batches import check_images

# Probes that are evaluated at once.
_AT_ONCE = 64


class FiniteDifferences(Operator):
    """An operator F with derivatives by central differences,

        F'(x) h ~ (F(x + t h) - F(x - t h)) / (2 t),   t = step / max |h|.

    For operators that leave torch on their way (compiled code, other libraries, look-up tables), and for those whose
    own derivatives are in doubt. The adjoint derivative F'(x)* v is put together from the columns of F'(x): two
    evaluations for each number of an image, or, if F knows its stencil radius r, two for each of (2r + 1)² colours and
    channel, as columns of pixels that are 2r + 1 apart do not overlap. So it costs thousands of evaluations for an
    operator that is not local: fine for looking at small images, not for training.

    The error is of the order of step² f''' plus the rounding of F divided by step; in float32, 1e-2 is a good step for
    smooth operators on images in [0, 1], in float64 it is 1e-4. Where F has kinks, a difference is a mean over them.
    """

    def __init__(
        self,
        operator: Annotated[Operator, Field(description="F, any operator")],
        step: Annotated[float, Field(gt=0, le=1, description="largest change of a pixel, in grey values")] = 1e-2,
    ) -> None:
        super().__init__()
        self.operator = operator
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]`. Not differentiable by autograd: that is what `jvp` and `vjp` are for."""
        value: Tensor = self.operator(x.detach())
        return value

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "finite_differences")
        return self.operator.range_shape(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return self.operator.stencil_radius

    def realisation(self, generator: torch.Generator) -> Operator:
        """The same of what F draws."""
        drawn = self.operator.realisation(generator)
        return self if drawn is self.operator else FiniteDifferences(drawn, self.step)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        """F'(x) h by a central difference; x and h `[B, C, H, W]`."""
        with torch.no_grad():
            largest = h.abs().amax((1, 2, 3), keepdim=True)
            scale = torch.where(largest > 0, self.step / largest, torch.ones_like(largest))
            difference: Tensor = self.operator(x + scale * h) - self.operator(x - scale * h)
            return difference / (2 * scale)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """F'(x)* v from all columns of F'(x); v has the shape of F(x).

        Raises:
            ShapeError: if v has another shape.
        """
        shape = (x.shape[0], *self.range_shape(tuple(x.shape[1:])))
        if tuple(v.shape) != shape:
            raise ShapeError(f"v of shape {tuple(v.shape)}", where="finite_differences.vjp", expected=f"{shape}")
        with torch.no_grad():
            return torch.stack([self._row(x[i : i + 1], v[i]) for i in range(len(x))])

    def _row(self, x: Tensor, v: Tensor) -> Tensor:
        """F'(x)* v for one image `[1, C, H, W]` and one v `[...range]`."""
        radius, same = self.stencil_radius, v.shape[-2:] == x.shape[-2:]
        spacing = 2 * radius + 1 if radius is not None and same else None
        result = x.new_zeros(x.shape[1:])
        for probes in _batches(x, spacing):
            columns = self.jvp(x.expand(len(probes), -1, -1, -1), probes) * v
            if spacing is None:
                found = columns.flatten(1).sum(1)
                result += torch.einsum("n,nchw->chw", found, probes)
                continue
            # The sum over a window around a pixel has its own column and no other one of the same probe.
            window = columns.sum(1, keepdim=True)
            ones = torch.ones(1, 1, spacing, spacing, dtype=window.dtype, device=window.device)
            result += (F.conv2d(window, ones, padding=spacing // 2) * probes).sum(0)
        return result

    def extra_repr(self) -> str:
        return f"step={self.step:g}"


def _batches(x: Tensor, spacing: int | None) -> Iterator[Tensor]:
    """Probes `[n, C, H, W]` of zeros and ones, which together are one everywhere, each number in one of them.

    Args:
        x: the image, `[1, C, H, W]`.
        spacing: between the ones of a probe; None for a single one.
    """
    _, channels, height, width = x.shape
    rows, columns = (height, width) if spacing is None else (min(spacing, height), min(spacing, width))
    places = [(c, i, j) for c in range(channels) for i in range(rows) for j in range(columns)]
    for start in range(0, len(places), _AT_ONCE):
        chosen = places[start : start + _AT_ONCE]
        probes = x.new_zeros((len(chosen), channels, height, width))
        for probe, (c, i, j) in zip(probes, chosen, strict=True):
            if spacing is None:
                probe[c, i, j] = 1
            else:
                probe[c, i::spacing, j::spacing] = 1
        yield probes
