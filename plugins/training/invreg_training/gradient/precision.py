"""The precision of training steps, as far as the device supports it."""

from __future__ import annotations

import logging
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]

log = logging.getLogger("invreg")


def usable_precision(precision: Precision, device: torch.device) -> Precision:
    """`precision`, or float32 where the device only imitates bfloat16, with a line in the log.

    Args:
        precision: the parameter of the trainer.
        device: on which it trains.
    """
    if precision == "float32" or _has_bfloat16(device):
        return precision
    log.warning("%s does not compute in bf16: training in float32", _name(device))
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
