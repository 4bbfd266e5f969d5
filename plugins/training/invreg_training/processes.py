"""The processes that train together, by way of accelerate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invreg import TrainingError


class Processes:
    """The processes of one training: a single one, or those that `accelerate launch` or `torchrun` started.

    accelerate keeps one state in each process. So it is not given anything that may differ between two trainings:
    autocast chooses the precision in each training step, and modules are where they compute already.

    Args:
        device: where this process computes.

    Raises:
        TrainingError: if accelerate is set up differently.
    """

    def __init__(self, device: torch.device) -> None:
        from accelerate import Accelerator

        try:
            self._accelerator = Accelerator(
                cpu=device.type == "cpu", mixed_precision="no", device_placement=False, gradient_accumulation_steps=1
            )
        except ValueError:
            # Set up earlier in this process for another device or precision; one process needs only the precision.
            self._accelerator = Accelerator(device_placement=False, gradient_accumulation_steps=1)
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self._check(device)

    def _check(self, device: torch.device) -> None:
        accelerator = self._accelerator
        kind = str(accelerator.distributed_type).rpartition(".")[-1]
        if accelerator.mixed_precision != "no" or kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            raise TrainingError(
                f"accelerate is set up with {kind}, mixed precision {accelerator.mixed_precision}",
                where="trainer",
                expected="plain data parallelism without mixed precision; `precision` is a parameter of the trainer",
            )
        own = accelerator.device
        same = own.type == device.type and (device.index is None or own.index == device.index)
        if self.count > 1 and not same:
            raise TrainingError(
                f"process {self.rank} of {self.count} computes on {device}, accelerate on {own}",
                where="trainer",
                expected="one device for each process",
                hint="device: auto",
            )

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and emits events."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """This process's part of a batch.

        Raises:
            TrainingError: if the processes cannot have equal parts.
        """
        if batch_size % self.count:
            raise TrainingError(
                f"a batch of {batch_size} for {self.count} processes",
                where="trainer.batch_size",
                expected=f"a multiple of {self.count}",
            )
        part = batch_size // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes; its `forward` must be what is differentiated."""
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The sums of the values over all processes, the same numbers in each of them."""
        if self.count == 1:
            return list(values)
        summed: Tensor = self._accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=device), "sum")
        return [float(value) for value in summed]

    def agree(self, value: float, device: torch.device) -> float:
        """The main process's value, in all of them."""
        return self.sum([value if self.is_main else 0.0], device)[0]
