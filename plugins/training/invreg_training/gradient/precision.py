"""The arithmetic of training steps, as far as the device has it."""

from __future__ import annotations

import logging
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]

log = logging.getLogger("invreg")


def usable_precision(asked: Precision, device: torch.device) -> Precision:
    """The precision that was asked for, or float32 where the device only imitates bfloat16; a line of the log says so.

    Args:
        asked: the parameter of the trainer.
        device: on which it trains.
    """
    if asked == "float32" or _has_bfloat16(device):
        return asked
    log.warning("precision bf16 was asked for, which %s does not compute in: training in float32", _name(device))
    return "float32"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":  # autocast has it everywhere; it is fast where the processor has it
        return True
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
