"""Named streams of random numbers.

Every random choice of a run has its own key, derived from the run's seed and the purpose of the choice. So one
choice never shifts another: adding a method, or evaluating with another batch size, changes no other number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_key(seed: int, *labels: str | int) -> int:
    """A 63-bit key for one purpose: the same everywhere, unrelated between purposes.

    Example:
        `stream_key(0, "noise", "test", 17)` is the key of the noise on test image 17 of a run with seed 0.
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(label).__name__}:{label}" for label in labels)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(key: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator that starts at `key`."""
    import torch

    return torch.Generator(device=device).manual_seed(key)
