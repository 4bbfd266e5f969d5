"""What a reconstruction method is given: finite floating-point numbers, on the scale of the problem."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from invreg.errors import DataError, InvregWarning

#: Measurements are far outside if they exceed by this factor both 1 and what images in [0, 1] give.
FAR = 10.0


def check_measurements(z: Tensor, where: str, largest: Callable[[], float | None], *, look: bool = True) -> None:
    """Refuses measurements that no method can use, and warns of those on another scale.

    Values are not looked at where that is not possible: while torch.compile traces, and where torch.func maps over
    several measurements at once.

    Args:
        z: measurements, `[B, ...range]`.
        where: the method, for messages.
        largest: gives about the largest size that the problem gives to a measurement of images in [0, 1]; None if that
            is not known. Asked only where it matters.
        look: whether to look at the values.

    Raises:
        DataError: if z is not a tensor of finite real floating-point numbers.

    Warns:
        InvregWarning: if values exceed what is expected by a factor of 10.
    """
    if not isinstance(z, Tensor):
        raise DataError(
            f"measurements of type {type(z).__name__}", where=where, expected="a tensor", hint="torch.as_tensor(z)"
        )
    if not z.is_floating_point():
        raise DataError(
            f"measurements of type {z.dtype}",
            where=where,
            expected="real floating-point numbers, for images in [0, 1]",
            hint="stack real and imaginary parts as two channels"
            if z.is_complex()
            else "z.float(), divided by 255 where it holds 8-bit values",
        )
    if not look or torch.compiler.is_compiling() or z.is_meta:
        return
    plain = underlying(z)
    if not plain.numel():
        return
    try:
        low, high = (float(value) for value in torch.aminmax(plain.detach()))
    except RuntimeError:  # what traces a computation has no values
        return
    if not (abs(low) < float("inf") and abs(high) < float("inf")):  # nor NaN, which both take over
        raise _not_finite(plain.detach(), where)
    size = max(abs(low), abs(high))
    # The problem is asked outside of transforms only: they would become part of what it says.
    if size <= FAR or plain is not z or (expected := largest()) is None or size <= FAR * expected:
        return
    message = DataError(
        f"measurements from {low:.2g} to {high:.2g}",
        where=where,
        expected=f"at most about {expected:.2g} in size: what the problem makes of images in [0, 1]",
        hint="bring them to the scale of images in [0, 1]: 8-bit values are divided by 255",
    )
    warnings.warn(str(message), InvregWarning, stacklevel=4)


def underlying(z: Tensor) -> Tensor:
    """The values of a tensor that torch.func has wrapped; the tensor itself outside its transforms."""
    unwrap = getattr(torch.func, "debug_unwrap", None)  # torch 2.6 and later
    return z if unwrap is None else unwrap(z, recurse=True)


def _not_finite(z: Tensor, where: str) -> DataError:
    bad = ~torch.isfinite(z)
    items = bad.reshape(len(z), -1).any(1) if z.ndim else bad.reshape(1)
    first = tuple(bad.nonzero()[0].tolist())
    return DataError(
        f"{int(items.sum())} of {len(items)} measurements hold NaN or infinite values, {int(bad.sum())} in all; the "
        f"first is in number {first[0] if first else 0} of the batch, at {list(first[1:])}",
        where=where,
        expected="finite measurements",
        hint="look for what made them: the operator, the noise, or a file",
    )
