"""Whether the processes of one command are about to do the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from invreg.computing.processes import processes
from invreg.errors import InvregError, SpecError

if TYPE_CHECKING:
    import torch

#: Differences that an error names.
_NAMED = 5


def check_agreement(content: Mapping[str, Any], device: torch.device) -> None:
    """Compares the spec, the versions and the devices of all processes; a single one agrees with itself.

    Args:
        content: the spec, as a file would give it.
        device: where this process computes.

    Raises:
        SpecError: in all processes, naming what differs.
    """
    together = processes()
    if together.count == 1:
        return
    versions = {name: metadata.version(name) for name in ("invreg", "torch")}
    told = together.gather(lambda: (dict(content), versions, device.type, _identity(device)))
    for what, part in (("spec", 0), ("versions", 1)):
        require_equal([one[part] for one in told], what)
    kinds = [one[2] for one in told]
    if len(set(kinds)) > 1:
        raise SpecError(
            f"process {kinds.index(next(k for k in kinds if k != kinds[0]))} computes on another kind of device than "
            f"process 0: {', '.join(kinds)}",
            where="device",
            expected="the same kind for all",
            hint="--device cpu, or a GPU for each process",
        )
    devices = [one[3] for one in told]
    for rank, own in enumerate(devices):
        if own is not None and own in devices[:rank]:
            raise SpecError(
                f"processes {devices.index(own)} and {rank} compute on the same GPU, {own[1]} of {own[0]}",
                where="device",
                expected="a GPU for each process",
                hint="--device auto, and as many processes as the machine has GPUs",
            )


def require_equal(told: list[Any], what: str, error: type[InvregError] = SpecError) -> None:
    """Refuses what is not the same in all processes.

    Args:
        told: by each of them, as JSON would hold it.
        what: it is, in words.
        error: to raise.
    """
    for rank, other in enumerate(told[1:], 1):
        found = list(_differences(told[0], other))
        if found:
            shown = [
                f"{path or what} is {mine!r:.200} in process 0, {own!r:.200} in process {rank}"
                for path, mine, own in found
            ]
            more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
            raise error(
                "; ".join(shown[:_NAMED] + more),
                where=f"the {what} of {len(told)} processes",
                expected="the same in all of them",
                hint="the same command, files and versions on all machines",
            )


def _differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in {**first, **second}:
            yield from _differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
    elif first != second:
        yield path, first, second


def _identity(device: torch.device) -> tuple[str, str] | None:
    """What tells a GPU from all others; None for a CPU, which processes share."""
    if device.type != "cuda":
        return None
    import torch

    return socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)
