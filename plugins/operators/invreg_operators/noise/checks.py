"""Checks of the input of noise models."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import DataError

#: No normal number in float32 is drawn farther out than that many standard deviations.
_FARTHEST = 10.0


def check_real(z: Tensor, where: str) -> None:
    """Refuses measurements that are not made of real floating-point numbers.

    Raises:
        DataError: naming what to do with complex ones.
    """
    if not z.is_floating_point():
        raise DataError(
            f"measurements of type {str(z.dtype).removeprefix('torch.')}",
            where=where,
            expected="real floating-point numbers",
            hint="stack real and imaginary parts as two channels" if z.is_complex() else "z.float()",
        )


def check_size_of_noise(z: Tensor, std: float, where: str) -> None:
    """Refuses Gaussian noise that the numbers of z, or float32, cannot hold.

    Raises:
        DataError: if it is too large for them.
    """
    if _FARTHEST * std > torch.finfo(z.dtype).max or _FARTHEST * std > torch.finfo(torch.float32).max:
        raise DataError(
            f"std = {std:g} for measurements in {str(z.dtype).removeprefix('torch.')}",
            where=where,
            expected="noise that the numbers can hold",
            hint="a smaller std: images have values in [0, 1]",
        )
