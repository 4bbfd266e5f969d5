"""The optimizers of a training, and their state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from invreg import TrainingError
from invreg_training.gradient.muon import Muon, is_kernel

OptimizerName = Literal["muon", "adam", "adamw"]


class Optimizers:
    """One or two optimizers that share the trainable parameters of a module.

    Args:
        module: whose parameters are trained.
        name: `muon` (Muon for the convolution kernels, AdamW for the rest), `adam` or `adamw`.
        lr: peak rate of Adam.
        muon_lr: peak rate of Muon.
        betas: Adam's decay rates.
        weight_decay: decoupled for Muon and AdamW, added to the gradient for Adam.
    """

    def __init__(
        self,
        module: nn.Module,
        name: OptimizerName,
        *,
        lr: float,
        muon_lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        kernels = [parameter for parameter in self.parameters if name == "muon" and is_kernel(parameter)]
        taken = {id(parameter) for parameter in kernels}
        rest = [parameter for parameter in self.parameters if id(parameter) not in taken]
        adam = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        self._members: list[tuple[Optimizer, float]] = []
        if kernels:
            self._members.append((Muon(kernels, muon_lr, weight_decay=weight_decay), muon_lr))
        if rest:
            self._members.append((adam(rest, lr, betas=betas, weight_decay=weight_decay), lr))

    def zero_grad(self) -> None:
        for optimizer, _ in self._members:
            optimizer.zero_grad(set_to_none=True)

    def step(self, factor: float) -> None:
        """One step of all, with the peak rates times `factor`."""
        for optimizer, peak in self._members:
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """The state of the optimizers, by the names that `load_state` takes."""
        return {
            f"{number}.{index}.{key}": value
            for number, (optimizer, _) in enumerate(self._members)
            for index, parameter in enumerate(_parameters(optimizer))
            for key, value in optimizer.state[parameter].items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up a state that `state` gave.

        Raises:
            TrainingError: if it belongs to other parameters.
        """
        for name, value in state.items():
            number, index, key = name.split(".")
            try:
                optimizer = self._members[int(number)][0]
                parameter = _parameters(optimizer)[int(index)]
            except IndexError:
                raise TrainingError(f"optimizer state {name!r} belongs to no parameter", where="checkpoint") from None
            if value.ndim == 0:  # the step counter, which Adam keeps on the CPU
                optimizer.state[parameter][key] = value.clone()
            elif value.shape == parameter.shape:
                # The memory format of the parameter, too: sums in another order would round differently.
                optimizer.state[parameter][key] = torch.empty_like(parameter, requires_grad=False).copy_(value)
            else:
                raise TrainingError(
                    f"optimizer state {name!r} has shape {tuple(value.shape)}",
                    where="checkpoint",
                    expected=f"shape {tuple(parameter.shape)}",
                )


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
