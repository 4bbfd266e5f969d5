"""Integrals over the strips of parallel beams and their transpose, for every kind of derivative."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from invreg_operators.beams.beam_matrix import beam_matrix, is_small
from invreg_operators.beams.fan_beams import FanGeometry, fan_lines
from invreg_operators.beams.lines import Lines, can_compute, lines_of
from invreg_operators.beams.parallel_beams import Geometry, Part, mirrored, mirrored_back
from invreg_operators.beams.strips import strips_of

# Images with all of their mirrored ones are in memory at once: eight times as many numbers as pixels.
_IMAGES_AT_ONCE = 8


def project(x: Tensor, geometry: Geometry | FanGeometry) -> Tensor:
    """Images `[..., H, W]` to sinograms `[..., angles, detectors]`.

    Pixels count by the area that they share with the strip of a bin, over the width of the strip: an image that is
    constant on each pixel is integrated exactly, and each bin holds the mean of the line integrals over its width.
    """
    flat = x.reshape(-1, geometry.height * geometry.width)
    return _product(flat, geometry, False).reshape(*x.shape[:-2], geometry.angles, geometry.detectors)


def back_project(y: Tensor, geometry: Geometry | FanGeometry) -> Tensor:
    """The transpose of `project`: sinograms `[..., angles, detectors]` to images `[..., H, W]`."""
    flat = y.reshape(-1, geometry.angles * geometry.detectors)
    return _product(flat, geometry, True).reshape(*y.shape[:-2], geometry.height, geometry.width)


def _product(flat: Tensor, geometry: Geometry | FanGeometry, transposed: bool) -> Tensor:
    return cast(Tensor, _Product.apply(flat, geometry, transposed))  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    """x `[n, columns]` to x M^T `[n, rows]`, for the matrix M of the integrals or its transpose."""

    @staticmethod
    def forward(x: Tensor, geometry: Geometry | FanGeometry, transposed: bool) -> Tensor:
        # Physics keeps its precision, also inside autocast; half precision has no sparse products.
        with torch.autocast(x.device.type, enabled=False):
            dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
            numbers = x.to(dtype)
            if isinstance(geometry, FanGeometry):
                return _computed(numbers, geometry, fan_lines(geometry), transposed).to(x.dtype)
            if is_small(geometry, dtype):
                matrix = beam_matrix(geometry, dtype, x.device)
                return ((matrix.transposed if transposed else matrix.forward) @ numbers.mT.contiguous()).mT.to(x.dtype)
            if can_compute(numbers):
                return _computed(numbers, geometry, lines_of(geometry), transposed).to(x.dtype)
            product = _transposed if transposed else _forward
            chunks = numbers.split(_IMAGES_AT_ONCE)
            return torch.cat([product(chunk, geometry) for chunk in chunks]).to(x.dtype)

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
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: Geometry | FanGeometry, transposed: bool) -> Any:
        stacked = x.movedim(in_dims[0], 0)
        flat = _product(stacked.flatten(0, 1), geometry, transposed)
        return flat.unflatten(0, stacked.shape[:2]), 0


def _computed(x: Tensor, geometry: Geometry | FanGeometry, lines: list[Lines], transposed: bool) -> Tensor:
    x = x.contiguous()
    size = geometry.height * geometry.width if transposed else geometry.angles * geometry.detectors
    result = x.new_zeros(len(x), size)
    for some in lines:
        some.add_product(*((result, x) if transposed else (x, result)), transposed=transposed)
    return result


def _forward(x: Tensor, geometry: Geometry) -> Tensor:
    # Images come last here: what belongs to one pixel or bin lies together in memory.
    images = x.reshape(-1, geometry.height, geometry.width).permute(1, 2, 0).contiguous()
    count = images.shape[2]
    result = x.new_empty(geometry.angles, geometry.detectors, count)
    for strips in strips_of(geometry, x.dtype, x.device):
        part, padding = strips.part, strips.blocks.padding
        padded = x.new_zeros(part.height, part.width + 2 * padding, 2, len(part.images), count)
        pixels = padded[:, padding : padding + part.width]
        for lane, mirroring in enumerate(part.images):
            pixels[:, :, 0, lane] = mirrored(images, mirroring)
        # A half turn reverses the bins.
        pixels[:, :, 1] = pixels[:, :, 0].flip(0, 1)
        padded = padded.view(part.height * (part.width + 2 * padding), -1)
        total = x.new_zeros(len(part.angles) * strips.half_bins, padded.shape[1])
        for block in strips.blocks:
            block.add_product(padded, total)
        halves = total.view(len(part.angles), strips.half_bins, 2, len(part.images), count)
        second = halves[:, : geometry.detectors - strips.half_bins, 1].flip(1)
        bins = torch.cat([halves[:, :, 0], second], dim=1).transpose(1, 2).flatten(0, 1)
        numbers, rows, backwards = _views(part)
        bins = bins[rows]
        bins[backwards] = bins[backwards].flip(1)
        result[numbers] = bins
    return result.mul_(geometry.pixel / geometry.bin_width).flatten(0, 1).mT.contiguous()


def _transposed(y: Tensor, geometry: Geometry) -> Tensor:
    sinograms = y.reshape(-1, geometry.angles, geometry.detectors).permute(1, 2, 0).contiguous()
    count = sinograms.shape[2]
    result = y.new_zeros(geometry.height, geometry.width, count)
    for strips in strips_of(geometry, y.dtype, y.device):
        part, padding = strips.part, strips.transposed.padding
        numbers, rows, backwards = _views(part)
        bins = sinograms[numbers]
        bins[backwards] = bins[backwards].flip(1)
        views = y.new_zeros(len(part.angles) * len(part.images), geometry.detectors, count)
        views[rows] = bins
        views = views.unflatten(0, (len(part.angles), len(part.images))).transpose(1, 2)
        # The transpose counts in widths that the rows of pixels have at an angle.
        views = views * (geometry.pixel / strips.cos).to(y.dtype)[:, None, None, None]
        padded = y.new_zeros(len(part.angles), geometry.detectors + 2 * padding, 2, len(part.images), count)
        padded[:, padding : padding + geometry.detectors] = torch.stack([views, views.flip(1)], dim=2)
        padded = padded.view(len(part.angles) * (geometry.detectors + 2 * padding), -1)
        total = y.new_zeros(strips.half_height * part.width, padded.shape[1])
        for block in strips.transposed:
            block.add_product(padded, total)
        halves = total.view(strips.half_height, part.width, 2, len(part.images), count)
        lower = halves[: part.height - strips.half_height, :, 1].flip(0, 1)
        images = torch.cat([halves[:, :, 0], lower])
        for lane, mirroring in enumerate(part.images):
            result += mirrored_back(images[:, :, lane], mirroring)
    return result.flatten(0, 1).mT.contiguous()


def _views(part: Part) -> tuple[list[int], list[int], list[int]]:
    """The angles of the geometry, the angles and images of the part that measure them, and which are reversed."""
    views = list(part.views.values())
    rows = [view.angle * len(part.images) + view.image for view in views]
    return list(part.views), rows, [number for number, view in enumerate(views) if view.reversed]
