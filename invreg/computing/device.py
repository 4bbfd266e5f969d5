"""The device to compute on."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from invreg.computing.interruption import is_one_of_several
from invreg.errors import SpecError

if TYPE_CHECKING:
    import torch

log = logging.getLogger("invreg")

# Kinds of devices that torch knows, and tells by `torch.<kind>.is_available()` whether there is one.
_ACCELERATORS = ("cuda", "mps", "xpu")


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes a CUDA GPU if there is one, else the CPU.

    Each of several processes that carry out a command together takes a GPU of its own for `auto` and `cuda`.

    Where a kind of accelerator is asked for that this machine does not have at all, the CPU is taken, and a line of the
    log says so.

    Raises:
        SpecError: if there is no device of this name.
    """
    import torch

    if not isinstance(name, str):
        raise SpecError(repr(name), where="device", expected="auto, cpu, cuda, cuda:1, ...")
    if name in ("auto", "cuda") and is_one_of_several() and torch.cuda.is_available():
        return _own_gpu()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind in _ACCELERATORS and not getattr(torch, kind).is_available():
        log.warning("device %r was asked for, and there is no %s here: computing on the CPU", name, kind)
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(
            f"{name!r} cannot be used: {reason}", where="device", expected="auto, cpu, cuda, cuda:1, ..."
        ) from None
    return device


def _own_gpu() -> torch.device:
    """The GPU of this process, of several on this machine.

    Raises:
        SpecError: if there are fewer GPUs than processes.
    """
    import torch

    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if gpus == 1:  # launchers may show each process its own GPU alone
        number = 0
    if number >= gpus:
        raise SpecError(
            f"process {number} of this machine, which has {gpus} GPUs",
            where="device",
            expected="a GPU for each process",
            hint=f"torchrun --nproc_per_node {gpus}, or --device cpu",
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
