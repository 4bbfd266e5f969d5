"""The processes that share the steps of a training, by way of accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from invreg import Noise, Problem, TrainingError, processes
from invreg_training.statistics import share_statistics

if TYPE_CHECKING:
    from accelerate import Accelerator


class DataParallel:
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
        self.together = processes()  # a single one, where the others do not take part in this training
        self.count, self.rank = self.together.count, self.together.rank
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

    def share(self, batch_size: int) -> slice:
        """This process's part of a batch, whose size is a multiple of their number."""
        part = batch_size // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes; its `forward` must be what is differentiated.

        Batch normalisation sees the whole batch.
        """
        if self._is_apart:
            return module
        if self.count > 1:
            self.together.gather(lambda: None)  # from here on, nobody waits long for another
            share_statistics(module)
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        if self._is_apart:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._accelerator.backward(loss)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over the processes, where it is: nobody waits for a device."""
        return self.together.sum(value) / self.count if self.count > 1 else value

    def problem(self, problem: Problem) -> Problem:
        """The problem whose noise on the parts of a batch is that of a single process on the whole batch."""
        if self.count == 1 or problem.noise is None:
            return problem
        return Problem(problem.operator, _WholeNoise(problem.noise, self._accelerator, self.rank))

    @property
    def _is_apart(self) -> bool:
        """Whether there are others, which do not take part."""
        return self.count < self._accelerator.num_processes


class _WholeNoise(Noise):
    """The noise of a whole batch, of which each process has a part of the measurements."""

    def __init__(self, noise: Noise, accelerator: Accelerator, rank: int) -> None:
        self.noise, self.accelerator, self.rank = noise, accelerator, rank

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        whole = self.accelerator.gather(z.contiguous())
        return self.noise.draw(whole, generator)[self.rank * len(z) : (self.rank + 1) * len(z)]
