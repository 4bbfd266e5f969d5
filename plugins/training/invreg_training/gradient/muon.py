"""Muon: momentum whose direction is made orthogonal, for convolution kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonal factor of the momentum, kernel by kernel.

    A kernel `[out, in, k, k]` is seen as the matrix out x (in k k); a stack of kernels `[n, out, in, k, k]` as n
    matrices. With the momentum M = U S V^T of such a matrix, the step is about -lr sqrt(max(1, rows/columns)) U V^T:
    all directions move alike, however small their gradients are. torch's own Muon takes matrices only.

    Args:
        parameters: kernels and stacks of kernels, see [`is_kernel`][invreg_training.gradient.muon.is_kernel].
        lr: the step size; it does not depend on the size of the gradients.
        momentum: of Nesterov's kind.
        weight_decay: decoupled, as in AdamW.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            # Kernels of one shape are orthogonalised together, whether they are stacked in one parameter or not.
            alike: dict[tuple[object, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                matrices = _as_matrices(self._nesterov(parameter, group["momentum"]))
                alike[*matrices.shape[1:], matrices.dtype, matrices.device].append((parameter, matrices))
            for members in alike.values():
                rows, columns = members[0][1].shape[1:]
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                directions = orthogonalize(torch.cat([matrices for _, matrices in members]))
                parts = directions.split([len(matrices) for _, matrices in members])
                for (parameter, _), direction in zip(members, parts, strict=True):
                    if group["weight_decay"]:
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction.reshape(parameter.shape), alpha=-rate)

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].mul_(momentum).add_(parameter.grad)
        return parameter.grad.add(average, alpha=momentum)  # type: ignore[union-attr]


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is a convolution kernel that mixes channels, or a stack of such kernels.

    Kernels from or to a single channel are left out: as the first and the last layer of a network they are
    better served by Adam.
    """
    if parameter.ndim not in (4, 5):
        return False
    out_channels, in_channels = map(int, parameter.shape[-4:-2])
    return out_channels > 1 and in_channels > 1


def orthogonalize(matrices: Tensor) -> Tensor:
    """Approximately U V^T for each matrix U S V^T of a batch `[n, rows, columns]`.

    Five steps of a Newton-Schulz iteration with a quintic polynomial: the singular values come out between about 0.7
    and 1.2 (those that are tiny against the largest, below that), which is all that an optimizer needs.
    """
    transposed = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.transpose(1, 2) if transposed else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2) if transposed else x


def _as_matrices(kernels: Tensor) -> Tensor:
    return kernels.flatten(2) if kernels.ndim == 5 else kernels.flatten(1).unsqueeze(0)
