"""Checks of the input of noise models."""

from __future__ import annotations

from torch import Tensor

from invreg import DataError


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
