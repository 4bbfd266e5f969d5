"""Random numbers and algorithms that come out the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from invreg import stream_key


@contextmanager
def reproducible(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds torch's global generators for what draws from them (initial weights), and restores them afterwards.

    Convolutions on a GPU use deterministic algorithms meanwhile.
    """
    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=cuda):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.manual_seed(stream_key(seed, "weights"))
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def seed_layers(device: torch.device, key: int) -> None:
    """Seeds the global generators that layers on `device` draw from.

    `torch.manual_seed` would do so too, but it notes the call stack, which takes as long as a small layer.
    """
    torch.default_generator.manual_seed(key)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(key)
