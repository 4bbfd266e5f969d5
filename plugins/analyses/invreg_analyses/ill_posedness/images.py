"""Which images the analysis of local ill-posedness looks at, and which part of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invreg import DataError, SpecError, did_you_mean
from invreg_analyses.ill_posedness.masks import SUBJECT, Part, part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Among so many test images, the first ones, images with a subject are looked for.
_LOOKED_AT = 100
#: A subject of this share of the image is taken first: smaller ones are details, larger ones what is around something.
_SHARES = (0.1, 0.6)


@dataclass(frozen=True)
class MaskedImage:
    """A test image with the part to which directions are restricted.

    Attributes:
        name: of the image.
        x: `[1, C, H, W]`, on the CPU.
        mask: `[H, W]`; None if there is no part.
        no_mask: why there is none, if it was asked for.
    """

    name: str
    x: Tensor
    mask: NDArray[np.bool_] | None
    no_mask: str = ""

    @property
    def share(self) -> float:
        """The share of the pixels that are in the part; 1 without one."""
        return 1.0 if self.mask is None else float(self.mask.mean())


def choose_images(
    images: int | Sequence[str], mask: Part | Mapping[str, Part] | None, names: Sequence[str], x: Tensor
) -> list[MaskedImage]:
    """The images by name, or so many that suit: those that `mask` names, or spread evenly over those with a subject.

    Args:
        images: names, or a number.
        mask: what part of each is meant; None for none.
        names: of all test images.
        x: all test images, `[N, C, H, W]`.

    Raises:
        SpecError: if there is no such image, or a box is not inside of it.
        DataError: if a mask cannot be used.
    """
    if not isinstance(images, int):
        return [_masked(_position(name, names, "images"), mask, names, x) for name in images]
    if isinstance(mask, Mapping):
        return [_masked(_position(name, names, "mask"), mask, names, x) for name in list(mask)[:images]]
    if mask != SUBJECT:
        return [_masked(index, mask, names, x) for index in _spread(range(len(names)), images)]
    looked_at = range(min(len(names), _LOOKED_AT))
    found = [_masked(index, mask, names, x) for index in looked_at]
    with_subject = [one for one in found if one.mask is not None]
    typical = [one for one in with_subject if _SHARES[0] <= one.share <= _SHARES[1]]
    # Fewer than asked for are filled up with others, in their order.
    candidates = next((group for group in (typical, with_subject) if len(group) >= images), found)
    return [candidates[index] for index in _spread(range(len(candidates)), images)]


def _masked(index: int, mask: Part | Mapping[str, Part] | None, names: Sequence[str], x: Tensor) -> MaskedImage:
    name, image = str(names[index]), x[index : index + 1]
    if mask is None:
        return MaskedImage(name, image, None)
    try:
        return MaskedImage(name, image, part_of(mask, name, image[0]))
    except DataError as error:
        # A person is told that what they gave is wrong; that an image has no subject is nobody's fault.
        given = mask.get(name) if isinstance(mask, Mapping) else mask
        if given != SUBJECT:
            raise
        return MaskedImage(name, image, None, error.what)


def _position(name: str, names: Sequence[str], where: str) -> int:
    if name not in names:
        raise SpecError(f"no test image {name!r}", where=where, hint=did_you_mean(name, names))
    return list(names).index(name)


def _spread(among: Sequence[int], count: int) -> list[int]:
    """The middle ones of `count` equal parts."""
    count = min(count, len(among))
    return [among[(2 * part + 1) * len(among) // (2 * count)] for part in range(count)]
