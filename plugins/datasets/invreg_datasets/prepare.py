"""From decoded pixels to what a data set delivers: colour, scale, data type.

Arrays are uint8 in 0..255 as long as no operation changes pixel values, float32 in [0, 1] afterwards. NumPy does the
work, in one thread for each image: many images are prepared at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from invreg import Pixels, available_cores, require_memory, to_unit
from invreg_datasets.parameters import ColorName

# Luminance of linear ITU-R BT.709 primaries: the weights of scikit-image's rgb2gray.
_LUMINANCE = (0.2125, 0.7154, 0.0721)

Item = TypeVar("Item")


def to_color(image: Pixels, color: ColorName) -> Pixels:
    """`[C, H, W]` with C = 1 (grey) or 3 (rgb). The data type changes only where pixel values do."""
    if color == "rgb":
        return np.concatenate([image] * 3) if image.shape[0] == 1 else image
    if image.shape[0] == 1:
        return image
    scale = 255 if image.dtype == np.uint8 else 1
    # One channel after the other, in place: images may be large.
    grey, *others = (np.float32(weight / scale) for weight in _LUMINANCE)
    luminance = grey * image[0]
    for weight, plane in zip(others, image[1:], strict=True):
        luminance += weight * plane
    # The weights sum to one only up to rounding: white must not become whiter.
    return np.minimum(luminance, np.float32(1), out=luminance)[None]


def reduce_by(image: Pixels, factor: int) -> Pixels:
    """Area downsampling: each pixel is the mean of a factor x factor block; incomplete blocks are cut off.

    For volumes `[C, D, H, W]`, blocks are cubes.
    """
    if factor == 1:
        return image
    axes = range(1, image.ndim)
    sums = to_unit(image[:, *(slice(image.shape[axis] // factor * factor) for axis in axes)])
    for axis in axes:
        before = (slice(None),) * axis
        parts = [sums[*before, start::factor] for start in range(factor)]
        sums = sum(parts[1:], start=parts[0])
    return np.minimum(sums / np.float32(factor ** len(axes)), np.float32(1))


def resize_short_side(image: Pixels, size: int) -> Pixels:
    """Shrinks the image, keeping its proportions, until its shorter side has `size` pixels.

    The triangle filter is widened by the scale, so nothing aliases.
    """
    height, width = image.shape[1:]
    scale = size / min(height, width)
    if scale == 1:
        return image
    target = [max(size, round(height * scale)), max(size, round(width * scale))]
    source = torch.from_numpy(np.ascontiguousarray(to_unit(image)))[None]
    resized = functional.interpolate(source, size=target, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp_(0, 1).numpy()


def to_stack(images: Sequence[Pixels]) -> Tensor:
    """Images of one size as a float32 tensor `[N, C, H, W]`, or volumes as `[N, C, D, H, W]`."""
    return torch.from_numpy(np.stack([to_unit(image) for image in images]))


def load_each(load: Callable[[Item], Pixels], items: Sequence[Item]) -> Iterator[Pixels]:
    """`load` applied to all items in threads (decoders release the interpreter lock), a few ahead of who takes them.

    The first error wins.
    """
    workers = min(16, available_cores())
    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead: deque[Future[Pixels]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(load, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def load_all(load: Callable[[Item], Pixels], items: Sequence[Item]) -> list[Pixels]:
    """All that `load_each` gives.

    Raises:
        SpecError: as soon as the images are too many for the memory of this machine.
    """
    images: list[Pixels] = []
    size = 0
    for image in load_each(load, items):
        images.append(image)
        size += image.nbytes
        # They are copied once into one buffer.
        require_memory(2 * size, f"{len(images):,} of {len(items):,} images", "data")
    return images
