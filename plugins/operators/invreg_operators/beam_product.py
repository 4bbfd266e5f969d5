"""Products with the matrix of parallel beams and with its transpose, for every kind of derivative."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from invreg_operators.parallel_beams import Geometry, beam_matrix


def project(x: Tensor, geometry: Geometry) -> Tensor:
    """Images `[..., H, W]` to sinograms `[..., angles, detectors]`."""
    flat = x.reshape(-1, geometry.height * geometry.width)
    return _product(flat, geometry, False).reshape(*x.shape[:-2], geometry.angles, geometry.detectors)


def back_project(y: Tensor, geometry: Geometry) -> Tensor:
    """The transpose of `project`: sinograms `[..., angles, detectors]` to images `[..., H, W]`."""
    flat = y.reshape(-1, geometry.angles * geometry.detectors)
    return _product(flat, geometry, True).reshape(*y.shape[:-2], geometry.height, geometry.width)


def _product(flat: Tensor, geometry: Geometry, transposed: bool) -> Tensor:
    return cast(Tensor, _Product.apply(flat, geometry, transposed))  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    """x `[n, columns]` to x M^T `[n, rows]`. Sparse products have no derivatives under torch.func by themselves."""

    @staticmethod
    def forward(x: Tensor, geometry: Geometry, transposed: bool) -> Tensor:
        # Physics keeps its precision, also inside autocast; half precision has no sparse products.
        with torch.autocast(x.device.type, enabled=False):
            dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
            matrix = beam_matrix(geometry, dtype, x.device)
            return ((matrix.transposed if transposed else matrix.forward) @ x.to(dtype).mT.contiguous()).mT.to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.geometry, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _product(grads[0], ctx.geometry, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _product(tangents[0], ctx.geometry, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: Geometry, transposed: bool) -> Any:
        stacked = x.movedim(in_dims[0], 0)
        flat = _product(stacked.flatten(0, 1), geometry, transposed)
        return flat.unflatten(0, stacked.shape[:2]), 0
