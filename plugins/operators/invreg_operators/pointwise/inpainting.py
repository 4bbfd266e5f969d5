"""Inpainting: some pixels of an image are not measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    DataError,
    LinearOperator,
    NormEstimate,
    Shape,
    ShapeError,
    SpecError,
    generator,
    read_image,
    stream_key,
)
from invreg_operators.shared.batches import check_batch, check_images
from invreg_operators.shared.hashed_file import FileParameter, HashedFile

Drawn = Literal["random", "blocks"]

_EXPECTED = "random, blocks, or the file of a mask"


class Inpainting(LinearOperator):
    """An image of which some pixels are missing,

        A x = m x,   m a mask of zeros and ones that all channels share.

    Images and measurements are `[B, C, H, W]`; a missing pixel is zero. A problem adds noise there, too, which has no
    effect on what the adjoint makes of it: A is an orthogonal projection, A = A* = A*A, and ||A|| = 1.

    The mask comes from a file, or is drawn: it depends on the parameters and on the size of the images only. Single
    pixels are drawn without replacement. Blocks have their centres at random pixels, one after the other, until as many
    pixels are missing as there should be; the last of them is cut short.
    """

    def __init__(
        self,
        mask: Annotated[
            Drawn | FileParameter,
            Field(
                union_mode="left_to_right",
                description="random: single pixels are missing; blocks: squares, which may overlap; or the file of a "
                "mask (NPY, PNG and others) of the size of images, 0 for missing pixels and 1, or white, for others",
            ),
        ] = "random",
        missing: Annotated[
            float, Field(ge=0, lt=1, description="share of the pixels that are missing in a drawn mask, rounded")
        ] = 0.5,
        block_size: Annotated[
            int, Field(ge=1, le=65_536, description="side of the squares", json_schema_extra={"unit": "pixels"})
        ] = 8,
        seed: Annotated[int, Field(ge=0, description="seed of a drawn mask")] = 0,
    ) -> None:
        super().__init__()
        self.mask, self.missing, self.block_size, self.seed = mask, missing, block_size, seed
        self._file = mask if isinstance(mask, HashedFile) else None
        self._read = None if self._file is None else _mask_in(self._file.found("mask", _EXPECTED))

    def forward(self, x: Tensor) -> Tensor:
        """A x `[B, C, H, W]`, for x `[B, C, H, W]`.

        Raises:
            ShapeError: if the mask comes from a file and has another size.
        """
        check_batch(x, "inpainting")
        self.range_shape(tuple(x.shape[1:]))
        return x * self.measured(x.shape[2], x.shape[3]).to(x.device, x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def normal(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(m) x."""
        check_batch(x, "inpainting")
        self.range_shape(tuple(x.shape[1:]))
        return x * function(self.measured(x.shape[2], x.shape[3]).to(x.device, x.dtype))

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "inpainting")
        if self._file is not None and self._read is not None and tuple(self._read.shape) != tuple(domain_shape[1:]):
            height, width = self._read.shape
            raise ShapeError(
                f"images of {domain_shape[1]}x{domain_shape[2]} pixels",
                where="inpainting",
                expected=f"{height}x{width}, the size of the mask in {self._file.path}",
                hint=f"data of {height}x{width} pixels, for training, too, where crops count; or another mask",
            )
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        """None: a pixel sees itself alone, but a part of an image has another mask than the whole."""
        return None

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """1, exactly: at least one pixel is measured."""
        self.range_shape(domain_shape)
        return NormEstimate(1.0, 0.0)

    def measured(self, height: int, width: int) -> Tensor:
        """The measured pixels of images of this size, `[height, width]` of bool, on the CPU."""
        if self._read is not None:
            return self._read.clone()
        return _drawn(height, width, self.mask == "blocks", self.missing, self.block_size, self.seed).clone()

    def extra_repr(self) -> str:
        if self._file is not None:
            return f"mask={str(self._file.path)!r}"
        size = f", block_size={self.block_size}" if self.mask == "blocks" else ""
        return f"mask={self.mask!r}, missing={self.missing:g}{size}, seed={self.seed}"


@lru_cache(maxsize=32)
def _drawn(height: int, width: int, blocks: bool, missing: float, block_size: int, seed: int) -> Tensor:
    """The measured pixels, `[height, width]` of bool; at least one."""
    # Not an inference tensor, even if first needed in inference mode: gradients pass through it later.
    with torch.inference_mode(False):
        random = generator(stream_key(seed, "inpainting", height, width))
        measured = torch.ones(height, width, dtype=torch.bool)
        lacking = min(round(missing * height * width), height * width - 1)
        order = torch.randperm(height * width, generator=random)
        if not blocks:
            measured.view(-1)[order[:lacking]] = False
            return measured
        before = block_size // 2
        for place in range(len(order)):
            if not lacking:
                break
            row, column = divmod(int(order[place]), width)  # inside torch.func, torch 2.4 has no tolist
            top, left = row - before, column - before
            block = measured[max(top, 0) : top + block_size, max(left, 0) : left + block_size]
            rows, columns = block.nonzero()[:lacking].unbind(1)
            block[rows, columns] = False
            lacking -= len(rows)
        return measured


def _mask_in(path: Path) -> Tensor:
    """The measured pixels by a file, `[H, W]` of bool.

    Raises:
        SpecError: if there is no mask in it; `where` is the parameter.
    """
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else read_image(path).pixels
    except (DataError, EOFError, OSError, ValueError) as error:
        raise SpecError(
            f"{path}: {error.what if isinstance(error, DataError) else error}",
            where="mask",
            expected=_EXPECTED,
        ) from error
    if values.ndim == 3 and all(np.array_equal(plane, values[0]) for plane in values):
        values = values[0]
    if values.ndim != 2 or not values.size or values.dtype.kind not in "buif":
        raise SpecError(
            f"{path} holds {values.dtype} of shape {list(values.shape)}",
            where="mask",
            expected="one mask [height, width] of zeros and ones, which all channels share",
        )
    found = np.unique(values)
    if len(found) > 2 or found[0] not in (0, found[-1]) or (found == 0).all() or not np.isfinite(found).all():
        what = "zeros only" if (found == 0).all() else f"{len(found)} values from {found[0]} to {found[-1]}"
        raise SpecError(
            f"{path} holds {what}",
            where="mask",
            expected="two values: 0 for missing pixels, and another one (1, or white) for measured ones",
            hint="(mask > 0.5).astype('uint8') for a mask with values in between",
        )
    with torch.inference_mode(False):
        return torch.from_numpy(values != 0)
