"""Which arithmetic the convolutions run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def autocast_dtype(state: Tensor) -> torch.dtype:
    """The dtype that autocast asks of convolutions here, or that of the state where autocast is off."""
    device = state.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else state.dtype


@contextmanager
def without_tf32() -> Iterator[None]:
    """Convolutions in true float32: TF32, cuDNN's default, rounds their inputs to 11 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
